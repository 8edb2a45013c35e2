//! The promises of the state machine, one by one, and under a long random run against a count of its own.

use std::collections::HashSet;
use std::time::Duration;

use super::*;

/// Route `(host, variant)`: two variants are two routes of one host.
type Key = (u8, u8);

/// A host, or the one proxy that leads to variant 1 of every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Host(u8),
    Proxy,
}

impl Group for Kind {
    fn limit(&self, limits: &Limits) -> usize {
        match self {
            Self::Host(_) => limits.per_host,
            Self::Proxy => limits.per_proxy,
        }
    }

    fn counts_exchanges(&self) -> bool {
        matches!(self, Self::Host(_))
    }
}

impl Route for Key {
    type Group = Kind;
    fn groups(&self) -> impl Iterator<Item = Kind> {
        [Kind::Host(self.0)].into_iter().chain((self.1 == 1).then_some(Kind::Proxy))
    }

    fn sharing(&self) -> Sharing {
        match self.0 {
            host if host >= SHARING => Sharing::Unknown,
            _ => Sharing::Exclusive,
        }
    }
}

/// From this one on, hosts may speak HTTP/2.
const SHARING: u8 = 250;

impl Carry for SlotId {
    fn share(&mut self) -> Option<Self> {
        Some(*self)
    }

    fn expires(&self) -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(15))
    }

    fn why(&self) -> Closed {
        Closed::Idle
    }
}

type Machine = State<Key, SlotId, u32>;

const A: Key = (1, 0);
const B: Key = (2, 0);
const C: Key = (3, 0);

/// The machine with what is open, so that a test reads as a story. A connection is its slot's number.
struct Story {
    machine: Machine,
    now: Instant,
    opened: VecDeque<(Key, SlotId, u32)>,
    handed: VecDeque<(u32, SlotId)>,
    closing: VecDeque<SlotId>,
    /// Connections that several exchanges share.
    shared: HashSet<SlotId>,
}

impl Story {
    fn new(total: usize, per_host: usize) -> Self {
        let machine = Machine::new(Limits { total, per_host, ..Limits::default() });
        Self {
            machine,
            now: Instant::now(),
            opened: VecDeque::new(),
            handed: VecDeque::new(),
            closing: VecDeque::new(),
            shared: HashSet::new(),
        }
    }

    fn act(&mut self, actions: Actions<Key, SlotId, u32>) {
        self.opened.extend(actions.open);
        self.handed.extend(actions.hand);
        self.closing.extend(actions.close.into_iter().map(|(slot, _why)| slot));
    }

    fn step<T>(&mut self, change: impl FnOnce(&mut Machine, &mut Actions<Key, SlotId, u32>) -> T) -> T {
        let mut actions = Actions::default();
        let result = change(&mut self.machine, &mut actions);
        self.act(actions);
        result
    }

    /// A request of `route`: an idle connection, or a place in the queue.
    fn ask(&mut self, route: Key, waiter: u32) -> Result<SlotId, Place> {
        let now = self.now;
        self.step(|machine, actions| match machine.take_idle(&route, now, actions) {
            Some(slot) => Ok(slot),
            None => Err(machine.enqueue(&route, waiter, actions)),
        })
    }

    /// Everything that is being opened succeeds.
    fn connect(&mut self) {
        while let Some((route, slot, _)) = self.opened.pop_front() {
            let expires = self.now + Duration::from_secs(15);
            self.step(|machine, actions| machine.connected(&route, slot, slot, expires, actions));
        }
    }

    /// The same, with so many sockets to the proxy.
    fn behind(per_proxy: usize, total: usize, per_host: usize) -> Self {
        let mut story = Self::new(total, per_host);
        story.machine.limits.per_proxy = per_proxy;
        story
    }

    /// New limits; the total comes back.
    fn swap(&mut self, total: usize, per_host: usize) -> usize {
        let limits = Limits { total, per_host, ..self.machine.limits.clone() };
        self.step(|machine, actions| machine.set_limits(limits, actions));
        total
    }

    /// The next that is being opened turns out to carry so many exchanges at once.
    fn connect_shared(&mut self, capacity: usize) -> SlotId {
        let (route, slot, _) = self.opened.pop_front().expect("something is being opened");
        self.shared.insert(slot);
        let now = self.now;
        self.step(|machine, actions| machine.connected_shared(&route, (slot, slot, capacity), now, actions));
        slot
    }

    fn back(&mut self, route: Key, slot: SlotId) {
        if self.shared.contains(&slot) {
            return self.step(|machine, actions| machine.release(&route, slot, actions));
        }
        let expires = self.now + Duration::from_secs(15);
        self.step(|machine, actions| machine.give_back(&route, slot, slot, expires, actions));
    }

    /// Everything on its way out closes.
    fn close(&mut self) {
        while let Some(slot) = self.closing.pop_front() {
            self.step(|machine, actions| machine.closed(slot, actions));
        }
    }

    /// A request that gets its connection at once, one way or the other.
    fn served(&mut self, route: Key, waiter: u32) -> SlotId {
        if let Ok(slot) = self.ask(route, waiter) {
            return slot;
        }
        self.connect();
        self.close();
        self.connect();
        let (who, slot) = self.handed.pop_front().expect("a connection was handed over");
        assert_eq!(who, waiter);
        slot
    }
}

#[test]
fn a_connection_that_came_back_is_used_again() {
    let mut story = Story::new(10, 0);
    let slot = story.served(A, 1);
    story.back(A, slot);
    assert_eq!(story.ask(A, 2), Ok(slot));
}

#[test]
fn the_newest_idle_connection_is_used_first() {
    let mut story = Story::new(10, 0);
    let (first, second) = (story.served(A, 1), story.served(A, 2));
    story.back(A, first);
    story.back(A, second);
    assert_eq!(story.ask(A, 3), Ok(second));
}

#[test]
fn the_oldest_idle_connection_of_another_route_makes_room() {
    let mut story = Story::new(2, 0);
    let (a, b) = (story.served(A, 1), story.served(B, 2));
    story.back(A, a);
    story.back(B, b);
    assert!(story.ask(C, 3).is_err());
    assert_eq!(story.closing, [a]);
    assert!(story.opened.is_empty(), "nothing opens before the descriptor has closed");
    story.close();
    assert_eq!(story.opened.len(), 1);
    assert_eq!(story.machine.counts(), Counts { open: 2, idle: 1, waiting: 1, evicted: 1 });
}

#[test]
fn waiters_are_served_in_order_over_all_routes() {
    let mut story = Story::new(1, 0);
    let mut held = story.served(A, 0);
    // A looping task asks again each time that it gives back: it does not pass those who waited.
    for (waiter, route) in [(1, B), (2, A), (3, B), (4, A)] {
        assert!(story.ask(route, waiter).is_err());
    }
    let mut order = Vec::new();
    let mut route = A;
    for (_, next) in [(1, B), (2, A), (3, B), (4, A)] {
        story.back(route, held);
        story.close();
        story.connect();
        let (who, slot) = story.handed.pop_front().unwrap();
        order.push(who);
        (held, route) = (slot, next);
    }
    assert_eq!(order, [1, 2, 3, 4]);
}

#[test]
fn a_waiter_is_passed_over_only_while_its_own_host_is_full() {
    let mut story = Story::new(10, 1);
    let a = story.served(A, 1);
    assert!(story.ask(A, 2).is_err());
    assert!(story.opened.is_empty());
    story.served(B, 3);
    story.back(A, a);
    assert_eq!(story.handed.pop_front(), Some((2, a)));
}

/// Routes through the proxy, to three hosts.
const PA: Key = (1, 1);
const PB: Key = (2, 1);
const PC: Key = (3, 1);

#[test]
fn a_waiter_is_passed_over_only_while_its_own_proxy_is_full() {
    let mut story = Story::behind(2, 10, 0);
    let (a, _) = (story.served(PA, 1), story.served(PB, 2));
    assert!(story.ask(PC, 3).is_err());
    assert!(story.opened.is_empty());
    // Who goes directly goes on, though to the same host.
    story.served(C, 4);
    assert!(story.ask(PA, 5).is_err());
    // The one that comes back could serve the later waiter of its own route; it makes room for the earlier one.
    story.back(PA, a);
    assert_eq!((story.handed.len(), story.closing.len()), (0, 1));
    story.close();
    assert_eq!(story.opened.iter().map(|(route, ..)| *route).collect::<Vec<_>>(), [PC]);
}

#[test]
fn the_oldest_idle_connection_through_the_same_proxy_makes_room() {
    let mut story = Story::behind(2, 10, 0);
    let (direct, a, b) = (story.served(A, 1), story.served(PA, 2), story.served(PB, 3));
    story.back(A, direct);
    story.back(PA, a);
    story.back(PB, b);
    assert!(story.ask(PC, 4).is_err());
    assert_eq!(story.closing, [a]);
    story.close();
    assert_eq!((story.opened.len(), story.machine.counts().open), (1, 3));
}

#[test]
fn nothing_is_closed_for_who_would_wait_all_the_same() {
    let mut story = Story::behind(1, 10, 1);
    let (a, _) = (story.served(A, 1), story.served(PB, 2));
    story.back(A, a);
    // Its host is full of an idle connection, its proxy of one that is in use.
    assert!(story.ask(PA, 3).is_err());
    assert!(story.closing.is_empty() && story.opened.is_empty());
}

#[test]
fn room_in_two_groups_at_once_is_made_when_the_second_comes_back() {
    let mut story = Story::behind(1, 10, 1);
    let (a, b) = (story.served(A, 1), story.served(PB, 2));
    assert!(story.ask(PA, 3).is_err());
    story.back(PB, b);
    assert!(story.closing.is_empty());
    story.back(A, a);
    assert_eq!(story.closing.len(), 2);
    story.close();
    assert_eq!(story.opened.len(), 1);
}

#[test]
fn room_that_two_wait_for_in_two_groups_keeps_nobody_else_waiting() {
    let mut story = Story::behind(1, 10, 1);
    let slot = story.served(PA, 1);
    story.step(|machine, actions| machine.discard(slot, slot, actions));
    // One waits for its host, the other for its proxy, both for the same socket to close.
    assert!(story.ask(A, 2).is_err() && story.ask(PB, 3).is_err());
    assert!(story.opened.is_empty());
    assert!(story.ask(C, 4).is_err());
    assert_eq!(story.opened.iter().map(|(route, ..)| *route).collect::<Vec<_>>(), [C]);
}

#[test]
fn an_idle_connection_of_the_same_host_makes_room_under_its_limit() {
    let mut story = Story::new(10, 1);
    let slot = story.served((1, 0), 1);
    story.back((1, 0), slot);
    assert!(story.ask((1, 1), 2).is_err());
    assert_eq!(story.closing, [slot]);
    story.close();
    assert_eq!(story.opened.len(), 1);
}

#[test]
fn a_connection_opened_for_one_who_left_goes_to_the_next() {
    let mut story = Story::new(1, 0);
    let Err(Place::Waits(first)) = story.ask(A, 1) else { panic!("nothing is idle yet") };
    assert!(story.ask(A, 2).is_err());
    assert!(story.machine.abandon(&A, first));
    story.connect();
    assert_eq!(story.handed.len(), 1);
    assert_eq!(story.handed[0].0, 2);
}

#[test]
fn a_connection_that_nobody_waits_for_becomes_idle() {
    let mut story = Story::new(1, 0);
    let Err(Place::Waits(first)) = story.ask(A, 1) else { panic!("nothing is idle yet") };
    story.machine.abandon(&A, first);
    story.connect();
    assert_eq!(story.machine.counts(), Counts { open: 1, idle: 1, waiting: 0, evicted: 0 });
}

#[test]
fn one_failure_reaches_one_waiter_and_the_next_tries_again() {
    let mut story = Story::new(1, 0);
    assert!(story.ask(A, 1).is_err());
    assert!(story.ask(A, 2).is_err());
    let (route, slot, _) = story.opened.pop_front().unwrap();
    assert_eq!(story.step(|machine, actions| machine.failed(&route, Instant::now(), actions)), Some(1));
    story.step(|machine, actions| machine.closed(slot, actions));
    assert_eq!(story.opened.len(), 1);
    assert_eq!(story.opened[0].2, 2);
}

#[test]
fn beyond_the_bound_of_waiters_a_request_is_refused() {
    let mut story = Story::new(1, 0);
    story.machine.limits.waiters = 2;
    story.served(A, 0);
    let places: Vec<_> = (1..6).map(|waiter| story.ask(A, waiter).unwrap_err()).collect();
    assert_eq!(places.iter().filter(|place| **place == Place::Full).count(), 3);
    assert_eq!(story.machine.counts().waiting, 2);
}

#[test]
fn a_waiter_is_blocked_by_what_is_full_until_a_connection_is_being_opened_for_it() {
    let mut story = Story::new(3, 2);
    let places = [A, A, A, B, B].map(|route| (route, story.ask(route, 1).unwrap_err()));
    let blocked = |story: &Story, index: usize| match &places[index] {
        (route, Place::Waits(id)) => story.machine.blocked(route, *id),
        (_, Place::Full) => unreachable!("waiters are not bounded here"),
    };
    let all = |story: &Story| [0, 1, 2, 3, 4].map(|index| blocked(story, index));
    assert_eq!(
        all(&story),
        [None, None, Some(Full::Group { group: Kind::Host(A.0), open: 2 }), None, Some(Full::Total)]
    );
    // The first two of A are served; the third goes on to wait, until the first comes back.
    story.connect();
    assert_eq!(
        all(&story),
        [None, None, Some(Full::Group { group: Kind::Host(A.0), open: 2 }), None, Some(Full::Total)]
    );
    let (_, slot) = story.handed.pop_front().unwrap();
    story.back(A, slot);
    assert_eq!(all(&story), [None, None, None, None, Some(Full::Total)]);
}

#[test]
fn what_expired_is_closed_and_not_handed_out() {
    let mut story = Story::new(10, 0);
    let slot = story.served(A, 1);
    story.back(A, slot);
    story.now += Duration::from_secs(16);
    assert!(story.ask(A, 2).is_err());
    assert_eq!(story.closing, [slot]);
}

#[test]
fn the_reaper_hears_when_the_next_one_expires() {
    let mut story = Story::new(10, 0);
    let slot = story.served(A, 1);
    story.back(A, slot);
    let now = story.now;
    let next = story.step(|machine, actions| machine.expire(now, actions));
    assert_eq!(next, Some(now + Duration::from_secs(15)));
    let next = story.step(|machine, actions| machine.expire(now + Duration::from_secs(15), actions));
    assert_eq!((next, story.closing.len()), (None, 1));
}

#[test]
fn an_idle_connection_that_the_peer_closed_is_forgotten() {
    let mut story = Story::new(1, 0);
    let slot = story.served(A, 1);
    story.back(A, slot);
    story.step(|machine, actions| machine.closed(slot, actions));
    assert_eq!(story.machine.counts(), Counts { open: 0, idle: 0, waiting: 0, evicted: 0 });
    assert!(story.ask(A, 2).is_err());
    assert_eq!(story.opened.len(), 1);
}

#[test]
fn a_lowered_limit_closes_what_is_idle_now_and_what_is_in_use_as_it_ends() {
    let mut story = Story::new(4, 0);
    let held: Vec<_> =
        [A, A, B, C].into_iter().zip(0..).map(|(route, waiter)| (route, story.served(route, waiter))).collect();
    story.back(held[3].0, held[3].1);
    story.swap(2, 0);
    assert_eq!(story.closing, [held[3].1]);
    story.close();
    assert!(matches!(story.ask(C, 9), Err(Place::Waits(_))));
    story.back(held[0].0, held[0].1);
    assert_eq!((story.closing.pop_front(), story.opened.len()), (Some(held[0].1), 0));
    story.step(|machine, actions| machine.closed(held[0].1, actions));
    // Two are open, as many as may be: the next that comes back makes room for who waits.
    assert!(story.opened.is_empty());
    story.back(held[1].0, held[1].1);
    story.close();
    assert_eq!(story.opened.len(), 1);
    assert_eq!(story.machine.counts().open, 2);
}

#[test]
fn a_raised_limit_serves_who_waits_at_once() {
    let mut story = Story::new(1, 0);
    let first = story.served(A, 0);
    assert!(matches!((story.ask(A, 1), story.ask(B, 2)), (Err(_), Err(_))));
    story.swap(3, 0);
    assert_eq!(story.opened.iter().map(|(route, ..)| *route).collect::<Vec<_>>(), [A, B]);
    story.back(A, first);
    assert_eq!(story.handed, [(1, first)]);
}

#[test]
fn a_hosts_lowered_limit_is_its_own() {
    let mut story = Story::new(0, 3);
    let held: Vec<_> =
        [A, A, A, B].into_iter().zip(0..).map(|(route, waiter)| (route, story.served(route, waiter))).collect();
    story.swap(0, 1);
    for (route, slot) in held {
        story.back(route, slot);
    }
    assert_eq!(story.closing.len(), 2);
    story.close();
    assert_eq!(story.machine.counts(), Counts { open: 2, idle: 2, waiting: 0, evicted: 0 });
    assert!(!story.machine.lowered);
}

#[test]
fn idle_connections_that_are_not_kept_close() {
    let mut story = Story::new(0, 0);
    let held: Vec<_> =
        [A, A, B].into_iter().zip(0..).map(|(route, waiter)| (route, story.served(route, waiter))).collect();
    for (route, slot) in &held {
        story.back(*route, *slot);
    }
    let gone = held[0].1;
    story.step(|machine, actions| machine.retain(|slot| *slot != gone, actions));
    assert_eq!(story.closing, [gone]);
    story.close();
    assert_eq!((story.ask(A, 7), story.ask(B, 8)), (Ok(held[1].1), Ok(held[2].1)));
    assert!(story.ask(A, 9).is_err());
}

#[test]
fn nothing_is_left_of_routes_that_came_and_went() {
    let mut story = Story::new(4, 0);
    for host in 0..200 {
        let slot = story.served((host, 0), 1);
        story.back((host, 0), slot);
    }
    story.step(State::clear);
    story.close();
    assert_eq!(story.machine.counts().open, 0);
    assert!(story.machine.lanes.is_empty() && story.machine.books.groups().next().is_none());
}

mod random;
mod sharing;
