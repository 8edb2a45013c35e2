//! The pool's end: nothing new, no waiter forgotten, and who wants to know hears when the last socket has closed.

use std::sync::atomic::Ordering;

use super::{Lease, Pool};
use crate::drain::{self, Phase};
use crate::error::Error;

impl Pool {
    /// Refuses a request that comes while the session ends.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        match self.shared.stops.load(Ordering::Relaxed) {
            true => Err(drain::refused()),
            false => Ok(()),
        }
    }

    /// Begins to end, or goes on to: idle connections close, and waiters are refused where the phase opens nothing more.
    /// How many were.
    pub(crate) fn stop(&self, phase: Phase) -> usize {
        self.shared.stops.store(true, Ordering::Relaxed);
        let phase = {
            let mut now = phase;
            self.phase.send_modify(|known| {
                // There is no way back, and nobody's waiting begins anew.
                if *known == Phase::Open || phase == Phase::Cut {
                    *known = phase;
                }
                now = *known;
            });
            now
        };
        let waiters = self.shared.change(|inner, actions| {
            inner.ended = true;
            let waiters = if phase.opens_nothing() { inner.machine.dismiss() } else { Vec::new() };
            inner.machine.clear(actions);
            waiters
        });
        let refused = waiters.into_iter().filter(|waiter| waiter.give(Err((drain::refused(), None))).is_none()).count();
        self.shared.closed.notify_waiters();
        refused
    }

    /// Waits until no socket is open and nobody waits. Only once the pool has begun to end.
    pub(crate) async fn emptied(&self) {
        loop {
            let closed = self.shared.closed.notified();
            let counts = self.shared.lock().machine.counts();
            if counts.open == 0 && counts.waiting == 0 {
                return;
            }
            closed.await;
        }
    }

    /// Connections that carry something, or are being opened.
    pub(crate) fn in_use(&self) -> usize {
        self.shared.lock().machine.in_use()
    }
}

impl Lease {
    /// What ended an exchange, if it was the session's own end.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match *self.shared.phase.borrow() {
            Phase::Cut => drain::cut(error.stage(), error.request_sent()).with_source(error),
            Phase::Open | Phase::Draining(_) => error,
        }
    }
}
