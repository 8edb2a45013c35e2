//! Who is served next, and what makes room for it.

use std::collections::HashMap;

use super::lane::Need;
use super::{Actions, Carry, Group as _, Lane, Route, State, WaiterId};
use crate::monitor::{Closed, Eviction};

impl<R: Route, C: Carry, W: Clone> State<R, C, W> {
    /// Serves as many waiters as there is room for, in order of arrival, and makes room for the others.
    pub(super) fn pump(&mut self, actions: &mut Actions<R, C, W>) {
        if self.waiting == 0 {
            return;
        }
        let mut promised = 0;
        let mut promised_of: HashMap<R::Group, usize> = HashMap::new();
        // How far each lane has been looked at in this round; a lane of which a group is full is done.
        let mut seen: HashMap<R, usize> = HashMap::new();
        while let Some((id, route, waiter, need)) = self.next(&seen) {
            if self.serve(id, &route, waiter, need, actions) {
                continue;
            }
            let full: Vec<R::Group> = self.books.full_groups(&route, need, &self.limits).collect();
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
            // Only while all are full do later waiters wait for the same: one on its way out may make room in one group for
            // one waiter and in another group for the next.
            let waits_for_all = self.books.is_full(&self.limits) && self.books.all().closing <= promised;
            if waits_for_all && !self.evict(None, Eviction::Room, actions) {
                return;
            }
            promised += 1;
            for group in route.groups() {
                *promised_of.entry(group).or_default() += 1;
            }
            *seen.entry(route).or_default() += 1;
        }
    }

    /// Gives a waiter what it lacks, if there is room for it.
    fn serve(&mut self, id: WaiterId, route: &R, waiter: W, need: Need, actions: &mut Actions<R, C, W>) -> bool {
        match need {
            Need::Socket if self.has_room(route, need) => {
                let slot = self.open_socket(route);
                let lane = self.lane(route);
                lane.connecting += 1;
                lane.pressed = false;
                actions.open.push((route.clone(), slot, waiter));
                true
            }
            Need::Stream if self.lane(route).has_idle_share() || self.has_room(route, need) => {
                // Where none came of it, the connection is used up, and the waiter is looked at again.
                if let Some(connection) = self.share(route, actions) {
                    let lane = self.lane(route);
                    lane.waiters.remove(&id);
                    lane.pressed = false;
                    self.waiting -= 1;
                    actions.hand.push((waiter, connection));
                }
                true
            }
            Need::Socket | Need::Stream => false,
        }
    }

    /// The first waiter, over all routes, for which nothing has been opened or promised yet.
    fn next(&self, seen: &HashMap<R, usize>) -> Option<(WaiterId, R, W, Need)> {
        let next = self.lanes.iter().filter_map(|(route, lane)| {
            let (id, waiter, need) = lane.next(seen.get(route).copied().unwrap_or(0))?;
            Some((id, route, waiter, need))
        });
        let (id, route, waiter, need) = next.min_by_key(|(id, ..)| *id)?;
        Some((id, route.clone(), waiter.clone(), need))
    }

    /// Waiters that wait for room.
    pub(super) fn hungry(&self) -> usize {
        let hungry = self.lanes.iter().map(|(route, lane)| match lane.is_probing() {
            true => lane.waiters.len().saturating_sub(self.most(route)),
            false => lane.hungry().count(),
        });
        hungry.sum()
    }

    /// How many exchanges of a route there may be at once, whatever they are carried by.
    fn most(&self, route: &R) -> usize {
        let groups = route.groups().filter(R::Group::counts_exchanges).map(|group| group.limit(&self.limits));
        groups.chain([self.limits.total]).filter(|limit: &usize| *limit > 0).min().unwrap_or(usize::MAX)
    }

    /// True if a request of another route came before `first`, and the room of this connection is what it waits for.
    pub(super) fn overtaken(&self, route: &R, first: Option<WaiterId>) -> bool {
        let all_full = self.books.is_full(&self.limits);
        let full: Vec<R::Group> = self.books.full_groups(route, Need::Socket, &self.limits).collect();
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
            .filter(|(other, lane)| {
                let need = if lane.free() > 0 { Need::Stream } else { Need::Socket };
                // All that keeps it waiting must be what this connection would make room in.
                let mut missing = self.books.full_groups(other, need, &self.limits).peekable();
                (all_full || missing.peek().is_some()) && missing.all(|group| full.contains(&group))
            })
            .flat_map(|(_, lane)| lane.wanting())
            .filter(|id| first.is_none_or(|first| **id < first))
            .count();
        earlier > on_its_way
    }

    /// Closes the oldest idle connection, of one group or of all, because it has to go.
    pub(super) fn evict(&mut self, group: Option<&R::Group>, why: Eviction, actions: &mut Actions<R, C, W>) -> bool {
        let evicted = self.close_oldest(group, Closed::Evicted(why), actions);
        self.evicted += u64::from(evicted);
        evicted
    }

    pub(super) fn close_oldest(
        &mut self,
        group: Option<&R::Group>,
        why: Closed,
        actions: &mut Actions<R, C, W>,
    ) -> bool {
        if self.idle == 0 {
            return false;
        }
        let of_group = |route: &R| group.is_none_or(|group| route.groups().any(|other| other == *group));
        let lanes = self.lanes.iter_mut().filter(|(route, _)| of_group(route));
        let oldest =
            lanes.filter_map(|(route, lane)| Some((oldest(lane)?, route, lane))).min_by_key(|(order, ..)| *order);
        let Some((order, route, lane)) = oldest else { return false };
        let route = route.clone();
        let (slot, connection) = match lane.idle.front().filter(|idle| idle.order == order) {
            Some(_) => {
                let Some(idle) = lane.idle.pop_front() else { return false };
                (idle.slot, idle.connection)
            }
            None => {
                let shared = lane.shared.iter().position(|shared| shared.active == 0 && shared.order == order);
                let Some(shared) = shared.map(|index| lane.shared.remove(index)) else { return false };
                (shared.slot, shared.connection)
            }
        };
        self.idle -= 1;
        self.let_go(slot, connection, Some(why), actions);
        self.tidy(&route);
        true
    }

    fn has_idle(&self, group: &R::Group) -> bool {
        let mut idle = self.lanes.iter().filter(|(_, lane)| oldest(lane).is_some());
        idle.any(|(route, _)| route.groups().any(|other| other == *group))
    }

    pub(super) fn has_room(&self, route: &R, need: Need) -> bool {
        !self.books.is_full(&self.limits) && self.books.full_groups(route, need, &self.limits).next().is_none()
    }
}

/// When the lane's oldest idle connection became so.
fn oldest<C, W>(lane: &Lane<C, W>) -> Option<u64> {
    let shared = lane.shared.iter().filter(|shared| shared.active == 0).map(|shared| shared.order);
    lane.idle.front().map(|idle| idle.order).into_iter().chain(shared).min()
}
