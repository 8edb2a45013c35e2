//! The pool under every schedule that a model checker tries: the real state machine and the real hand-over, between tasks
//! that are interrupted wherever one of them could be.
//!
//! What `pool/mod.rs`, `token.rs` and `wait.rs` do around these two is here step by step, with a task that opens nothing in
//! the place of a socket's. Runs of [`shuttle`] repeat: a failure prints the schedule that led to it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::task::Poll;
use std::time::Duration;

use futures::future::join_all;
use futures::poll;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hand::{self, Hand, Palm};
use super::state::{self, Limits, Place, SlotId, State, WaiterId};

/// A route, of a host and a variant: two variants are two routes of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(u8, u8);

type Machine = State<Key, Connection, Arc<Waiter>>;
type Actions = state::Actions<Key, Connection, Arc<Waiter>>;
/// A connection, or the news that opening it failed.
type Handed = Result<Connection, ()>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Host(u8);

impl state::Group for Host {
    fn limit(&self, limits: &Limits) -> usize {
        limits.per_host
    }

    fn counts_exchanges(&self) -> bool {
        true
    }
}

impl state::Route for Key {
    type Group = Host;
    fn groups(&self) -> impl Iterator<Item = Host> {
        std::iter::once(Host(self.0))
    }

    fn sharing(&self) -> state::Sharing {
        state::Sharing::Exclusive
    }
}

impl state::Carry for Connection {
    fn share(&mut self) -> Option<Self> {
        None
    }

    fn expires(&self) -> Option<Instant> {
        Some(later())
    }

    fn why(&self) -> crate::monitor::Closed {
        crate::monitor::Closed::Idle
    }
}

struct Waiter {
    number: usize,
    hand: Hand<Handed>,
}

struct Connection {
    route: Key,
    slot: SlotId,
    /// Its end tells the connection's task that nobody wants it any more.
    _wanted: oneshot::Sender<Infallible>,
}

/// The pool, with books of its own.
struct Pool {
    inner: Mutex<Inner>,
    /// The connections' tasks.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Inner {
    machine: Machine,
    /// The highest bounds of any policy, total and per host.
    most: (usize, usize),
    /// Open sockets by host: counted where one is opened and where it has closed, not where the machine says so.
    open: HashMap<u8, usize>,
    /// Who waits, in order of arrival.
    queue: BTreeMap<usize, Key>,
    arrivals: usize,
}

/// An open socket.
struct Slot {
    pool: Arc<Pool>,
    route: Key,
    id: SlotId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (route, id) = (self.route, self.id);
        self.pool.change(|inner, actions| {
            *inner.open.get_mut(&route.0).expect("it was counted when it was opened") -= 1;
            inner.machine.closed(id, actions);
        });
    }
}

impl Pool {
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Inner, &mut Actions) -> T) -> T {
        let mut actions = Actions::default();
        let result = {
            let mut inner = self.inner.lock().unwrap();
            let result = change(&mut inner, &mut actions);
            inner.check(&actions);
            result
        };
        let state::Actions { open, hand, close } = actions;
        drop(close);
        for (waiter, connection) in hand {
            shuttle::thread::yield_now();
            if let Some(Ok(connection)) = waiter.hand.give(Ok(connection)) {
                self.give_back(connection);
            }
        }
        for (route, id, _) in open {
            let slot = Slot { pool: Arc::clone(self), route, id };
            let task = spawn(open_and_drive(Arc::clone(self), slot));
            self.tasks.lock().unwrap().push(task);
        }
        result
    }

    fn give_back(self: &Arc<Self>, connection: Connection) {
        let (route, slot) = (connection.route, connection.slot);
        self.change(|inner, actions| inner.machine.give_back(&route, slot, connection, later(), actions));
    }

    /// A connection; absent where opening it failed, or where the caller goes away after so many looks.
    async fn lease(self: &Arc<Self>, route: Key, patience: Option<u32>) -> Option<Connection> {
        if let Some(idle) = self.change(|inner, actions| inner.machine.take_idle(&route, Instant::now(), actions)) {
            return Some(idle);
        }
        let (hand, palm) = hand::pair();
        let (number, place) = self.change(|inner, actions| {
            inner.arrivals += 1;
            let number = inner.arrivals;
            inner.queue.insert(number, route);
            (number, inner.machine.enqueue(&route, Arc::new(Waiter { number, hand }), actions))
        });
        let Place::Waits(id) = place else { panic!("waiters are not bounded here") };
        let mut waiting = Waiting { pool: self, route, number, id, palm };
        let handed = match patience {
            None => (&mut waiting.palm).await,
            Some(looks) => 'given: {
                for _ in 0..looks {
                    if let Poll::Ready(handed) = poll!(&mut waiting.palm) {
                        break 'given handed;
                    }
                    yield_now().await;
                }
                return None;
            }
        };
        std::mem::forget(waiting);
        handed.expect("the machine keeps its waiters until it serves them").ok()
    }
}

impl Inner {
    /// What holds after every change, before anybody else may look.
    fn check(&mut self, actions: &Actions) {
        for (route, ..) in &actions.open {
            *self.open.entry(route.0).or_default() += 1;
        }
        let (total, per_host) = self.most;
        assert!(self.open.values().all(|open| *open <= per_host), "{:?}", self.open);
        let open: usize = self.open.values().sum();
        assert!(open <= total, "{open} open");
        assert_eq!(self.machine.counts().open, open);
        for (waiter, connection) in &actions.hand {
            let first = self.queue.iter().find(|(_, route)| **route == connection.route).map(|(number, _)| *number);
            assert_eq!(Some(waiter.number), first, "another came before");
            self.queue.remove(&waiter.number);
        }
        assert_eq!(self.machine.counts().waiting, self.queue.len());
    }
}

/// A place in the queue, given up when the caller goes away.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    route: Key,
    number: usize,
    id: WaiterId,
    palm: Palm<Handed>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self { pool, route, number, id, palm } = self;
        let left = pool.change(|inner, _| {
            let left = inner.machine.abandon(route, *id);
            assert_eq!(inner.queue.remove(number).is_some(), left, "who is not waiting was served, or told");
            left
        });
        if left {
            return;
        }
        shuttle::thread::yield_now();
        if let Some(Ok(connection)) = palm.close() {
            pool.give_back(connection);
        }
    }
}

/// The task of one connection: opening fails or succeeds, and then it closes when nobody wants it, or by itself.
async fn open_and_drive(pool: Arc<Pool>, slot: Slot) {
    yield_now().await;
    let (route, id) = (slot.route, slot.id);
    if thread_rng().gen_ratio(1, 5) {
        let waiter = pool.change(|inner, actions| {
            let waiter = inner.machine.failed(&route, Instant::now(), actions);
            let told = waiter.as_ref().map(|waiter: &Arc<Waiter>| inner.queue.remove(&waiter.number));
            assert!(told.is_none_or(|told| told.is_some()), "told twice");
            waiter
        });
        if let Some(waiter) = waiter {
            waiter.hand.give(Err(()));
        }
        return;
    }
    let (wanted, mut unwanted) = oneshot::channel();
    let connection = Connection { route, slot: id, _wanted: wanted };
    pool.change(|inner, actions| inner.machine.connected(&route, id, connection, later(), actions));
    match thread_rng().gen_range(0..16) {
        // The peer closes.
        looks @ 0..4 => {
            for _ in 0..looks {
                if poll!(&mut unwanted).is_ready() {
                    break;
                }
                yield_now().await;
            }
        }
        _ => drop(unwanted.await),
    }
    drop(slot);
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Requests in turn, each served, failed or given up.
async fn call(pool: Arc<Pool>, routes: [Key; 3]) {
    for route in routes {
        let patience = thread_rng().gen_ratio(1, 3).then(|| thread_rng().gen_range(0..4));
        let Some(connection) = pool.lease(route, patience).await else { continue };
        yield_now().await;
        match thread_rng().gen_range(0..4) {
            0 => {
                let slot = connection.slot;
                pool.change(|inner, actions| inner.machine.discard(slot, connection, actions));
            }
            _ => pool.give_back(connection),
        }
    }
}

/// Other bounds, and idle connections that the new policy does not keep.
async fn swap(pool: Arc<Pool>, bounds: [(usize, usize); 2]) {
    for (total, per_host) in bounds {
        yield_now().await;
        pool.change(|inner, actions| {
            inner.machine.retain(|connection| connection.route.1 == 0, actions);
            inner.machine.set_limits(limits(total, per_host), actions);
        });
    }
}

fn limits(total: usize, per_host: usize) -> Limits {
    Limits { total, per_host, ..Limits::default() }
}

/// One run: four callers and a swap, until everybody has gone and everything has closed.
fn run() {
    let machine = Machine::new(limits(3, 2));
    let inner = Inner { machine, most: (3, 2), open: HashMap::new(), queue: BTreeMap::new(), arrivals: 0 };
    let pool = Arc::new(Pool { inner: Mutex::new(inner), tasks: Mutex::new(Vec::new()) });
    block_on(async {
        let (a, b, c) = (Key(1, 0), Key(1, 1), Key(2, 0));
        let callers = [[a, b, c], [c, a, a], [b, b, c], [a, c, b]].map(|routes| spawn(call(Arc::clone(&pool), routes)));
        let swapped = spawn(swap(Arc::clone(&pool), [(1, 1), (3, 2)]));
        for ended in join_all(callers).await {
            ended.expect("a caller that is not left waiting");
        }
        swapped.await.expect("a swap ends");
        // What is idle goes; what is still being opened for who has left becomes idle first.
        loop {
            pool.change(|inner, actions| inner.machine.clear(actions));
            let Some(task) = pool.tasks.lock().unwrap().pop() else { break };
            while !task.is_finished() {
                pool.change(|inner, actions| inner.machine.clear(actions));
                yield_now().await;
            }
        }
    });
    let inner = pool.inner.lock().unwrap();
    let counts = inner.machine.counts();
    assert_eq!((counts.open, counts.idle, counts.waiting), (0, 0, 0));
    assert!(inner.queue.is_empty() && inner.open.values().all(|open| *open == 0));
}

/// P15: whoever is interrupted, and wherever, no more is open than any policy allows, in all and by host; nobody who waits
/// is forgotten or passed by its own route's next, and no slot is lost.
#[test]
fn under_any_schedule_limits_hold_and_nothing_is_lost() {
    shuttle::check_random(run, 1000);
    shuttle::check_pct(run, 300, 3);
}
