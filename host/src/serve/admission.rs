//! How many calls at a time, and how many may wait.
//!
//! Runs after a request's key is known and before its body is read. Invariant: never more calls than `serve.calls`, nor more
//! that wait than `serve.queue`; who waited longest comes first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for calls.
#[derive(Debug)]
pub(super) struct Admission {
    seats: Arc<Semaphore>,
    calls: usize,
    waiting: AtomicUsize,
}

/// Why there is no room for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many wait as may.
    Full,
    /// It waited as long as it may.
    Waited(Duration),
}

impl Admission {
    pub(super) fn new(calls: usize) -> Self {
        let calls = calls.min(Semaphore::MAX_PERMITS);
        Self { seats: Arc::new(Semaphore::new(calls)), calls, waiting: AtomicUsize::new(0) }
    }

    /// A seat, for as long as it is held. Cancel safe.
    pub(super) async fn enter(
        &self,
        queue: usize,
        patience: Option<Duration>,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
            return Ok(seat);
        }
        let _place = Place::take(&self.waiting, queue).ok_or(Refused::Full)?;
        let seat = Arc::clone(&self.seats).acquire_owned();
        let seat = match patience {
            None => seat.await,
            Some(patience) => tokio::time::timeout(patience, seat).await.map_err(|_| Refused::Waited(patience))?,
        };
        Ok(seat.expect("the semaphore is never closed"))
    }

    /// Waits until no call is under way. Cancel safe; only once no more are let in.
    pub(super) async fn emptied(&self) {
        let all = u32::try_from(self.calls).unwrap_or(u32::MAX);
        drop(self.seats.acquire_many(all).await);
    }

    /// Calls under way.
    pub(super) fn running(&self) -> usize {
        self.calls - self.seats.available_permits()
    }

    /// Calls that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> Option<Self> {
        let more = |now: usize| (now < queue).then_some(now + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused_and_who_waits_comes_in_turn() {
        let admission = Admission::new(1);
        let first = admission.enter(1, None).await.unwrap();
        let mut second = Box::pin(admission.enter(1, None));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!((admission.running(), admission.waiting()), (1, 1));
        assert_eq!(admission.enter(1, None).await.unwrap_err(), Refused::Full);
        drop(first);
        let second = second.await.unwrap();
        assert_eq!((admission.running(), admission.waiting()), (1, 0));
        let patience = Duration::from_millis(1);
        assert_eq!(admission.enter(1, Some(patience)).await.unwrap_err(), Refused::Waited(patience));
        assert_eq!(admission.enter(0, None).await.unwrap_err(), Refused::Full);
        drop(second);
        assert_eq!((admission.running(), admission.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_gives_its_place_back() {
        let admission = Admission::new(1);
        let _first = admission.enter(1, None).await.unwrap();
        let mut second = Box::pin(admission.enter(1, None));
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        assert_eq!(admission.waiting(), 0);
    }
}
