//! The exchanges of one client's connection, and how they move.
//!
//! `connection` looks now and then. Invariant: an exchange is open until its answer has been told, but for what lies between
//! hyper and the client: over HTTP/2 `UNSENT` of it at most, over HTTP/1.1 what hyper and the kernel hold of one.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{AbortHandle, Abortable};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;

use super::body::Outgoing;
use crate::runtime::CallError;

/// The exchanges of one connection.
#[derive(Default)]
pub(super) struct Exchanges {
    open: AtomicUsize,
    /// How often one began, or ended.
    moves: AtomicUsize,
    answers: Mutex<Vec<Arc<Answer>>>,
}

/// How far the client is with an answer.
struct Answer {
    /// It takes no more for now.
    waits: AtomicBool,
    /// It has taken more since the last look.
    taken: AtomicBool,
    /// Ends the answer alone; absent where its connection has no other.
    stream: Option<AbortHandle>,
}

impl Exchanges {
    /// True if none is open, nor was any since the last look.
    pub(super) fn rest_since(&self, last: &mut usize) -> bool {
        // In this order: what ends in between was open, and what begins has moved.
        let open = self.open.load(Ordering::Acquire);
        let moves = self.moves.load(Ordering::Acquire);
        std::mem::replace(last, moves) == moves && open == 0
    }

    /// Ends the streams of whose answers the client has taken nothing since the last look. False if that is true of all that
    /// is open: its connection is to end, for the client may read nothing at all, not even that a stream is reset.
    pub(super) fn end_standing(&self) -> bool {
        let answers = self.answers();
        let standing: Vec<_> = answers.iter().filter(|answer| answer.stands()).collect();
        if !standing.is_empty() && standing.len() == self.open.load(Ordering::Acquire) {
            return false;
        }
        for stream in standing.iter().filter_map(|answer| answer.stream.as_ref()) {
            tracing::debug!("a stream is reset whose client takes nothing of its answer");
            stream.abort();
        }
        true
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Arc<Answer>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    fn stands(&self) -> bool {
        !self.taken.swap(false, Ordering::AcqRel) && self.waits.load(Ordering::Acquire)
    }
}

/// One of them, until its answer has been told.
pub(super) struct Open(Arc<Exchanges>);

impl Open {
    pub(super) fn begin(exchanges: &Arc<Exchanges>) -> Self {
        exchanges.moves.fetch_add(1, Ordering::AcqRel);
        exchanges.open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(exchanges))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.moves.fetch_add(1, Ordering::AcqRel);
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

tokio::task_local! {
    /// Ends the stream of HTTP/2 that is served in this task.
    static STREAM: AbortHandle;
}

/// Runs each stream of HTTP/2 so that it can be ended: dropped, it is reset.
#[derive(Clone)]
pub(super) struct Streams;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (handle, registration) = AbortHandle::new_pair();
        TokioExecutor::new().execute(STREAM.scope(handle, Abortable::new(stream, registration).map(drop)));
    }
}

/// An answer's body, while which the exchange is open.
pub(super) struct Held {
    body: Outgoing,
    answer: Arc<Answer>,
    open: Open,
}

impl Held {
    /// To be made where the answer is sent: in its stream's own task, if it has one.
    pub(super) fn new(body: Outgoing, open: Open) -> Self {
        let stream = STREAM.try_with(AbortHandle::clone).ok();
        let answer = Arc::new(Answer { waits: AtomicBool::new(true), taken: AtomicBool::new(true), stream });
        open.0.answers().push(Arc::clone(&answer));
        Self { body, answer, open }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let Self { body, answer, open: _ } = self.get_mut();
        answer.taken.store(true, Ordering::Release);
        answer.waits.store(false, Ordering::Release);
        let frame = ready!(Pin::new(body).poll_frame(cx));
        answer.waits.store(true, Ordering::Release);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut answers = self.open.0.answers();
        if let Some(place) = answers.iter().position(|answer| Arc::ptr_eq(answer, &self.answer)) {
            answers.swap_remove(place);
        }
    }
}
