//! What belongs to one route: its idle connections, those that are shared, and who waits.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use super::{Sharing, SlotId, WaiterId};
use crate::monitor::Closed;

/// An idle connection.
#[derive(Debug)]
pub(super) struct Idle<C> {
    pub(super) connection: C,
    pub(super) slot: SlotId,
    /// Orders idle connections by the moment that they became so.
    pub(super) order: u64,
    pub(super) expires: Instant,
}

/// A connection that several exchanges share.
#[derive(Debug)]
pub(super) struct Shared<C> {
    pub(super) connection: C,
    pub(super) slot: SlotId,
    /// Exchanges that it carries now, and may carry at once.
    pub(super) active: usize,
    pub(super) capacity: usize,
    /// True if it takes no more; it closes with the last exchange on it, for this reason or one that it knows itself.
    pub(super) retired: bool,
    pub(super) why: Option<Closed>,
    /// As of an idle connection, while it is one.
    pub(super) order: u64,
    pub(super) expires: Instant,
}

impl<C> Shared<C> {
    /// Exchanges that it has room for.
    pub(super) fn free(&self) -> usize {
        if self.retired { 0 } else { self.capacity.saturating_sub(self.active) }
    }
}

/// What a waiter lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A connection.
    Socket,
    /// A place beside the other exchanges of one that is open.
    Stream,
}

/// What belongs to one route; gone when it is empty.
#[derive(Debug)]
pub(super) struct Lane<C, W> {
    pub(super) sharing: Sharing,
    /// Oldest first.
    pub(super) idle: VecDeque<Idle<C>>,
    /// In the order in which they were opened.
    pub(super) shared: Vec<Shared<C>>,
    /// In order of arrival.
    pub(super) waiters: BTreeMap<WaiterId, W>,
    /// Connections being opened. Where each is for one exchange, the first so many waiters are theirs.
    pub(super) connecting: usize,
    /// When the last shared connection was opened: from then on those that wait for another one count their time.
    pub(super) since: Option<Instant>,
    /// True if a further connection is to be opened beside those that are full.
    pub(super) pressed: bool,
}

impl<C, W> Lane<C, W> {
    pub(super) fn new(sharing: Sharing) -> Self {
        Self {
            sharing,
            idle: VecDeque::new(),
            shared: Vec::new(),
            waiters: BTreeMap::new(),
            connecting: 0,
            since: None,
            pressed: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { idle, shared, waiters, connecting, .. } = self;
        *connecting == 0 && waiters.is_empty() && idle.is_empty() && shared.is_empty()
    }

    /// Connections that carry nothing.
    pub(super) fn idle(&self) -> usize {
        self.idle.len() + self.shared.iter().filter(|shared| shared.active == 0).count()
    }

    /// Exchanges that its shared connections have room for.
    pub(super) fn free(&self) -> usize {
        self.shared.iter().map(Shared::free).sum()
    }

    /// True if one of its shared connections carries nothing, so that an exchange on it needs no further place.
    pub(super) fn has_idle_share(&self) -> bool {
        self.shared.iter().any(|shared| shared.active == 0 && shared.free() > 0)
    }

    /// True if it has a shared connection that takes exchanges, if only later.
    pub(super) fn is_live(&self) -> bool {
        self.shared.iter().any(|shared| !shared.retired)
    }

    /// Its shared connections that take exchanges, and how many these carry at once; absent where there are none.
    pub(super) fn streams(&self) -> Option<(usize, usize)> {
        let live = self.shared.iter().filter(|shared| !shared.retired);
        let (connections, streams) =
            live.fold((0, 0), |(connections, streams), shared| (connections + 1, streams + shared.capacity));
        (connections > 0).then_some((connections, streams))
    }

    /// The first waiter for which there is something to do, after `seen` that have been looked at; and what it lacks.
    pub(super) fn next(&self, seen: usize) -> Option<(WaiterId, &W, Need)> {
        let free = self.free();
        let (skip, need) = match self.sharing {
            _ if free > 0 => (seen, Need::Stream),
            Sharing::Exclusive => (self.connecting.saturating_add(seen), Need::Socket),
            Sharing::Unknown | Sharing::Shared => (seen, Need::Socket),
        };
        let one_at_a_time = || self.connecting == 0 && seen == 0 && (self.pressed || !self.is_live());
        let wanted = match (need, self.sharing) {
            (Need::Stream, _) => seen < free,
            (Need::Socket, Sharing::Exclusive) => true,
            (Need::Socket, Sharing::Unknown | Sharing::Shared) => one_at_a_time(),
        };
        if !wanted || self.waiters.len() <= skip {
            return None;
        }
        self.waiters.iter().nth(skip).map(|(id, waiter)| (*id, waiter, need))
    }

    /// Waiters that wait for room: no connection is being opened for them.
    pub(super) fn hungry(&self) -> impl Iterator<Item = &WaiterId> {
        let served = match self.sharing {
            Sharing::Exclusive => self.connecting,
            Sharing::Unknown | Sharing::Shared if self.is_probing() => usize::MAX,
            Sharing::Unknown | Sharing::Shared => 0,
        };
        self.waiters.keys().skip(served)
    }

    /// True if all who wait, wait for one connection that is being opened.
    pub(super) fn is_probing(&self) -> bool {
        self.sharing != Sharing::Exclusive && self.connecting > 0 && !self.is_live()
    }

    /// Those of them that room for one more connection or exchange would serve.
    pub(super) fn wanting(&self) -> impl Iterator<Item = &WaiterId> {
        let most = match (self.next(0), self.sharing) {
            (None, _) => 0,
            (Some((.., Need::Stream)), _) => self.free(),
            (Some((.., Need::Socket)), Sharing::Exclusive) => usize::MAX,
            (Some((.., Need::Socket)), Sharing::Unknown | Sharing::Shared) => 1,
        };
        self.hungry().take(most)
    }
}
