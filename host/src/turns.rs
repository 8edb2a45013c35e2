//! A task that wakes itself while it is polled is polled again at once, while there is little else to do.
//!
//! Runs around the event loop of a store, which wakes itself whenever one part of a call makes way for another, and around
//! a client's connection, which hyper wakes when its request's body is read. An executor that is told so queues the task
//! and wakes a second thread to share the work of one: those were two of the four changes of context that a call took.
//! Two exceptions. With more calls than threads no thread sleeps, and a task that waits its turn has more to do once it comes.
//! And a guest that computes gives way, so that other tasks of its thread have their turn.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Threads of the executor, as far as tokio goes by the machine.
static THREADS: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

const AT_REST: u8 = 0;
const POLLED: u8 = 1;
const WOKEN: u8 = 2;

/// The turns of one task, or of several that follow one another.
pub(crate) struct Turns {
    /// Polls in a row. What wakes itself more often does not come to an end by it.
    most: u32,
    inner: Arc<Inner>,
    waker: Waker,
}

struct Inner {
    state: AtomicU8,
    gives_way: AtomicBool,
    /// Who polls.
    task: AtomicWaker,
}

/// Says that the guest gives way to other tasks.
#[derive(Clone)]
pub(crate) struct Way(Arc<Inner>);

impl Turns {
    pub(crate) fn new(most: u32) -> Self {
        let (state, gives_way, task) = (AtomicU8::new(AT_REST), AtomicBool::new(false), AtomicWaker::new());
        let inner = Arc::new(Inner { state, gives_way, task });
        Self { most, waker: Waker::from(Arc::clone(&inner)), inner }
    }

    pub(crate) fn way(&self) -> Way {
        Way(Arc::clone(&self.inner))
    }

    /// Polls a future, until it waits for others or has had its turns: one, where there are more calls than threads.
    pub(crate) fn poll<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
        calls: usize,
        cx: &Context<'_>,
    ) -> Poll<T> {
        let most = if calls > *THREADS { 1 } else { self.most };
        let Inner { state, gives_way, task } = &*self.inner;
        task.register(cx.waker());
        gives_way.store(false, Ordering::Relaxed);
        for _ in 0..most {
            state.store(POLLED, Ordering::SeqCst);
            let polled = work.as_mut().poll(&mut Context::from_waker(&self.waker));
            let woken = state.swap(AT_REST, Ordering::SeqCst) == WOKEN;
            if polled.is_ready() || !woken {
                return polled;
            }
            if gives_way.load(Ordering::Relaxed) {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Way {
    pub(crate) fn give(&self) {
        self.0.gives_way.store(true, Ordering::Relaxed);
    }
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let began = self.state.compare_exchange(POLLED, WOKEN, Ordering::SeqCst, Ordering::SeqCst);
        if began == Err(AT_REST) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::task::{ArcWake, waker};

    use super::*;

    #[derive(Default)]
    struct Task(std::sync::atomic::AtomicUsize);

    impl ArcWake for Task {
        fn wake_by_ref(task: &Arc<Self>) {
            task.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Task {
        fn wakes(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// Pending for `turns` polls, each of which wakes itself after `each`.
    async fn yielding(turns: u32, each: impl Fn()) {
        let mut left = turns;
        std::future::poll_fn(|cx| match left {
            0 => Poll::Ready(()),
            _ => {
                left -= 1;
                each();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }

    #[test]
    fn what_wakes_itself_goes_on_without_the_executor() {
        let (turns, task) = (Turns::new(5), Arc::<Task>::default());
        let mut work = pin!(yielding(4, || ()));
        assert!(turns.poll(work.as_mut(), 1, &Context::from_waker(&waker(Arc::clone(&task)))).is_ready());
        assert_eq!(task.wakes(), 0);
    }

    #[test]
    fn who_never_ends_leaves_the_thread() {
        let (turns, task) = (Turns::new(5), Arc::<Task>::default());
        let mut work = pin!(yielding(6, || ()));
        let waker = waker(Arc::clone(&task));
        assert!(turns.poll(work.as_mut(), 1, &Context::from_waker(&waker)).is_pending());
        assert_eq!(task.wakes(), 1);
        assert!(turns.poll(work.as_mut(), 1, &Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn among_many_calls_it_takes_turns() {
        let (turns, task) = (Turns::new(5), Arc::<Task>::default());
        let mut work = pin!(yielding(1, || ()));
        assert!(turns.poll(work.as_mut(), usize::MAX, &Context::from_waker(&waker(Arc::clone(&task)))).is_pending());
        assert_eq!(task.wakes(), 1);
    }

    #[test]
    fn a_guest_that_gives_way_leaves_the_thread_each_time() {
        let (turns, task) = (Turns::new(5), Arc::<Task>::default());
        let way = turns.way();
        let mut work = pin!(yielding(3, || way.give()));
        let waker = waker(Arc::clone(&task));
        for nth in 1..=3 {
            assert!(turns.poll(work.as_mut(), 1, &Context::from_waker(&waker)).is_pending());
            assert_eq!(task.wakes(), nth);
        }
        assert!(turns.poll(work.as_mut(), 1, &Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn a_wake_from_elsewhere_reaches_the_task_that_polls_now() {
        let (turns, first, second) = (Turns::new(5), Arc::<Task>::default(), Arc::<Task>::default());
        let kept = std::cell::RefCell::new(None);
        let work = std::future::poll_fn(|cx: &mut Context<'_>| {
            *kept.borrow_mut() = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        let mut work = pin!(work);
        for task in [&first, &second] {
            assert!(turns.poll(work.as_mut(), 1, &Context::from_waker(&waker(Arc::clone(task)))).is_pending());
        }
        kept.take().expect("it was polled").wake();
        assert_eq!((first.wakes(), second.wakes()), (0, 1));
    }
}
