//! The open sockets, counted: all together, and by group: those of one host, those to one proxy.

use std::collections::HashMap;

use super::{Group, Limits, Route, SlotId};

/// How many sockets are open, and how many of these are on their way out: room that can be promised.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) open: usize,
    pub(super) closing: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Books<R: Route> {
    sockets: HashMap<SlotId, Socket<R>>,
    groups: HashMap<R::Group, Count>,
    closing: usize,
}

#[derive(Debug)]
struct Socket<R> {
    route: R,
    closing: bool,
}

impl<R: Route> Default for Books<R> {
    fn default() -> Self {
        Self { sockets: HashMap::new(), groups: HashMap::new(), closing: 0 }
    }
}

impl<R: Route> Books<R> {
    pub(super) fn all(&self) -> Count {
        Count { open: self.sockets.len(), closing: self.closing }
    }

    pub(super) fn of(&self, group: &R::Group) -> Count {
        self.groups.get(group).copied().unwrap_or_default()
    }

    /// The groups of which a socket is open.
    pub(super) fn groups(&self) -> impl Iterator<Item = &R::Group> {
        self.groups.keys()
    }

    /// The routes of the open sockets; true for those that are closing.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&R, bool)> {
        self.sockets.values().map(|socket| (&socket.route, socket.closing))
    }

    pub(super) fn holds(&self, slot: SlotId) -> bool {
        self.sockets.contains_key(&slot)
    }

    pub(super) fn open(&mut self, slot: SlotId, route: &R) {
        for group in route.groups() {
            self.groups.entry(group).or_default().open += 1;
        }
        self.sockets.insert(slot, Socket { route: route.clone(), closing: false });
    }

    /// Books a socket as on its way out, once.
    pub(super) fn mark_closing(&mut self, slot: SlotId) {
        let Some(socket) = self.sockets.get_mut(&slot).filter(|socket| !socket.closing) else { return };
        socket.closing = true;
        self.closing += 1;
        for group in socket.route.groups() {
            if let Some(count) = self.groups.get_mut(&group) {
                count.closing += 1;
            }
        }
    }

    /// Strikes a socket out; whose it was.
    pub(super) fn close(&mut self, slot: SlotId) -> Option<R> {
        let Socket { route, closing } = self.sockets.remove(&slot)?;
        let closing = usize::from(closing);
        self.closing -= closing;
        for group in route.groups() {
            if let Some(count) = self.groups.get_mut(&group) {
                count.open -= 1;
                count.closing -= closing;
                if count.open == 0 {
                    self.groups.remove(&group);
                }
            }
        }
        Some(route)
    }

    /// True if no socket more may be open.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        limits.total > 0 && self.sockets.len() >= limits.total
    }

    /// The groups of the route of which no socket more may be open.
    pub(super) fn full_groups(&self, route: &R, limits: &Limits) -> impl Iterator<Item = R::Group> {
        route.groups().filter(|group| {
            let limit = group.limit(limits);
            limit > 0 && self.of(group).open >= limit
        })
    }
}
