//! New bounds, and routes that are no more: what a swap of the policy means to the state machine.

use super::{Actions, Carry, Group as _, Limits, Route, State};
use crate::monitor::{Closed, Eviction};

impl<R: Route, C: Carry, W: Clone> State<R, C, W> {
    /// Puts new bounds in the place of the old ones. What is idle beyond them goes now, what is in use when it comes
    /// back; who waits gets the room that there is more of.
    pub(crate) fn set_limits(&mut self, limits: Limits, actions: &mut Actions<R, C, W>) {
        self.limits = limits;
        self.lowered = true;
        while self.exceeds_total() && self.evict(None, Eviction::Limit, actions) {}
        for group in self.books.groups().cloned().collect::<Vec<_>>() {
            while self.exceeds_group(&group) && self.evict(Some(&group), Eviction::Limit, actions) {}
        }
        self.pump(actions);
    }

    /// Closes idle connections that `keeps` does not keep; those that are shared take no more, and close with the last
    /// exchange that they carry.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(&mut C) -> bool, actions: &mut Actions<R, C, W>) {
        let Self { lanes, books, idle, .. } = self;
        lanes.retain(|_, lane| {
            for index in (0..lane.idle.len()).rev() {
                if keeps(&mut lane.idle[index].connection) {
                    continue;
                }
                if let Some(gone) = lane.idle.remove(index) {
                    *idle -= 1;
                    books.mark_closing(gone.slot);
                    actions.close.push((gone.connection, Some(Closed::Swap)));
                }
            }
            for shared in &mut lane.shared {
                if !keeps(&mut shared.connection) {
                    (shared.retired, shared.why) = (true, shared.why.or(Some(Closed::Swap)));
                }
            }
            for gone in lane.shared.extract_if(.., |shared| shared.retired && shared.active == 0) {
                *idle -= 1;
                books.mark_closing(gone.slot);
                actions.close.push((gone.connection, Some(Closed::Swap)));
            }
            !lane.is_empty()
        });
        self.pump(actions);
    }

    /// How many connections of each route no later exchange would use again: those that `keeps` does not keep, and where it
    /// does not keep a route, whatever is open of it.
    pub(crate) fn retiring(&self, route: impl Fn(&R) -> bool, keeps: impl Fn(&C) -> bool) -> Vec<(R, usize)> {
        let mut gone: Vec<(R, usize)> = Vec::new();
        let mut add = |route: &R, more: usize| match gone.iter_mut().find(|(known, _)| known == route) {
            Some((_, count)) => *count += more,
            None => gone.push((route.clone(), more)),
        };
        let open = self.books.each().filter(|(_, closing)| !closing);
        open.filter(|(of, _)| !route(of)).for_each(|(of, _)| add(of, 1));
        for (of, lane) in self.lanes.iter().filter(|(of, _)| route(of)) {
            let idle = lane.idle.iter().filter(|idle| !keeps(&idle.connection)).count();
            let shared = lane.shared.iter().filter(|shared| !shared.retired && !keeps(&shared.connection)).count();
            if idle + shared > 0 {
                add(of, idle + shared);
            }
        }
        gone
    }

    /// Takes everybody out of the queue: what is being opened for them is nobody's.
    pub(crate) fn dismiss(&mut self) -> Vec<W> {
        self.waiting = 0;
        let waiters =
            self.lanes.values_mut().flat_map(|lane| std::mem::take(&mut lane.waiters).into_values()).collect();
        self.lanes.retain(|_, lane| !lane.is_empty());
        waiters
    }

    /// True if a connection of the route is one too many. Asked only while a lowered limit has not been reached.
    pub(super) fn exceeds(&mut self, route: &R) -> bool {
        let exceeds = self.exceeds_total() || route.groups().any(|group| self.exceeds_group(&group));
        if !exceeds {
            self.lowered = self.books.groups().any(|group| self.exceeds_group(group));
        }
        exceeds
    }

    fn exceeds_total(&self) -> bool {
        let all = self.books.all();
        self.limits.total > 0 && all.open - all.closing > self.limits.total
    }

    fn exceeds_group(&self, group: &R::Group) -> bool {
        let (count, limit) = (self.books.of(group), group.limit(&self.limits));
        limit > 0 && count.open - count.closing > limit
    }
}
