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

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

use books::Books;
use tokio::time::Instant;

use crate::monitor::{Closed, Eviction, Sockets};
use crate::route::HostPort;

/// What a route is to the pool: its identity, and the groups that its sockets are counted in.
pub(crate) trait Route: Clone + Eq + Hash {
    type Group: Group;
    /// One for its host and port; and one for its proxy, where it has one.
    fn groups(&self) -> impl Iterator<Item = Self::Group>;
}

/// Sockets that are counted together.
pub(crate) trait Group: Clone + Debug + Eq + Hash {
    /// How many of them may be open; 0 is no limit.
    fn limit(&self, limits: &Limits) -> usize;
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

/// An idle connection.
#[derive(Debug)]
struct Idle<C> {
    connection: C,
    slot: SlotId,
    /// Orders idle connections by the moment that they became so.
    order: u64,
    expires: Instant,
}

/// What belongs to one route; gone when it is empty.
#[derive(Debug)]
struct Lane<C, W> {
    /// Oldest first.
    idle: VecDeque<Idle<C>>,
    /// In order of arrival.
    waiters: BTreeMap<WaiterId, W>,
    /// Connections being opened; the first so many waiters are theirs.
    connecting: usize,
}

/// Looked up twice an exchange, by a key with many fields; foldhash is seeded, as the standard hasher is, and faster.
type Lanes<R, C, W> = HashMap<R, Lane<C, W>, foldhash::fast::RandomState>;

/// See the module.
#[derive(Debug)]
pub(crate) struct State<R: Route, C, W> {
    limits: Limits,
    lanes: Lanes<R, C, W>,
    books: Books<R>,
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
}

/// What [`State::enqueue`] made of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It waits, or a connection is being opened for it.
    Waits(WaiterId),
    /// As many wait as may.
    Full,
}

impl<R: Route, C, W: Clone> State<R, C, W> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: Lanes::default(),
            books: Books::default(),
            idle: 0,
            waiting: 0,
            evicted: 0,
            lowered: false,
            next: 0,
        }
    }

    /// Takes the newest idle connection of the route. What has expired meanwhile is closed.
    pub(crate) fn take_idle(&mut self, route: &R, now: Instant, actions: &mut Actions<R, C, W>) -> Option<C> {
        let lane = self.lanes.get_mut(route)?;
        let mut found = None;
        while let Some(idle) = lane.idle.pop_back() {
            self.idle -= 1;
            if idle.expires > now {
                found = Some(idle.connection);
                break;
            }
            self.books.mark_closing(idle.slot);
            actions.close.push((idle.connection, Some(Closed::Idle)));
        }
        // The lane stays while its connection is out: it comes back soon, and a map entry costs more than its place.
        found
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
        let first_hungry = *lane.waiters.keys().nth(lane.connecting)?;
        if id < first_hungry || !lane.waiters.contains_key(&id) {
            return None;
        }
        let full = self.books.full_groups(route, &self.limits).next();
        Some(full.map_or(Full::Total, |group| Full::Group { open: self.books.of(&group).open, group }))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A connection has been opened: it goes to the route's first waiter, or becomes idle.
    pub(crate) fn connected(
        &mut self,
        route: &R,
        slot: SlotId,
        connection: C,
        expires: Instant,
        actions: &mut Actions<R, C, W>,
    ) {
        self.lane(route).connecting -= 1;
        self.give_back(route, slot, connection, expires, actions);
    }

    /// Opening failed: the waiter that is to hear of it. Its socket is reported by [`State::closed`].
    pub(crate) fn failed(&mut self, route: &R) -> Option<W> {
        let lane = self.lane(route);
        lane.connecting -= 1;
        let waiter = lane.waiters.pop_first().map(|(_, waiter)| waiter);
        self.waiting -= usize::from(waiter.is_some());
        self.tidy(route);
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
        self.lane(route).idle.push_back(Idle { connection, slot, order, expires });
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
        // The peer may have closed it while it was idle.
        if let Some(lane) = self.lanes.get_mut(&route)
            && let Some(index) = lane.idle.iter().position(|idle| idle.slot == slot)
        {
            actions.close.extend(lane.idle.remove(index).map(|idle| (idle.connection, Some(Closed::Peer))));
            self.idle -= 1;
        }
        self.tidy(&route);
        self.pump(actions);
    }

    /// One more socket for a connection that is being opened (racing addresses), if there is room that nobody waits for.
    pub(crate) fn extra(&mut self, route: &R) -> Option<SlotId> {
        (self.hungry() == 0 && self.has_room(route)).then(|| self.open_socket(route))
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
            lane.connecting > 0 || !lane.waiters.is_empty() || !lane.idle.is_empty()
        });
        next
    }

    /// What there is of each route, in parts that are for the caller to add up.
    pub(crate) fn census(&self) -> Vec<(R, Sockets)> {
        let one = |closing| Sockets { open: 1, closing: usize::from(closing), ..Sockets::default() };
        let sockets = self.books.sockets().map(|(route, closing)| (route.clone(), one(closing)));
        let of =
            |lane: &Lane<C, W>| Sockets { idle: lane.idle.len(), waiting: lane.waiters.len(), ..Sockets::default() };
        sockets.chain(self.lanes.iter().map(|(route, lane)| (route.clone(), of(lane)))).collect()
    }

    /// Closes everything idle.
    pub(crate) fn clear(&mut self, actions: &mut Actions<R, C, W>) {
        while self.close_oldest(None, Closed::Ended, actions) {}
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { open: self.books.all().open, idle: self.idle, waiting: self.waiting, evicted: self.evicted }
    }

    /// Opens connections for as many waiters as there is room for, in order of arrival, and makes room for the others.
    fn pump(&mut self, actions: &mut Actions<R, C, W>) {
        if self.waiting == 0 {
            return;
        }
        let mut promised = 0;
        let mut promised_of: HashMap<R::Group, usize> = HashMap::new();
        // How far each lane has been looked at in this round; a lane of which a group is full is done.
        let mut seen: HashMap<R, usize> = HashMap::new();
        while let Some((route, waiter)) = self.next_hungry(&seen) {
            if self.has_room(&route) {
                let slot = self.open_socket(&route);
                self.lane(&route).connecting += 1;
                actions.open.push((route, slot, waiter));
                continue;
            }
            let full: Vec<R::Group> = self.books.full_groups(&route, &self.limits).collect();
            // True if whatever room is on its way in the group is somebody's already.
            let all_promised =
                |state: &Self, group| state.books.of(group).closing <= promised_of.get(group).copied().unwrap_or(0);
            // Nothing is closed for who would have to wait all the same.
            if full.iter().any(|group| all_promised(self, group) && !self.has_idle(group)) {
                seen.insert(route, usize::MAX);
                continue;
            }
            for group in &full {
                if all_promised(self, group) {
                    self.evict(Some(group), Eviction::Room, actions);
                }
            }
            if self.books.all().closing <= promised && !self.evict(None, Eviction::Room, actions) {
                return;
            }
            promised += 1;
            for group in route.groups() {
                *promised_of.entry(group).or_default() += 1;
            }
            *seen.entry(route).or_default() += 1;
        }
    }

    /// The first waiter, over all routes, for which nothing has been opened or promised yet.
    fn next_hungry(&self, seen: &HashMap<R, usize>) -> Option<(R, W)> {
        let hungry = self.lanes.iter().filter_map(|(route, lane)| {
            let skip = lane.connecting.saturating_add(seen.get(route).copied().unwrap_or(0));
            if lane.waiters.len() <= skip {
                return None;
            }
            lane.waiters.iter().nth(skip).map(|(id, waiter)| (*id, route, waiter))
        });
        hungry.min_by_key(|(id, ..)| *id).map(|(_, route, waiter)| (route.clone(), waiter.clone()))
    }

    /// Waiters for which no connection is being opened.
    fn hungry(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiters.len().saturating_sub(lane.connecting)).sum()
    }

    /// True if a request of another route came before `first`, and the room of this connection is what it waits for.
    fn overtaken(&self, route: &R, first: Option<WaiterId>) -> bool {
        let all_full = self.books.is_full(&self.limits);
        let full: Vec<R::Group> = self.books.full_groups(route, &self.limits).collect();
        if !all_full && full.is_empty() {
            return false;
        }
        // Room that is already on its way serves the first of those who wait.
        let on_its_way = full.iter().map(|group| self.books.of(group).closing).min();
        let on_its_way = on_its_way.unwrap_or_else(|| self.books.all().closing);
        let earlier = self
            .lanes
            .iter()
            .filter(|(other, _)| *other != route)
            .filter(|(other, _)| {
                // All that keeps it waiting must be what this connection would make room in.
                let mut missing = self.books.full_groups(other, &self.limits).peekable();
                (all_full || missing.peek().is_some()) && missing.all(|group| full.contains(&group))
            })
            .flat_map(|(_, lane)| lane.waiters.keys().skip(lane.connecting))
            .filter(|id| first.is_none_or(|first| **id < first))
            .count();
        earlier > on_its_way
    }

    /// Closes the oldest idle connection, of one group or of all, because it has to go.
    fn evict(&mut self, group: Option<&R::Group>, why: Eviction, actions: &mut Actions<R, C, W>) -> bool {
        let evicted = self.close_oldest(group, Closed::Evicted(why), actions);
        self.evicted += u64::from(evicted);
        evicted
    }

    fn close_oldest(&mut self, group: Option<&R::Group>, why: Closed, actions: &mut Actions<R, C, W>) -> bool {
        if self.idle == 0 {
            return false;
        }
        let oldest = self
            .lanes
            .iter_mut()
            .filter(|(route, _)| group.is_none_or(|group| route.groups().any(|other| other == *group)))
            .filter(|(_, lane)| !lane.idle.is_empty())
            .min_by_key(|(_, lane)| lane.idle.front().map(|idle| idle.order));
        let Some((route, idle)) = oldest.and_then(|(route, lane)| Some((route.clone(), lane.idle.pop_front()?))) else {
            return false;
        };
        self.idle -= 1;
        self.let_go(idle.slot, idle.connection, Some(why), actions);
        self.tidy(&route);
        true
    }

    fn has_idle(&self, group: &R::Group) -> bool {
        let mut idle = self.lanes.iter().filter(|(_, lane)| !lane.idle.is_empty());
        idle.any(|(route, _)| route.groups().any(|other| other == *group))
    }

    fn has_room(&self, route: &R) -> bool {
        !self.books.is_full(&self.limits) && self.books.full_groups(route, &self.limits).next().is_none()
    }

    fn open_socket(&mut self, route: &R) -> SlotId {
        let slot = SlotId(self.number());
        self.books.open(slot, route);
        slot
    }

    fn lane(&mut self, route: &R) -> &mut Lane<C, W> {
        let empty = || Lane { idle: VecDeque::new(), waiters: BTreeMap::new(), connecting: 0 };
        self.lanes.entry(route.clone()).or_insert_with(empty)
    }

    fn tidy(&mut self, route: &R) {
        if self
            .lanes
            .get(route)
            .is_some_and(|lane| lane.connecting == 0 && lane.waiters.is_empty() && lane.idle.is_empty())
        {
            self.lanes.remove(route);
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

mod books;
mod swap;
#[cfg(test)]
mod tests;
