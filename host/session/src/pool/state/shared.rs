//! Connections that several exchanges share: who gets a place on one, and when there is a further one.

use std::time::Duration;

use tokio::time::Instant;

use super::lane::{self, Need};
use super::{Actions, Carry, Route, Sharing, SlotId, State, WaiterId};
use crate::monitor::Closed;

/// How long a request waits for a place on the connections that there are before one more is opened beside them. Opening
/// one takes about as long: so nobody waits more than twice what was needed, and a burst of short exchanges opens none.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

impl<R: Route, C: Carry, W: Clone> State<R, C, W> {
    /// A connection has been opened that carries `capacity` exchanges at once: it serves as many of the route's waiters.
    pub(crate) fn connected_shared(
        &mut self,
        route: &R,
        (slot, connection, capacity): (SlotId, C, usize),
        now: Instant,
        actions: &mut Actions<R, C, W>,
    ) {
        self.exclusive.pop(route);
        let order = self.number();
        let holds = self.books.holds(slot);
        let lane = self.lane(route);
        lane.connecting -= 1;
        lane.sharing = Sharing::Shared;
        (lane.since, lane.pressed) = (Some(now), false);
        // It may have closed before anybody heard of it.
        if !holds {
            actions.close.push((connection, Some(Closed::Peer)));
            return self.pump(actions);
        }
        // However short its life, its first exchange is what it was opened for.
        let (expires, retired, why) = (connection.expires().unwrap_or(now), false, None);
        lane.shared.push(lane::Shared { connection, slot, active: 0, capacity, retired, why, order, expires });
        self.idle += 1;
        if self.lowered && self.exceeds(route) {
            self.retire(route, slot, Some(Closed::Yielded), actions);
        }
        self.pump(actions);
    }

    /// The peer allows another number of exchanges at once; none means that it takes no more.
    pub(crate) fn set_capacity(&mut self, route: &R, slot: SlotId, capacity: usize, actions: &mut Actions<R, C, W>) {
        if capacity == 0 {
            self.retire(route, slot, Some(Closed::Peer), actions);
        } else if let Some(shared) = self.find(route, slot) {
            shared.capacity = capacity;
        }
        self.pump(actions);
    }

    /// The connection takes no further exchange, and closes with the last that it carries; for this reason, or for the one
    /// that it knows itself.
    pub(crate) fn retire(&mut self, route: &R, slot: SlotId, why: Option<Closed>, actions: &mut Actions<R, C, W>) {
        let Some(lane) = self.lanes.get_mut(route) else { return };
        let Some(index) = lane.shared.iter().position(|shared| shared.slot == slot) else { return };
        let shared = &mut lane.shared[index];
        (shared.retired, shared.why) = (true, shared.why.or(why));
        if shared.active == 0 {
            let shared = lane.shared.remove(index);
            self.idle -= 1;
            let why = shared.why.unwrap_or_else(|| shared.connection.why());
            self.let_go(slot, shared.connection, Some(why), actions);
            self.tidy(route);
        }
    }

    /// An exchange on a shared connection has ended: its place goes to who waits for it.
    pub(crate) fn release(&mut self, route: &R, slot: SlotId, actions: &mut Actions<R, C, W>) {
        let order = self.number();
        // Its socket may have closed beneath it.
        let Some(shared) = self.find(route, slot) else { return };
        shared.active -= 1;
        if shared.active > 0 {
            self.books.end_extra(slot);
            return self.pump(actions);
        }
        let expires = shared.connection.expires().filter(|_| !shared.retired);
        shared.order = order;
        shared.expires = expires.unwrap_or(shared.expires);
        self.idle += 1;
        if expires.is_none() {
            self.retire(route, slot, None, actions);
        } else if self.lowered && self.exceeds(route) {
            self.retire(route, slot, Some(Closed::Yielded), actions);
        }
        self.pump(actions);
    }

    /// A request has waited long for a place: opens a further connection, if those that there are have been full for long,
    /// and none is being opened. When to ask again; never, if it does not wait any more.
    pub(crate) fn press(
        &mut self,
        route: &R,
        id: WaiterId,
        now: Instant,
        actions: &mut Actions<R, C, W>,
    ) -> Option<Instant> {
        let lane = self.lanes.get_mut(route).filter(|lane| lane.waiters.contains_key(&id))?;
        if lane.sharing == Sharing::Exclusive {
            // The server may come to speak otherwise; to look often would cost more than that is worth.
            return Some(now + 10 * PATIENCE);
        }
        let due = lane.since.map_or(now, |since| since + PATIENCE);
        if due > now {
            return Some(due);
        }
        if lane.connecting == 0 && lane.free() == 0 && lane.sharing == Sharing::Shared {
            lane.pressed = true;
            self.pump(actions);
        }
        Some(now + PATIENCE)
    }

    /// A place for a request that has just come; none if there is no room for it.
    pub(super) fn take_share(&mut self, route: &R, now: Instant, actions: &mut Actions<R, C, W>) -> Option<C> {
        loop {
            let lane = self.lanes.get(route)?;
            if let Some(expired) = lane.shared.iter().find(|shared| shared.active == 0 && shared.expires <= now) {
                self.retire(route, expired.slot, Some(Closed::Idle), actions);
                continue;
            }
            if lane.free() == 0 || !(lane.has_idle_share() || self.has_room(route, Need::Stream)) {
                return None;
            }
            if let Some(connection) = self.share(route, actions) {
                return Some(connection);
            }
        }
    }

    /// One exchange more on the connection that carries the most already, so that the others can age. What is used up is
    /// retired. There must be room: a place of its own, or a connection that carries nothing.
    pub(super) fn share(&mut self, route: &R, actions: &mut Actions<R, C, W>) -> Option<C> {
        let room = self.has_room(route, Need::Stream);
        let lane = self.lanes.get_mut(route)?;
        let usable = lane.shared.iter_mut().filter(|shared| shared.free() > 0 && (room || shared.active == 0));
        let shared = usable.max_by_key(|shared| shared.active)?;
        let (slot, connection) = (shared.slot, shared.connection.share());
        if connection.is_none() {
            self.retire(route, slot, None, actions);
            return None;
        }
        shared.active += 1;
        if shared.active == 1 {
            self.idle -= 1;
        } else {
            self.books.begin_extra(slot);
        }
        connection
    }

    fn find(&mut self, route: &R, slot: SlotId) -> Option<&mut lane::Shared<C>> {
        self.lanes.get_mut(route)?.shared.iter_mut().find(|shared| shared.slot == slot)
    }
}
