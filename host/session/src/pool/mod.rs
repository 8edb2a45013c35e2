//! Connections: how many there are, who waits for one, who has one, and which are kept.
//!
//! Runs once the route is decided; `dns`, `tcp`, `proxy`, `tls` and `wire` run beneath it, in the pool's own tasks, so
//! that a request which goes away neither aborts nor leaks a connection that is half made: the next waiter gets it.
//!
//! Two tokens keep the books exact. A [`Slot`] is an open socket: it lives in the I/O object and is given back when the
//! descriptor has closed. A [`Lease`] is a connection in use: it lives in the answer's body and is given back at its end.

mod state;
mod life;
mod connection;
mod descriptors;
mod domain;
mod drain;
mod token;
mod hand;
mod wait;
#[cfg(test)]
mod model;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::drain::Phase;
use crate::error::{Error, Kind};
use crate::monitor::{Closed, Counters, Exchange, Figures, Sockets};
use crate::policy::units::{Period, Share, Timeout};
use crate::route::{HostPort, Route};
use crate::stage::Stage;
use crate::{Snapshot, proxy};
use connection::{Connection, Opening, open_and_drive};
pub use domain::{Domain, Isolation};
use state::{Counts, Limits, State};
pub(crate) use state::{Sharing, SlotId};
pub(crate) use token::{Lease, Reset, Slot};
use wait::Waiter;

/// `[pool]`: how many connections, for how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Open sockets (connecting, active, idle and closing together) over all routes, at most; and no more exchanges at
    /// once, though several share a connection. 0 is no limit. Default 100.
    pub limit: usize,
    /// The same, for one host and port. 0 is no limit, the default.
    pub limit_per_host: usize,
    /// How long an idle connection is kept. Default 15 s. `force_close` excludes it.
    pub keepalive: Period,
    /// Closes each connection after its exchange, and says so to the server. Default false.
    pub force_close: bool,
    /// Resets a TLS connection that the peer leaves half-closed for 2 s. Default false.
    pub cleanup_closed: bool,
    /// The longest wait for room for a connection; what opening one takes is not counted. Default off.
    pub timeout: Timeout,
    /// Requests that may wait for a connection; one more fails at once. 0 is no limit, the default.
    pub max_waiters: usize,
    /// A wait for room that is longer is a warning, which names the limit that is full. Default 1 s; `"off"` for none.
    pub wait_warn: Timeout,
    /// A connection that was opened longer ago carries no further exchange, so that a change of DNS is followed; what
    /// runs on it then is not cut. Default 1 h; `"off"` for no limit.
    pub max_lifetime: Timeout,
    /// Exchanges that one connection carries, at most. 0 is no limit, the default. With 1, as with `force_close`, HTTP/2 is
    /// offered only where `wire.http` is "2".
    pub max_requests: u64,
    /// Share of the files that the process may open (RLIMIT_NOFILE) which `limit` is clamped to. Default 50%.
    pub descriptors: Share,
    /// Who may share a connection, and resume a TLS session. Default guest: the calls of one component.
    pub isolation: Isolation,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: 100,
            limit_per_host: 0,
            keepalive: Period::seconds(15),
            force_close: false,
            cleanup_closed: false,
            timeout: Timeout::OFF,
            max_waiters: 0,
            wait_warn: Timeout::seconds(1),
            max_lifetime: Timeout::seconds(3600),
            max_requests: 0,
            descriptors: Share::percent(50),
            isolation: Isolation::Guest,
        }
    }
}

/// How many new connections an exchange may find closed that others shared with it.
const LOST: u32 = 8;

/// How often the reaper looks while nothing is idle but something may become so.
const LOOK: Duration = Duration::from_secs(1);

type Machine = State<Arc<Route>, Box<Connection>, Arc<Waiter>>;
type Actions = state::Actions<Arc<Route>, Box<Connection>, Arc<Waiter>>;

/// Sockets that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// To one host and port, whoever stands between.
    Host(HostPort),
    /// To one proxy, whatever lies behind it and whoever we are to it.
    Proxy(proxy::Server),
}

impl state::Group for Group {
    fn limit(&self, limits: &Limits) -> usize {
        match self {
            Self::Host(place) => limits.hosts.get(place).copied().unwrap_or(limits.per_host),
            Self::Proxy(_) => limits.per_proxy,
        }
    }

    fn counts_exchanges(&self) -> bool {
        match self {
            Self::Host(_) => true,
            Self::Proxy(_) => false,
        }
    }
}

impl state::Route for Arc<Route> {
    type Group = Group;
    fn groups(&self) -> impl Iterator<Item = Group> {
        let proxy = self.proxy().map(|proxy| Group::Proxy(proxy.server().clone()));
        [Group::Host(self.origin().host_port())].into_iter().chain(proxy)
    }

    fn sharing(&self) -> Sharing {
        Route::sharing(self)
    }
}

/// The pool of one session. Dropping it closes what is idle and stops what is being opened; what is in use runs on.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// Tells the tasks of connections; its end tells those that are being opened.
    phase: watch::Sender<Phase>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    counters: Arc<Counters>,
    phase: watch::Receiver<Phase>,
    /// True once no further request is taken.
    stops: AtomicBool,
    /// Something has changed while the pool ends.
    closed: Notify,
    reaper: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    /// The newest policy.
    snapshot: Arc<Snapshot>,
    /// When the reaper looks next; absent while nothing is idle, or before it runs.
    reaps: Option<Instant>,
    reaper_runs: bool,
    /// When a long wait was last warned of.
    warned: Option<Instant>,
    ended: bool,
}

impl Pool {
    pub(crate) fn new(snapshot: Arc<Snapshot>, counters: Arc<Counters>) -> Self {
        let (phase, watched) = watch::channel(Phase::Open);
        let inner = Inner {
            machine: State::new(descriptors::limits(&snapshot.base.policy)),
            snapshot,
            reaps: None,
            reaper_runs: false,
            warned: None,
            ended: false,
        };
        let shared = Shared {
            inner: Mutex::new(inner),
            counters,
            phase: watched,
            stops: AtomicBool::new(false),
            closed: Notify::new(),
            reaper: Arc::new(Notify::new()),
        };
        Self { shared: Arc::new(shared), phase }
    }

    /// A connection of the route, for one exchange: an idle one, or one with room; else one that is opened or comes back.
    ///
    /// Cancel safe: a caller that goes away leaves the queue, and what was meant for it goes to the next.
    pub(crate) async fn lease(
        &self,
        snapshot: &Arc<Snapshot>,
        route: &Arc<Route>,
        exchange: &Exchange,
    ) -> Result<Lease, Error> {
        let mut lost = 0;
        loop {
            let idle = self.shared.take_idle(route);
            let was_idle = idle.is_some();
            let connection = match idle {
                Some(connection) => connection,
                None => wait::wait(&self.shared, snapshot, route, exchange).await.map_err(|(error, opening)| {
                    exchange.record.update(|timings| opening.iter().for_each(|opening| timings.adopt(opening)));
                    error
                })?,
            };
            let kept = connection.kept_by(snapshot);
            let mut lease = Lease { connection: Some(connection), shared: Arc::clone(&self.shared), reused: true };
            if !kept {
                lease.closes_for(Closed::Swap);
                lease.retire(Closed::Swap);
                continue;
            }
            let Some(connection) = &mut lease.connection else { continue };
            connection.life.begin_exchange();
            let opening = connection.opening.take();
            let rested = connection.life.has_rested();
            let ready = connection.sender.ready(rested).await;
            if !matches!(ready, Ok(true)) {
                lease.closes_for(Closed::Peer);
            }
            match (ready, opening) {
                (Ok(true), None) => {
                    lease.connection.iter().for_each(|connection| exchange.rides_on(connection.slot, true));
                    return Ok(lease);
                }
                (Ok(true), Some(opening)) => {
                    lease.reused = false;
                    lease.connection.iter().for_each(|connection| exchange.rides_on(connection.slot, false));
                    exchange.record.update(|timings| timings.adopt(&opening));
                    return Ok(lease);
                }
                // It closed while it was idle, or can be used no more; the next one, or a new one, will do.
                (_, None) => lease.retire(Closed::Peer),
                (_, Some(_)) if was_idle => lease.retire(Closed::Peer),
                // Another exchange on it was quicker, and the last.
                (Ok(false), Some(_)) if lease.is_shared() && lost < LOST => {
                    lost += 1;
                    lease.retire(Closed::Peer);
                }
                (Ok(false), Some(_)) => {
                    return Err(Error::new(Stage::Wire, Kind::Terminated, "the peer closed the connection at once"));
                }
                (Err(error), Some(_)) => return Err(error),
            }
        }
    }

    /// Obeys a new policy: its limits, and of the idle connections only those that it would open just so.
    pub(crate) fn swap(&self, snapshot: Arc<Snapshot>) {
        self.shared.change(|inner, actions| {
            let keeps = |connection: &mut Box<Connection>| {
                let kept = connection.kept_by(&snapshot);
                if kept {
                    connection.generation = snapshot.generation;
                }
                kept
            };
            inner.machine.retain(keeps, actions);
            inner.machine.set_limits(descriptors::limits(&snapshot.base.policy), actions);
            inner.snapshot = snapshot;
        });
    }

    /// How many connections of each route no exchange under this policy would use.
    pub(crate) fn retiring(&self, snapshot: &Snapshot) -> Vec<(Arc<Route>, usize)> {
        let inner = self.shared.lock();
        inner.machine.retiring(|route| snapshot.keeps(route, None), |connection| connection.kept_by(snapshot))
    }

    /// The sockets and the waiters of each route, in parts.
    pub(crate) fn sockets(&self) -> Vec<(Arc<Route>, Sockets)> {
        self.shared.lock().machine.census()
    }

    /// Fills in what the pool holds now.
    pub(crate) fn count(&self, figures: &mut Figures) {
        let Counts { open, idle, waiting, evicted } = self.shared.lock().machine.counts();
        (figures.open, figures.idle, figures.waiting, figures.evicted) = (open, idle, waiting, evicted);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.change(|inner, actions| {
            inner.ended = true;
            inner.machine.clear(actions);
        });
        self.shared.reaper.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then does what follows from it, without the lock.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Inner, &mut Actions) -> T) -> T {
        let mut actions = Actions::default();
        let result = change(&mut self.lock(), &mut actions);
        self.act(actions);
        if self.stops.load(Ordering::Relaxed) {
            self.closed.notify_waiters();
        }
        result
    }

    fn act(self: &Arc<Self>, actions: Actions) {
        let Actions { open, hand, close } = actions;
        for (connection, why) in close {
            self.closes(&connection, why);
        }
        for (waiter, connection) in hand {
            waiter.queue.has_room();
            if let Some(Ok(connection)) = waiter.give(Ok(connection)) {
                // It went away at this very moment.
                self.give_back(connection);
            }
        }
        for (route, slot, waiter) in open {
            self.counters.add(|tally| &tally.opened);
            waiter.queue.has_room();
            let slot = Slot { shared: Arc::clone(self), route: Arc::clone(&route), id: slot, reset: Arc::default() };
            let runtime = waiter.runtime.clone();
            runtime.spawn(open_and_drive(Opening { shared: Arc::clone(self), route: Some(route) }, waiter, slot));
        }
    }

    /// Says why a connection closes.
    fn closes(&self, connection: &Connection, why: Option<Closed>) {
        let reason = match why {
            Some(Closed::Idle) => connection.life.why(Instant::now()),
            Some(why) => why,
            None => connection.closes_for,
        };
        self.counters.closed(connection.slot, &connection.route, reason);
    }

    fn take_idle(self: &Arc<Self>, route: &Arc<Route>) -> Option<Box<Connection>> {
        self.change(|inner, actions| inner.machine.take_idle(route, Instant::now(), actions))
    }

    fn give_back(self: &Arc<Self>, mut connection: Box<Connection>) {
        let now = Instant::now();
        connection.life.rest(now);
        let Connection { route, slot, life, .. } = &*connection;
        let (route, slot, expires) = (Arc::clone(route), *slot, life.expires(now));
        if connection.sender.is_shared() {
            return self.change(|inner, actions| {
                if inner.ended {
                    inner.machine.retire(&route, slot, Some(Closed::Ended), actions);
                }
                inner.machine.release(&route, slot, actions);
                expires.iter().for_each(|expires| self.remind(inner, *expires));
            });
        }
        self.change(|inner, actions| match expires.filter(|_| !inner.ended && connection.kept_by(&inner.snapshot)) {
            None => {
                connection.closes_for = match (inner.ended, expires) {
                    (true, _) => Closed::Ended,
                    (false, None) => connection.life.why(now),
                    (false, Some(_)) => Closed::Swap,
                };
                inner.machine.discard(slot, connection, actions);
            }
            Some(expires) => {
                connection.generation = inner.snapshot.generation;
                inner.machine.give_back(&route, slot, connection, expires, actions);
                self.remind(inner, expires);
            }
        });
    }

    /// Wakes the reaper if it would look too late.
    fn remind(&self, inner: &mut Inner, expires: Instant) {
        if inner.reaps.is_none_or(|reaps| expires < reaps) {
            inner.reaps = Some(expires);
            self.reaper.notify_one();
        }
    }

    /// Starts the task that closes what has been idle too long, with the first connection.
    fn start_reaper(self: &Arc<Self>, runtime: &Handle) {
        if !std::mem::replace(&mut self.lock().reaper_runs, true) {
            runtime.spawn(reap(Arc::downgrade(self), Arc::clone(&self.reaper)));
        }
    }
}

fn ended() -> Error {
    Error::new(Stage::Pool, Kind::Unavailable, "the session has ended")
}

/// Closes idle connections as they expire, until the session is gone.
async fn reap(shared: Weak<Shared>, reminder: Arc<Notify>) {
    loop {
        let next = {
            let Some(shared) = shared.upgrade() else { return };
            let next = shared.change(|inner, actions| {
                let now = Instant::now();
                let next = inner.machine.expire(now, actions);
                // What is in use may become idle at any moment: to be told of each time would cost more than to look.
                let looks = (inner.machine.counts().open > 0).then_some(now + LOOK);
                inner.reaps = next.or(looks);
                (!inner.ended).then_some(inner.reaps)
            });
            let Some(next) = next else { return };
            next
        };
        match next {
            Some(next) => drop(tokio::time::timeout_at(next, reminder.notified()).await),
            None => reminder.notified().await,
        }
    }
}
