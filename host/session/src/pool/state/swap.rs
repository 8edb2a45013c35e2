//! New bounds, and routes that are no more: what a swap of the policy means to the state machine.

use super::{Actions, Limits, Route, State, mark_closing};

impl<R: Route, C, W: Clone> State<R, C, W> {
    /// Puts new bounds in the place of the old ones. What is idle beyond them goes now, what is in use when it comes
    /// back; who waits gets the room that there is more of.
    pub(crate) fn set_limits(&mut self, limits: Limits, actions: &mut Actions<R, C, W>) {
        self.limits = limits;
        self.lowered = true;
        while self.exceeds_total() && self.evict(None, actions) {}
        for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
            while self.exceeds_host(&host) && self.evict(Some(&host), actions) {}
        }
        self.pump(actions);
    }

    /// Closes idle connections that `keeps` does not keep.
    pub(crate) fn retain_idle(&mut self, keeps: impl Fn(&C) -> bool, actions: &mut Actions<R, C, W>) {
        let Self { lanes, sockets, hosts, closing, idle, .. } = self;
        lanes.retain(|_, lane| {
            for index in (0..lane.idle.len()).rev() {
                if keeps(&lane.idle[index].connection) {
                    continue;
                }
                if let Some(gone) = lane.idle.remove(index) {
                    *idle -= 1;
                    mark_closing(sockets, hosts, closing, gone.slot);
                    actions.close.push(gone.connection);
                }
            }
            lane.connecting > 0 || !lane.waiters.is_empty() || !lane.idle.is_empty()
        });
    }

    /// True if a connection of the route is one too many. Asked only while a lowered limit has not been reached.
    pub(super) fn exceeds(&mut self, route: &R) -> bool {
        let exceeds = self.exceeds_total() || self.exceeds_host(&route.host());
        if !exceeds {
            self.lowered = self.hosts.keys().any(|host| self.exceeds_host(host));
        }
        exceeds
    }

    fn exceeds_total(&self) -> bool {
        self.limits.total > 0 && self.sockets.len() - self.closing > self.limits.total
    }

    fn exceeds_host(&self, host: &R::Host) -> bool {
        let open = self.hosts.get(host).map_or(0, |counts| counts.open - counts.closing);
        self.limits.per_host > 0 && open > self.limits.per_host
    }
}
