//! The pool's state machine: who waits, what is idle, what is open. No clock, no I/O, no task.
//!
//! [`super::Pool`] holds it behind one mutex, tells it what happened, and does what it answers: a list of [`Actions`].
//! It keeps these promises at every step, whatever comes in whatever order:
//!
//! - open sockets (connecting, active, idle and closing) never exceed `limit`, nor those of one host `limit_per_host`, nor
//!   those to one proxy `proxy.limit`, and where a limit is lowered they sink to it: idle ones at once, the others as their
//!   exchanges end;
//! - requests are served first come, first served, over all routes; one is passed over only while its own host, or its
//!   own proxy, is full;
//! - a free or freed connection goes straight to the waiter that it serves, so that no newcomer can take it;
//! - while a request waits for room, an idle connection of another route makes it, the oldest first.
//!
//! A connection that several exchanges share (HTTP/2) takes one place in the limits as a socket does, and one more for each
//! exchange beyond its first: so no bound is passed by sockets, nor by exchanges.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::num::NonZeroUsize;

use books::Books;
use lane::{Lane, Need};
use lru::LruCache;
use tokio::time::Instant;

use crate::monitor::{Closed, Sockets};
use crate::route::HostPort;

/// What a route is to the pool: its identity, and the groups that its sockets are counted in.
pub(crate) trait Route: Clone + Eq + Hash {
    type Group: Group;
    /// One for its host and port; and one for its proxy, where it has one.
    fn groups(&self) -> impl Iterator<Item = Self::Group>;
    /// What is known of its connections before there is one.
    fn sharing(&self) -> Sharing;
}

/// How many exchanges a route's connections carry at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sharing {
    /// One: a connection is opened for each who waits.
    Exclusive,
    /// The first connection will tell: one is opened, and the others wait for what it turns out to be.
    Unknown,
    /// Several: one is opened, and a further one where those that there are stay full.
    Shared,
}

/// A connection, as far as the machine has to know it. Only one that several exchanges share is asked anything.
pub(crate) trait Carry: Sized {
    /// The same connection, for one more exchange; absent if it may carry no more.
    fn share(&mut self) -> Option<Self>;
    /// When it is to be closed if it becomes idle now; absent if at once.
    fn expires(&self) -> Option<Instant>;
    /// Why it may carry no more.
    fn why(&self) -> Closed;
}

/// Sockets that are counted together.
pub(crate) trait Group: Clone + Debug + Eq + Hash {
    /// How many of them may be open; 0 is no limit.
    fn limit(&self, limits: &Limits) -> usize;
    /// True if exchanges are bounded as sockets are.
    fn counts_exchanges(&self) -> bool;
}

/// The number of an open socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SlotId(u64);

impl SlotId {
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// The number of a waiter: its place in the queue of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WaiterId(u64);

/// The bounds; 0 is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) total: usize,
    pub(crate) per_host: usize,
    /// Hosts for which another bound holds than `per_host`.
    pub(crate) hosts: HashMap<HostPort, usize>,
    pub(crate) per_proxy: usize,
    pub(crate) waiters: usize,
}

/// What is to be done once the lock is released.
#[derive(Debug)]
pub(crate) struct Actions<R, C, W> {
    /// Open a connection for a route, on behalf of a waiter.
    pub(crate) open: Vec<(R, SlotId, W)>,
    /// Give a connection to a waiter.
    pub(crate) hand: Vec<(W, C)>,
    /// Close a connection; why, where that is not for who gave it up to say.
    pub(crate) close: Vec<(C, Option<Closed>)>,
}

impl<R, C, W> Default for Actions<R, C, W> {
    fn default() -> Self {
        Self { open: Vec::new(), hand: Vec::new(), close: Vec::new() }
    }
}

/// Looked up twice an exchange, by a key with many fields; foldhash is seeded, as the standard hasher is, and faster.
type Lanes<R, C, W> = HashMap<R, Lane<C, W>, foldhash::fast::RandomState>;

/// See the module.
#[derive(Debug)]
pub(crate) struct State<R: Route, C, W> {
    limits: Limits,
    lanes: Lanes<R, C, W>,
    books: Books<R>,
    /// Routes whose last connection carried one exchange at a time; the least recently used is forgotten, and asked again.
    exclusive: LruCache<R, ()>,
    idle: usize,
    waiting: usize,
    evicted: u64,
    /// True while more may be open than the limits allow, because they were lowered.
    lowered: bool,
    next: u64,
}

/// What there is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Open sockets, whatever they are used for.
    pub(crate) open: usize,
    pub(crate) idle: usize,
    pub(crate) waiting: usize,
    /// Idle connections that had to go, so far.
    pub(crate) evicted: u64,
}

/// The bound that a waiter waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Full<G> {
    /// Sockets of all routes together.
    Total,
    /// Sockets of one group of the waiter's, so many of which are open.
    Group { group: G, open: usize },
    /// All exchanges that so many connections carry at once.
    Streams { connections: usize, streams: usize },
}

/// What [`State::enqueue`] made of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It waits, or a connection is being opened for it.
    Waits(WaiterId),
    /// As many wait as may.
    Full,
}

impl<R: Route, C: Carry, W: Clone> State<R, C, W> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: Lanes::default(),
            books: Books::default(),
            exclusive: LruCache::new(REMEMBERED),
            idle: 0,
            waiting: 0,
            evicted: 0,
            lowered: false,
            next: 0,
        }
    }

    /// Takes the newest idle connection of the route, or a share of one that has room. What has expired meanwhile is closed.
    pub(crate) fn take_idle(&mut self, route: &R, now: Instant, actions: &mut Actions<R, C, W>) -> Option<C> {
        let lane = self.lanes.get_mut(route)?;
        while let Some(idle) = lane.idle.pop_back() {
            self.idle -= 1;
            if idle.expires > now {
                return Some(idle.connection);
            }
            self.books.mark_closing(idle.slot);
            actions.close.push((idle.connection, Some(Closed::Idle)));
        }
        // The lane stays while its connection is out: it comes back soon, and a map entry costs more than its place.
        if lane.shared.is_empty() { None } else { self.take_share(route, now, actions) }
    }

    /// Puts a request at the end of the queue, after [`State::take_idle`] found nothing, and opens what may be opened.
    pub(crate) fn enqueue(&mut self, route: &R, waiter: W, actions: &mut Actions<R, C, W>) -> Place {
        let id = WaiterId(self.number());
        self.lane(route).waiters.insert(id, waiter);
        self.waiting += 1;
        self.pump(actions);
        let bound = self.limits.waiters;
        if bound > 0 && self.hungry() > bound {
            self.abandon(route, id);
            return Place::Full;
        }
        Place::Waits(id)
    }

    /// Forgets a waiter; false if it is not waiting any more, because a connection was handed to it.
    pub(crate) fn abandon(&mut self, route: &R, id: WaiterId) -> bool {
        let Some(lane) = self.lanes.get_mut(route) else { return false };
        let waited = lane.waiters.remove(&id).is_some();
        self.waiting -= usize::from(waited);
        self.tidy(route);
        waited
    }

    /// The bound that keeps a waiter waiting; absent while a connection is being opened for it, and once it has one.
    pub(crate) fn blocked(&self, route: &R, id: WaiterId) -> Option<Full<R::Group>> {
        let lane = self.lanes.get(route)?;
        let first_hungry = *lane.hungry().next()?;
        if id < first_hungry || !lane.waiters.contains_key(&id) {
            return None;
        }
        let need = if lane.free() > 0 { Need::Stream } else { Need::Socket };
        let full = self.books.full_groups(route, need, &self.limits).next();
        let full = full.map(|group| Full::Group { open: self.books.of(&group).open, group });
        let streams = || lane.streams().map(|(connections, streams)| Full::Streams { connections, streams });
        Some(full.or_else(|| if self.books.is_full(&self.limits) { None } else { streams() }).unwrap_or(Full::Total))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A connection has been opened that carries one exchange at a time: it goes to the route's first waiter, or becomes
    /// idle.
    pub(crate) fn connected(
        &mut self,
        route: &R,
        slot: SlotId,
        connection: C,
        expires: Instant,
        actions: &mut Actions<R, C, W>,
    ) {
        if route.sharing() != Sharing::Exclusive {
            self.exclusive.put(route.clone(), ());
        }
        let lane = self.lane(route);
        lane.connecting -= 1;
        let asked = std::mem::replace(&mut lane.sharing, Sharing::Exclusive) != Sharing::Exclusive;
        self.give_back(route, slot, connection, expires, actions);
        if asked {
            // Who waited to hear what it would be is served as everybody is.
            self.pump(actions);
        }
    }

    /// Opening failed: the waiter that is to hear of it; nobody, where those who wait have another connection to wait for.
    /// Its socket is reported by [`State::closed`].
    pub(crate) fn failed(&mut self, route: &R, now: Instant, actions: &mut Actions<R, C, W>) -> Option<W> {
        let lane = self.lane(route);
        lane.connecting -= 1;
        lane.pressed = false;
        if lane.is_live() {
            lane.since = Some(now);
            return None;
        }
        // The others may each try on their own: were they to go on one after the other, the last would wait for ever.
        lane.sharing = Sharing::Exclusive;
        let waiter = lane.waiters.pop_first().map(|(_, waiter)| waiter);
        self.waiting -= usize::from(waiter.is_some());
        self.tidy(route);
        self.pump(actions);
        waiter
    }

    /// A healthy connection is free: it goes to the route's first waiter, makes room for one that came earlier, or
    /// becomes idle.
    pub(crate) fn give_back(
        &mut self,
        route: &R,
        slot: SlotId,
        connection: C,
        expires: Instant,
        actions: &mut Actions<R, C, W>,
    ) {
        // Its socket may have closed before the answer was read to its end: an answer without a length ends so.
        if !self.books.holds(slot) {
            actions.close.push((connection, Some(Closed::Peer)));
            return self.pump(actions);
        }
        if self.lowered && self.exceeds(route) {
            return self.let_go(slot, connection, Some(Closed::Yielded), actions);
        }
        if self.waiting > 0 {
            let first = self.lanes.get(route).and_then(|lane| lane.waiters.keys().next().copied());
            if self.overtaken(route, first) {
                return self.let_go(slot, connection, Some(Closed::Yielded), actions);
            }
            if let Some((_, waiter)) = self.lane(route).waiters.pop_first() {
                self.waiting -= 1;
                return actions.hand.push((waiter, connection));
            }
        }
        let order = self.number();
        self.lane(route).idle.push_back(lane::Idle { connection, slot, order, expires });
        self.idle += 1;
        // Who waits for room in two groups may need it, together with another idle one.
        self.pump(actions);
    }

    /// A connection is not to be used again; its socket closes soon.
    pub(crate) fn discard(&mut self, slot: SlotId, connection: C, actions: &mut Actions<R, C, W>) {
        self.let_go(slot, connection, None, actions);
    }

    fn let_go(&mut self, slot: SlotId, connection: C, why: Option<Closed>, actions: &mut Actions<R, C, W>) {
        self.books.mark_closing(slot);
        actions.close.push((connection, why));
    }

    /// A socket has closed: its room goes to who waits for it.
    pub(crate) fn closed(&mut self, slot: SlotId, actions: &mut Actions<R, C, W>) {
        let Some(route) = self.books.close(slot) else { return };
        // The peer may have closed it while it was idle, or under those who share it.
        if let Some(lane) = self.lanes.get_mut(&route) {
            if let Some(index) = lane.idle.iter().position(|idle| idle.slot == slot) {
                actions.close.extend(lane.idle.remove(index).map(|idle| (idle.connection, Some(Closed::Peer))));
                self.idle -= 1;
            } else if let Some(index) = lane.shared.iter().position(|shared| shared.slot == slot) {
                let shared = lane.shared.remove(index);
                self.idle -= usize::from(shared.active == 0);
                actions.close.push((shared.connection, Some(Closed::Peer)));
            }
        }
        self.tidy(&route);
        self.pump(actions);
    }

    /// One more socket for a connection that is being opened (racing addresses), if there is room that nobody waits for.
    pub(crate) fn extra(&mut self, route: &R) -> Option<SlotId> {
        (self.hungry() == 0 && self.has_room(route, Need::Socket)).then(|| self.open_socket(route))
    }

    /// Closes what has been idle too long; the moment that the next one expires.
    pub(crate) fn expire(&mut self, now: Instant, actions: &mut Actions<R, C, W>) -> Option<Instant> {
        let Self { lanes, books, idle, .. } = self;
        let mut next: Option<Instant> = None;
        lanes.retain(|_, lane| {
            let (kept, old): (VecDeque<_>, VecDeque<_>) = lane.idle.drain(..).partition(|idle| idle.expires > now);
            for gone in old {
                *idle -= 1;
                books.mark_closing(gone.slot);
                actions.close.push((gone.connection, Some(Closed::Idle)));
            }
            next = kept.iter().map(|idle| idle.expires).chain(next).min();
            lane.idle = kept;
            let gone = lane.shared.extract_if(.., |shared| shared.active == 0 && shared.expires <= now);
            for gone in gone {
                *idle -= 1;
                books.mark_closing(gone.slot);
                actions.close.push((gone.connection, Some(Closed::Idle)));
            }
            let idle = lane.shared.iter().filter(|shared| shared.active == 0);
            next = idle.map(|shared| shared.expires).chain(next).min();
            !lane.is_empty()
        });
        next
    }

    /// What there is of each route, in parts that are for the caller to add up.
    pub(crate) fn census(&self) -> Vec<(R, Sockets)> {
        let one = |closing| Sockets { open: 1, closing: usize::from(closing), ..Sockets::default() };
        let sockets = self.books.each().map(|(route, closing)| (route.clone(), one(closing)));
        let of = |lane: &Lane<C, W>| Sockets { idle: lane.idle(), waiting: lane.waiters.len(), ..Sockets::default() };
        sockets.chain(self.lanes.iter().map(|(route, lane)| (route.clone(), of(lane)))).collect()
    }

    /// Closes everything idle.
    pub(crate) fn clear(&mut self, actions: &mut Actions<R, C, W>) {
        while self.close_oldest(None, Closed::Ended, actions) {}
    }

    /// Open sockets that are not idle, nor on their way out.
    pub(crate) fn in_use(&self) -> usize {
        self.books.sockets() - self.books.all().closing - self.idle
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { open: self.books.sockets(), idle: self.idle, waiting: self.waiting, evicted: self.evicted }
    }

    fn open_socket(&mut self, route: &R) -> SlotId {
        let slot = SlotId(self.number());
        self.books.open(slot, route);
        slot
    }

    fn lane(&mut self, route: &R) -> &mut Lane<C, W> {
        let Self { lanes, exclusive, .. } = self;
        lanes.entry(route.clone()).or_insert_with(|| {
            Lane::new(match route.sharing() {
                Sharing::Unknown if exclusive.get(route).is_some() => Sharing::Exclusive,
                sharing @ (Sharing::Exclusive | Sharing::Unknown | Sharing::Shared) => sharing,
            })
        })
    }

    fn tidy(&mut self, route: &R) {
        if self.lanes.get(route).is_some_and(Lane::is_empty) {
            self.lanes.remove(route);
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Routes that are remembered as exclusive.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");

mod books;
mod lane;
mod pump;
mod shared;
pub(crate) use shared::PATIENCE;
mod swap;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod property;
