//! Waiting for a connection: a place in the queue, how long it may last, and what a long wait says.
//!
//! A wait is for room. Once a connection is being opened for a request, the deadlines of dns, tcp, proxy and tls bound
//! what remains, and `pool.timeout` does not: the state machine knows which of the two it is.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::hand::{self, Hand, Palm};
use super::state::{Counts, Full, Group as _, Limits, PATIENCE, Place, WaiterId};
use super::{Connection, Group, Settings, Shared, Sharing, ended};
use crate::Snapshot;
use crate::error::{Error, Kind};
use crate::monitor::{Exchange, Signal, Teller, Timings};
use crate::route::Route;
use crate::stage::Stage;

/// What a waiter gets in the end: a connection, or why there is none, with what trying took.
pub(super) type Handed = Result<Box<Connection>, (Error, Option<Box<Timings>>)>;

/// A request in the queue.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Under which a connection is opened on its behalf.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) runtime: Handle,
    hand: Hand<Handed>,
    /// The number of its exchange.
    pub(super) number: u64,
    /// Apart from the waiter, whose end is to be noticed by who waits.
    pub(super) queue: Arc<Queue>,
}

/// The wait for room, of who found none.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Queued>);

#[derive(Debug, Default)]
struct Queued {
    /// When it began; absent where there was room.
    since: Option<Instant>,
    /// How long it was, once it is over.
    waited: Option<Duration>,
    /// Tells of it, once its beginning has been told.
    teller: Option<Teller>,
}

impl Waiter {
    /// Hands over the result; what the waiter did not take comes back.
    pub(super) fn give(&self, result: Handed) -> Option<Handed> {
        self.hand.give(result)
    }
}

impl Queue {
    /// There is no room for it yet. Called under the pool's lock, while nobody else knows the waiter: only so may this lock
    /// be taken within that one, because monitors are told under it.
    fn has_no_room(&self) {
        self.lock().since = Some(Instant::now());
    }

    /// Its wait for room is over, if it had one. Whoever serves it says so, in whatever thread that is.
    pub(super) fn has_room(&self) {
        let mut queued = self.lock();
        let Queued { since: Some(since), waited: None, teller } = &*queued else { return };
        let waited = since.elapsed();
        // Under the lock of this one waiter, so that its two signals come in order.
        teller.iter().for_each(|teller| teller.tell(Signal::QueueEnd { waited }));
        queued.waited = Some(waited);
    }

    /// Tells that it waits for room, if it does; and that it did, where the wait is over by now.
    fn tell_wait(&self, exchange: &Exchange) {
        let mut queued = self.lock();
        if queued.since.is_none() {
            return;
        }
        exchange.tell(Signal::QueueStart);
        match queued.waited {
            Some(waited) => exchange.tell(Signal::QueueEnd { waited }),
            None => queued.teller = exchange.teller(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a connection that is opened, or comes back.
///
/// Cancel safe: a caller that goes away leaves the queue, and what was meant for it goes to the next.
pub(super) async fn wait(
    shared: &Arc<Shared>,
    snapshot: &Arc<Snapshot>,
    route: &Arc<Route>,
    exchange: &Exchange,
) -> Handed {
    let settings = &snapshot.base.policy.pool;
    let (hand, handed) = hand::pair();
    let queue = Arc::new(Queue::default());
    let waiter = Arc::new(Waiter {
        snapshot: Arc::clone(snapshot),
        runtime: Handle::current(),
        hand,
        number: exchange.number(),
        queue: Arc::clone(&queue),
    });
    let place = shared.change(|inner, actions| {
        // It may have come before the session began to end, and have collected its body meanwhile.
        if shared.phase.borrow().opens_nothing() {
            return None;
        }
        let place = inner.machine.enqueue(route, waiter, actions);
        if let Place::Waits(id) = place
            && inner.machine.blocked(route, id).is_some()
        {
            queue.has_no_room();
        }
        Some(place)
    });
    let Some(place) = place else { return Err((crate::drain::refused(), None)) };
    let Place::Waits(id) = place else {
        let message = format!("`pool.max_waiters` of {} requests are waiting already", settings.max_waiters);
        let error = Error::new(Stage::Pool, Kind::ConnectionLimit, message);
        return Err((error.with_hint("raise `pool.limit`, `pool.limit_per_host` or `pool.max_waiters`"), None));
    };
    queue.tell_wait(exchange);
    let handed = Waiting { shared, route, id, handed, queue: &queue }.end(settings).await;
    queue.has_room();
    let waited = queue.lock().waited;
    exchange.record.update(|timings| timings.queued = timings.queued.or(waited));
    handed
}

/// A place in the queue, given up when the caller goes away.
struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    route: &'a Arc<Route>,
    id: WaiterId,
    handed: Palm<Handed>,
    queue: &'a Queue,
}

impl Waiting<'_> {
    async fn end(mut self, settings: &Settings) -> Handed {
        let arrived = Instant::now();
        let after = |length: Option<_>| length.and_then(|length| arrived.checked_add(length));
        let (mut warns, mut ends) = (after(settings.wait_warn.0), after(settings.timeout.0));
        let mut presses = after(Some(PATIENCE).filter(|_| self.route.sharing() != Sharing::Exclusive));
        let handed = loop {
            let Some(next) = warns.into_iter().chain(ends).chain(presses).min() else { break (&mut self.handed).await };
            if let Ok(handed) = timeout_at(next, &mut self.handed).await {
                break handed;
            }
            let now = Instant::now();
            if warns.is_some_and(|warns| warns <= now) {
                warns = None;
                self.warn(settings, arrived, now);
            }
            if presses.is_some_and(|presses| presses <= now) {
                presses = self.shared.change(|inner, actions| inner.machine.press(self.route, self.id, now, actions));
            }
            if ends.is_some_and(|ends| ends <= now) {
                if let Some(error) = self.give_up(settings) {
                    return Err((error, None));
                }
                // A connection is being opened for it. Should somebody who came earlier get that one, it waits on.
                ends = settings.timeout.0.and_then(|timeout| now.checked_add(timeout));
            }
        };
        // There is nothing to give up any more.
        std::mem::forget(self);
        handed.unwrap_or_else(|_| Err((ended(), None)))
    }

    /// Leaves the queue, if it is room that is missing.
    fn give_up(&self, settings: &Settings) -> Option<Error> {
        let what = self.shared.change(|inner, _| {
            let full = inner.machine.blocked(self.route, self.id)?;
            inner.machine.abandon(self.route, self.id);
            Some(self.describe(full, inner.machine.limits(), inner.machine.counts(), settings))
        })?;
        let message = format!("`pool.timeout` of {} passed: {what}", settings.timeout);
        let error = Error::new(Stage::Pool, Kind::ConnectionLimit, message);
        Some(error.with_hint("raise the limit that is full, or `pool.timeout`"))
    }

    /// Says which limit is full. While many wait, one of them speaks for all: once in `pool.wait_warn`.
    fn warn(&self, settings: &Settings, arrived: Instant, now: Instant) {
        let what = self.shared.change(|inner, _| {
            let full = inner.machine.blocked(self.route, self.id)?;
            let recent = |last: Instant| settings.wait_warn.0.is_some_and(|every| now.duration_since(last) < every);
            if inner.warned.is_some_and(recent) {
                return None;
            }
            inner.warned = Some(now);
            Some(self.describe(full, inner.machine.limits(), inner.machine.counts(), settings))
        });
        if let Some(what) = what {
            let (origin, waited) = (self.route.origin(), now.duration_since(arrived));
            tracing::warn!(%origin, ?waited, "a request waits for a connection: {what}");
        }
    }

    fn describe(&self, full: Full<Group>, limits: &Limits, counts: Counts, settings: &Settings) -> String {
        let Counts { open, idle, waiting, evicted: _ } = counts;
        match full {
            Full::Total => {
                let clamped = match limits.total == settings.limit {
                    true => String::new(),
                    false => format!(" (`pool.descriptors` clamps {} to it)", settings.limit),
                };
                let limit = limits.total;
                format!("`pool.limit` of {limit}{clamped} is full: {open} open, {idle} of them idle, {waiting} waiting")
            }
            Full::Streams { connections, streams } => {
                let origin = self.route.origin();
                format!(
                    "{origin} takes {streams} exchanges at once on {connections} connections, {waiting} waiting in all"
                )
            }
            Full::Group { group, open } => {
                let limit = group.limit(limits);
                let (key, place): (_, &dyn fmt::Display) = match &group {
                    Group::Host(place) => ("pool.limit_per_host", place),
                    Group::Proxy(proxy) => ("proxy.limit", proxy),
                };
                format!("`{key}` of {limit} is full: {open} open to {place}, {waiting} waiting in all")
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.has_room();
        if self.shared.change(|inner, _| inner.machine.abandon(self.route, self.id)) {
            return;
        }
        // A connection was on its way to us: it lies here already, or its giver keeps it.
        if let Some(Ok(connection)) = self.handed.close() {
            self.shared.give_back(connection);
        }
    }
}
