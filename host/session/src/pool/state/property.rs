//! The state machine beside a naive model: plain lists of what is open, idle and waiting, against which every step is
//! judged. Generated histories, which shrink to the shortest one that breaks a promise.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

/// Route `(host, variant)`, as in the other tests: variant 1 of every host is behind the one proxy.
type Key = (u8, u8);
type Machine = State<Key, SlotId, u32>;
type Deeds = Actions<Key, SlotId, u32>;

/// What may happen. An index picks one of those that it can happen to; where there is none, nothing happens.
#[derive(Clone, Debug)]
enum Event {
    Ask(Key),
    /// A connection in use is given back.
    Back(Index),
    Discard(Index),
    /// A connection that was being opened is there.
    Connect(Index),
    /// It is not to be had, and its socket closes.
    Fail(Index),
    /// A socket that was on its way out has closed.
    Close(Index),
    /// The peer closes a socket, whatever it is used for.
    PeerCloses(Index),
    Abandon(Index),
    Swap([usize; 3]),
    /// A second passes; connections are kept for four.
    Tick,
}

fn events() -> impl Strategy<Value = Event> {
    let index = || proptest::arbitrary::any::<Index>();
    prop_oneof![
        6 => (0..3_u8, 0..2_u8).prop_map(Event::Ask),
        4 => index().prop_map(Event::Back),
        1 => index().prop_map(Event::Discard),
        5 => index().prop_map(Event::Connect),
        1 => index().prop_map(Event::Fail),
        4 => index().prop_map(Event::Close),
        1 => index().prop_map(Event::PeerCloses),
        1 => index().prop_map(Event::Abandon),
        1 => bounds().prop_map(Event::Swap),
        1 => Just(Event::Tick),
    ]
}

/// The total, of a host, and of the proxy; 0 is none.
fn bounds() -> impl Strategy<Value = [usize; 3]> {
    (0..6_usize, 0..4_usize, 0..4_usize).prop_map(|(total, per_host, per_proxy)| [total, per_host, per_proxy])
}

fn limits([total, per_host, per_proxy]: [usize; 3]) -> Limits {
    Limits { total, per_host, per_proxy, ..Limits::default() }
}

/// What a socket is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Opening,
    Held,
    /// Since so many events, until then.
    Idle(usize, Instant),
    Closing,
}

/// The naive model.
struct Model {
    limits: Limits,
    sockets: BTreeMap<SlotId, (Key, Use)>,
    /// In order of arrival.
    waiting: Vec<(u32, Key, WaiterId)>,
    now: Instant,
    events: usize,
}

impl Model {
    fn open(&self, group: Option<&<Key as Route>::Group>) -> usize {
        let counts = |(route, _): &&(Key, Use)| group.is_none_or(|group| route.groups().any(|other| other == *group));
        self.sockets.values().filter(counts).count()
    }

    fn group_is_full(&self, route: Key) -> bool {
        route.groups().any(|group| {
            let limit = group.limit(&self.limits);
            limit > 0 && self.open(Some(&group)) >= limit
        })
    }

    fn is_full(&self) -> bool {
        self.limits.total > 0 && self.open(None) >= self.limits.total
    }

    /// Waiters for whom nothing is being opened, in order of arrival.
    fn hungry(&self) -> Vec<(u32, Key)> {
        let mut opening: HashMap<Key, usize> = HashMap::new();
        for (route, _) in self.sockets.values().filter(|(_, used)| *used == Use::Opening) {
            *opening.entry(*route).or_default() += 1;
        }
        let waits = |(number, route, _): &(u32, Key, WaiterId)| match opening.get_mut(route).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                None
            }
            None => Some((*number, *route)),
        };
        self.waiting.iter().filter_map(waits).collect()
    }

    fn idle_of(&self, route: Key) -> impl Iterator<Item = (usize, SlotId, Instant)> {
        self.sockets.iter().filter_map(move |(slot, (of, used))| match used {
            Use::Idle(since, until) if *of == route => Some((*since, *slot, *until)),
            Use::Opening | Use::Held | Use::Idle(..) | Use::Closing => None,
        })
    }

    /// Judges what the machine says is to be done, then books it.
    fn obey(&mut self, deeds: Deeds) {
        for (slot, _why) in deeds.close {
            if let Some((_, used)) = self.sockets.get_mut(&slot) {
                assert!(matches!(used, Use::Held | Use::Idle(..)), "{slot:?} is closed while it is {used:?}");
                *used = Use::Closing;
            }
        }
        for (waiter, slot) in deeds.hand {
            let (route, used) = self.sockets[&slot];
            assert_eq!(used, Use::Held, "only what is free and nobody's is handed over");
            self.passes_nobody(slot, route, waiter);
            let first = self.waiting.iter().position(|(_, waits, _)| *waits == route).expect("somebody waits");
            assert_eq!(self.waiting.remove(first).0, waiter, "another came before");
        }
        for (route, slot, waiter) in deeds.open {
            let hungry = self.hungry();
            let place =
                hungry.iter().position(|hungry| *hungry == (waiter, route)).expect("it is opened for who waits");
            assert!(!self.is_full() && !self.group_is_full(route), "{route:?} is full");
            for (_, passed) in &hungry[..place] {
                assert!(self.group_is_full(*passed), "{route:?} passes {passed:?} by");
            }
            assert!(self.sockets.insert(slot, (route, Use::Opening)).is_none(), "{slot:?} is open already");
        }
    }

    /// Where no room is on its way, nobody came before whom closing this connection would have served.
    fn passes_nobody(&mut self, slot: SlotId, route: Key, waiter: u32) {
        if self.sockets.values().any(|(_, used)| *used == Use::Closing) {
            return;
        }
        let earlier: Vec<_> =
            self.hungry().into_iter().filter(|(number, of)| *number < waiter && *of != route).collect();
        let socket = self.sockets.remove(&slot);
        for (_, passed) in earlier {
            assert!(self.is_full() || self.group_is_full(passed), "{route:?} is served, and {passed:?} came before");
        }
        self.sockets.extend(socket.map(|socket| (slot, socket)));
    }

    /// What holds between any two events.
    fn check(&self, machine: &Machine) {
        let Counts { open, idle, waiting, .. } = machine.counts();
        let idle_here = self.sockets.values().filter(|(_, used)| matches!(used, Use::Idle(..))).count();
        assert_eq!((open, idle, waiting), (self.sockets.len(), idle_here, self.waiting.len()));
        let closing = self.sockets.values().any(|(_, used)| *used == Use::Closing);
        for (_, route) in self.hungry() {
            let group = self.group_is_full(route);
            assert!(group || self.is_full(), "{route:?} waits for nothing");
            assert!(group || closing || idle == 0, "{route:?} waits, and what is idle stays");
            assert_eq!(self.idle_of(route).count(), 0, "{route:?} waits, and one of its own is idle");
        }
    }
}

/// The machine, the model, and what is done to both.
struct Run {
    machine: Machine,
    model: Model,
    asked: u32,
}

impl Run {
    fn new(bounds: [usize; 3]) -> Self {
        let (waiting, sockets) = (Vec::new(), BTreeMap::new());
        let model = Model { limits: limits(bounds), sockets, waiting, now: Instant::now(), events: 0 };
        Self { machine: Machine::new(limits(bounds)), model, asked: 0 }
    }

    /// One of the sockets that are used so.
    fn pick(&self, index: Option<Index>, wanted: impl Fn(Use) -> bool) -> Option<(SlotId, Key)> {
        let fit = self.model.sockets.iter().filter(|(_, (_, used))| wanted(*used));
        let fit: Vec<_> = fit.map(|(slot, (route, _))| (*slot, *route)).collect();
        match index {
            _ if fit.is_empty() => None,
            Some(index) => Some(*index.get(&fit)),
            None => fit.first().copied(),
        }
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Machine, &mut Deeds) -> T) -> T {
        let mut deeds = Deeds::default();
        let result = change(&mut self.machine, &mut deeds);
        self.model.obey(deeds);
        result
    }

    fn ask(&mut self, route: Key) {
        let now = self.model.now;
        let newest = self.model.idle_of(route).filter(|(.., until)| *until > now).max();
        let found = self.change(|machine, deeds| machine.take_idle(&route, now, deeds));
        assert_eq!(found, newest.map(|(_, slot, _)| slot), "the newest idle one of the route");
        if let Some(slot) = found {
            self.model.sockets.insert(slot, (route, Use::Held));
            return;
        }
        self.asked += 1;
        let (asked, mut deeds) = (self.asked, Deeds::default());
        let Place::Waits(id) = self.machine.enqueue(&route, asked, &mut deeds) else { panic!("there is no bound") };
        self.model.waiting.push((asked, route, id));
        self.model.obey(deeds);
    }

    /// A connection that is free: handed over, closed, or idle from now on.
    fn free(&mut self, slot: SlotId, route: Key, change: impl FnOnce(&mut Machine, Instant, &mut Deeds)) {
        let until = self.model.now + Duration::from_secs(4);
        self.model.sockets.insert(slot, (route, Use::Held));
        let mut deeds = Deeds::default();
        change(&mut self.machine, until, &mut deeds);
        let stays = !deeds.hand.iter().any(|(_, handed)| *handed == slot)
            && !deeds.close.iter().any(|(closed, _)| *closed == slot);
        if stays {
            self.model.sockets.insert(slot, (route, Use::Idle(self.model.events, until)));
        }
        self.model.obey(deeds);
    }

    fn happens(&mut self, event: &Event) {
        self.model.events += 1;
        let (held, opening) = (|used| used == Use::Held, |used| used == Use::Opening);
        match event {
            Event::Ask(route) => self.ask(*route),
            Event::Back(index) => self.back(self.pick(Some(*index), held)),
            Event::Connect(index) => self.connect(self.pick(Some(*index), opening)),
            Event::Close(index) => self.close(self.pick(Some(*index), |used| used == Use::Closing)),
            Event::PeerCloses(index) => {
                // The task of a connection that is being opened reports its failure first.
                self.close(self.pick(Some(*index), |used| used != Use::Opening));
            }
            Event::Discard(index) => {
                let Some((slot, _)) = self.pick(Some(*index), held) else { return };
                self.change(|machine, deeds| machine.discard(slot, slot, deeds));
            }
            Event::Fail(index) => {
                let Some((slot, route)) = self.pick(Some(*index), opening) else { return };
                let first = self.model.waiting.iter().position(|(_, waits, _)| *waits == route);
                let told = self.change(|machine, deeds| machine.failed(&route, Instant::now(), deeds));
                assert_eq!(told, first.map(|first| self.model.waiting.remove(first).0), "the route's first is told");
                self.model.sockets.insert(slot, (route, Use::Closing));
                self.close(Some((slot, route)));
            }
            Event::Abandon(index) => {
                if self.model.waiting.is_empty() {
                    return;
                }
                let (_, route, id) = self.model.waiting.remove(index.index(self.model.waiting.len()));
                assert!(self.machine.abandon(&route, id), "it waited");
                assert!(!self.machine.abandon(&route, id), "it waits no more");
            }
            Event::Swap(bounds) => {
                self.model.limits = limits(*bounds);
                self.change(|machine, deeds| machine.set_limits(limits(*bounds), deeds));
            }
            Event::Tick => {
                self.model.now += Duration::from_secs(1);
                let now = self.model.now;
                let next = self.change(|machine, deeds| machine.expire(now, deeds));
                let kept = self.model.sockets.values().filter_map(|(_, used)| match used {
                    Use::Idle(_, until) => Some(*until),
                    Use::Opening | Use::Held | Use::Closing => None,
                });
                assert_eq!(next, kept.min(), "what expires next");
                assert!(next.is_none_or(|next| next > now), "what has expired is closed");
            }
        }
    }

    fn back(&mut self, picked: Option<(SlotId, Key)>) {
        let Some((slot, route)) = picked else { return };
        self.free(slot, route, |machine, until, deeds| machine.give_back(&route, slot, slot, until, deeds));
    }

    fn connect(&mut self, picked: Option<(SlotId, Key)>) {
        let Some((slot, route)) = picked else { return };
        self.free(slot, route, |machine, until, deeds| machine.connected(&route, slot, slot, until, deeds));
    }

    fn close(&mut self, picked: Option<(SlotId, Key)>) {
        let Some((slot, _)) = picked else { return };
        self.model.sockets.remove(&slot);
        self.change(|machine, deeds| machine.closed(slot, deeds));
    }

    /// Everything that is under way ends well: whoever waits is served.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.model.events += 1;
            if let closing @ Some(_) = self.pick(None, |used| used == Use::Closing) {
                self.close(closing);
            } else if let opening @ Some(_) = self.pick(None, |used| used == Use::Opening) {
                self.connect(opening);
            } else if let held @ Some(_) = self.pick(None, |used| used == Use::Held) {
                self.back(held);
            } else {
                break;
            }
            self.model.check(&self.machine);
        }
        assert_eq!(self.model.waiting, [], "nobody is left waiting");
    }
}

/// P15: whatever happens in whatever order, the machine does what a naive model allows, and nobody is forgotten.
#[test]
fn any_history_is_one_that_a_naive_model_allows() {
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&(bounds(), vec(events(), 0..150)), |(bounds, events)| {
        let mut run = Run::new(bounds);
        for event in &events {
            run.happens(event);
            run.model.check(&run.machine);
        }
        run.settle();
        Ok(())
    });
    if let Err(broken) = outcome {
        panic!("{broken}");
    }
}
