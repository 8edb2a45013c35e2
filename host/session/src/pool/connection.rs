//! One connection: opened by a task of the pool, handed over, and driven until it closes.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::life::Life;
use super::state::{Carry, SlotId};
use super::wait::Waiter;
use super::{Shared, Slot, ended};
use crate::drain::Phase;
use crate::error::{Error, Kind};
use crate::monitor::{Closed, Exchange, Timings};
use crate::retry::Memory;
use crate::route::Route;
use crate::stage::Stage;
use crate::{Snapshot, wire};

/// A connection that can carry an exchange.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) route: Arc<Route>,
    pub(super) slot: SlotId,
    /// The origin's address; absent where a proxy found it.
    peer: Option<IpAddr>,
    /// The newest policy that is known to keep it.
    pub(super) generation: u64,
    pub(super) sender: wire::Sender,
    pub(super) life: Life,
    /// What opening it took, until its first user has taken it.
    pub(super) opening: Option<Box<Timings>>,
    /// Why it closes, if nobody says otherwise.
    pub(super) closes_for: Closed,
    /// What a request is held in while it is sent.
    pub(super) memory: Memory,
    /// Its end tells the connection's task that nobody wants it any more.
    wanted: Arc<oneshot::Sender<Infallible>>,
}

impl Connection {
    /// True if an exchange under this policy may use it: egress is checked again where the policy is another.
    pub(super) fn kept_by(&self, snapshot: &Snapshot) -> bool {
        self.generation == snapshot.generation || snapshot.keeps(&self.route, self.peer)
    }
}

impl Carry for Box<Connection> {
    fn share(&mut self) -> Option<Self> {
        let Connection { route, slot, peer, generation, sender, life, opening, closes_for, memory: _, wanted } =
            &mut **self;
        let sender = sender.share().filter(|_| life.may_begin(Instant::now()))?;
        life.begin_exchange();
        // As it was: whether it has rested is for this exchange to find out.
        let before = life.clone();
        life.rest(Instant::now());
        Some(Self::new(Connection {
            route: Arc::clone(route),
            slot: *slot,
            peer: *peer,
            generation: *generation,
            sender,
            life: before,
            opening: opening.take(),
            closes_for: *closes_for,
            memory: Memory::default(),
            wanted: Arc::clone(wanted),
        }))
    }

    fn expires(&self) -> Option<Instant> {
        self.life.expires(Instant::now())
    }

    fn why(&self) -> Closed {
        self.life.why(Instant::now())
    }
}

/// A connection being opened; however its task ends, the books are right.
pub(super) struct Opening {
    pub(super) shared: Arc<Shared>,
    pub(super) route: Option<Arc<Route>>,
}

impl Opening {
    fn succeeded(&mut self, connection: Box<Connection>) {
        let Some(route) = self.route.take() else { return };
        let (slot, now) = (connection.slot, Instant::now());
        // However short its life, its first exchange is what it was opened for.
        let expires = connection.life.expires(now).unwrap_or(now);
        self.shared.change(|inner, actions| {
            // Under a policy that does not keep it, it serves who waited for it under the old one, and nobody else.
            let kept = connection.kept_by(&inner.snapshot);
            let expires = if kept { expires } else { now };
            if connection.sender.is_shared() {
                // One, until the server has said how many.
                inner.machine.connected_shared(&route, (slot, connection, 1), now, actions);
                if !kept {
                    inner.machine.retire(&route, slot, Some(Closed::Swap), actions);
                }
            } else {
                inner.machine.connected(&route, slot, connection, expires, actions);
            }
            if inner.ended {
                // Nobody is left who could use it later.
                inner.machine.clear(actions);
            }
            self.shared.remind(inner, expires);
        });
    }

    fn failed(&mut self, error: Error, took: Option<Box<Timings>>) {
        let Some(route) = self.route.take() else { return };
        let waiter = self.shared.change(|inner, actions| inner.machine.failed(&route, Instant::now(), actions));
        if let Some(waiter) = waiter {
            waiter.give(Err((error, took)));
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.failed(Error::new(Stage::Pool, Kind::Unavailable, "opening the connection was given up"), None);
    }
}

/// The task of one connection: opens it, hands it over, and moves its bytes until it closes.
pub(super) async fn open_and_drive(mut opening: Opening, waiter: Arc<Waiter>, slot: Slot) {
    let shared = Arc::clone(&opening.shared);
    let id = slot.id;
    shared.start_reaper(&waiter.runtime);
    let route = slot.route.clone();
    let reset = Arc::clone(&slot.reset);
    let exchange = Exchange::opening(waiter.number, slot.id(), &route, &shared.counters);
    let mut phase = shared.phase.clone();
    let opened = tokio::select! {
        stopped = phase.wait_for(|phase| phase.opens_nothing()) => Err(stopped.map_or_else(|_| ended(), |_| crate::drain::refused())),
        opened = crate::open(&waiter.snapshot, &route, &exchange, slot) => opened,
    };
    let (wanted, unwanted) = oneshot::channel();
    let driver = match opened {
        Ok(crate::Opened { slot, peer, sender, driver }) => {
            let life = Life::new(&waiter.snapshot.scope(route.origin()).policy.pool);
            exchange.opened();
            let opening_took = exchange.record.timings().map(Box::new);
            let generation = waiter.snapshot.generation;
            let (route, wanted) = (Arc::clone(&route), Arc::new(wanted));
            let connection = Connection {
                route,
                slot,
                peer,
                generation,
                sender,
                life,
                opening: opening_took,
                closes_for: Closed::Dropped,
                memory: Memory::default(),
                wanted,
            };
            opening.succeeded(Box::new(connection));
            driver
        }
        Err(error) => {
            exchange.could_not_open(&error);
            return opening.failed(error, exchange.record.timings().map(Box::new));
        }
    };
    let cleanup = waiter.snapshot.base.policy.pool.cleanup_closed;
    drop((opening, waiter, exchange));
    let cut = async {
        // A session that is dropped cuts nothing.
        if phase.wait_for(|phase| *phase == Phase::Cut).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let told = |streams| shared.change(|inner, actions| inner.machine.set_capacity(&route, id, streams, actions));
    tokio::select! {
        () = drive(driver, unwanted, told, cleanup, &reset) => {}
        () = cut => {}
    }
}

/// Moves a connection's bytes, and tells how many exchanges it takes. Once nobody wants it, its goodbye is bounded.
async fn drive(
    mut driver: wire::Driver,
    mut unwanted: oneshot::Receiver<Infallible>,
    told: impl Fn(usize),
    cleanup: bool,
    reset: &AtomicBool,
) {
    loop {
        tokio::select! {
            biased;
            streams = driver.next() => match streams {
                Some(streams) => told(streams),
                None => return,
            },
            _ = &mut unwanted => break,
        }
    }
    let bound = if cleanup { CLEANUP } else { GOODBYE };
    if timeout(bound, async { while driver.next().await.is_some() {} }).await.is_err() {
        reset.store(cleanup, Ordering::Relaxed);
    }
}

/// How long a connection may take to say goodbye: `cleanup_closed` resets it after two seconds, as aiohttp does; without
/// it, it is closed after ten.
const CLEANUP: Duration = Duration::from_secs(2);
const GOODBYE: Duration = Duration::from_secs(10);
