//! The places that are taken, counted: all together, and by group: those of one host, those to one proxy. An open socket
//! takes one, and so does each exchange on it beyond its first, except among the sockets to a proxy.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::lane::Need;
use super::{Group, Limits, Route, SlotId};

/// How many places are taken, and how many of these are on their way out: room that can be promised.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) open: usize,
    pub(super) closing: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Books<R: Route> {
    sockets: HashMap<SlotId, Socket<R>, RandomState>,
    groups: HashMap<R::Group, Count, RandomState>,
    closing: usize,
    /// Exchanges beyond the first of their connection.
    extra: usize,
}

#[derive(Debug)]
struct Socket<R> {
    route: R,
    closing: bool,
    extra: usize,
}

impl<R: Route> Default for Books<R> {
    fn default() -> Self {
        Self { sockets: HashMap::default(), groups: HashMap::default(), closing: 0, extra: 0 }
    }
}

impl<R: Route> Books<R> {
    pub(super) fn all(&self) -> Count {
        Count { open: self.sockets.len() + self.extra, closing: self.closing }
    }

    /// Open sockets, whatever they carry.
    pub(super) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn of(&self, group: &R::Group) -> Count {
        self.groups.get(group).copied().unwrap_or_default()
    }

    /// The groups of which a socket is open.
    pub(super) fn groups(&self) -> impl Iterator<Item = &R::Group> {
        self.groups.keys()
    }

    /// The routes of the open sockets; true for those that are closing.
    pub(super) fn each(&self) -> impl Iterator<Item = (&R, bool)> {
        self.sockets.values().map(|socket| (&socket.route, socket.closing))
    }

    pub(super) fn holds(&self, slot: SlotId) -> bool {
        self.sockets.contains_key(&slot)
    }

    pub(super) fn open(&mut self, slot: SlotId, route: &R) {
        for group in route.groups() {
            self.groups.entry(group).or_default().open += 1;
        }
        self.sockets.insert(slot, Socket { route: route.clone(), closing: false, extra: 0 });
    }

    /// One exchange more on a socket that carries one already.
    pub(super) fn begin_extra(&mut self, slot: SlotId) {
        let Some(socket) = self.sockets.get_mut(&slot) else { return };
        socket.extra += 1;
        self.extra += 1;
        for group in socket.route.groups().filter(Group::counts_exchanges) {
            self.groups.entry(group).or_default().open += 1;
        }
    }

    /// One of them has ended.
    pub(super) fn end_extra(&mut self, slot: SlotId) {
        let Some(socket) = self.sockets.get_mut(&slot).filter(|socket| socket.extra > 0) else { return };
        socket.extra -= 1;
        self.extra -= 1;
        for group in socket.route.groups().filter(Group::counts_exchanges) {
            if let Some(count) = self.groups.get_mut(&group) {
                count.open -= 1;
            }
        }
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
        let Socket { route, closing, extra } = self.sockets.remove(&slot)?;
        let closing = usize::from(closing);
        self.closing -= closing;
        self.extra -= extra;
        for group in route.groups() {
            let extra = if group.counts_exchanges() { extra } else { 0 };
            if let Some(count) = self.groups.get_mut(&group) {
                count.open -= 1 + extra;
                count.closing -= closing;
                if count.open == 0 {
                    self.groups.remove(&group);
                }
            }
        }
        Some(route)
    }

    /// True if no place is left.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        limits.total > 0 && self.all().open >= limits.total
    }

    /// The groups of the route in which no place is left for what is needed.
    pub(super) fn full_groups(&self, route: &R, need: Need, limits: &Limits) -> impl Iterator<Item = R::Group> {
        route.groups().filter(move |group| {
            let limit = group.limit(limits);
            let counts = need == Need::Socket || group.counts_exchanges();
            counts && limit > 0 && self.of(group).open >= limit
        })
    }
}
