//! Instances of the component: check one out, run one call in it, give it back.
//!
//! Runs for every call, between its admission and the guest. An instance runs one call at a time and serves many, one
//! after the other; it goes back only if its call ended well, its guest task has ended and its resource table is empty.
//! Invariant: whatever else happens - a trap, a limit, a caller that goes away - the instance is dropped with its store,
//! and with it everything that the call had under way. No task is spawned for a call: who awaits it drives it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use seaway_session::{Domain, Session};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wasmtime::component::{Accessor, ResourceTable};
use wasmtime::{AsContextMut as _, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bindings::{Completer, CompleterPre};
use super::component::{self, Source};
use super::engine::Engine;
use super::error::{CallError, StartError, one_line};
use super::figures::{Cpu, Figures};
use super::limits::{Limits, Meter};
use super::record::CallRecord;
use super::stderr::Log;
use crate::outbound::Outbound;
use crate::turns::Turns;

/// What a store holds beside the guest: its WASI context, its way out, and its meter.
pub(crate) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
    meter: Meter,
}

impl State {
    /// The guest has its configuration in one variable, and neither network nor files.
    fn new(shared: &Instances, models: &str) -> Self {
        let outbound = Outbound::new(shared.session.clone(), shared.domain);
        #[cfg(feature = "default-sender")]
        let outbound = outbound.by_default_sender(shared.default_sender.load(Ordering::Relaxed));
        Self {
            table: ResourceTable::new(),
            wasi: WasiCtxBuilder::new().env("SEAWAY_MODELS", models).stderr(Log::default()).build(),
            http: WasiHttpCtx::new(),
            outbound,
            meter: Meter::new(&shared.limits),
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}

/// All instances, idle and at work, and what they are made of.
pub(crate) struct Instances {
    pre: CompleterPre<State>,
    engine: Engine,
    session: Session,
    /// The component's own: whoever loads one, the same or another, has a domain to itself.
    domain: Domain,
    limits: Limits,
    idle: Mutex<Idle>,
    seats: Arc<Semaphore>,
    waiting: AtomicUsize,
    made: AtomicU64,
    cpu: Cpu,
    #[cfg(feature = "default-sender")]
    pub(crate) default_sender: std::sync::atomic::AtomicBool,
}

/// Instances that wait for a call, and the configuration that they were made under.
struct Idle {
    instances: Vec<Instance>,
    models: Arc<str>,
}

struct Instance {
    store: Store<State>,
    turns: Turns,
    guest: Completer,
    /// What it was told of providers and models.
    models: Arc<str>,
    calls: u32,
}

impl Instances {
    pub(crate) fn new(limits: Limits, source: &Source, session: Session, models: String) -> Result<Self, StartError> {
        let engine = Engine::new(&limits)?;
        Ok(Self {
            pre: component::load(&engine.wasmtime, source)?,
            engine,
            session,
            domain: Domain::unique(),
            idle: Mutex::new(Idle { instances: Vec::new(), models: models.into() }),
            seats: Arc::new(Semaphore::new(seats(&limits))),
            waiting: AtomicUsize::new(0),
            made: AtomicU64::new(0),
            cpu: Cpu::new(),
            #[cfg(feature = "default-sender")]
            default_sender: std::sync::atomic::AtomicBool::new(false),
            limits,
        })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            idle: self.idle.lock().unwrap_or_else(PoisonError::into_inner).instances.len(),
            busy: self.busy(),
            made: self.made.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// Calls under way.
    fn busy(&self) -> usize {
        seats(&self.limits) - self.seats.available_permits()
    }

    /// Every later call runs under these models; an instance made under others ends with the call that it is in.
    pub(crate) fn configure(&self, models: String) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if *idle.models != *models {
            let old = std::mem::take(&mut idle.instances);
            idle.models = models.into();
            drop(idle);
            drop(old);
        }
    }

    /// Waits for a turn, first come first served, and checks an instance out for `record`'s call.
    ///
    /// Dropping the wait gives the turn to the next.
    pub(crate) async fn check_out(self: &Arc<Self>, record: &CallRecord) -> Result<Seat, CallError> {
        let (permit, queued) = match Arc::clone(&self.seats).try_acquire_owned() {
            Ok(permit) => (permit, std::time::Duration::ZERO),
            Err(_) => {
                let arrived = Instant::now();
                let _place = Place::take(&self.waiting, self.limits.queue)?;
                let permit = Arc::clone(&self.seats).acquire_owned().await.expect("the semaphore is never closed");
                (permit, arrived.elapsed())
            }
        };
        let (idle, models) = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            (idle.instances.pop(), Arc::clone(&idle.models))
        };
        record.started(queued, idle.is_some());
        let mut instance = match idle {
            Some(instance) => instance,
            None => self.instantiate(models).await?,
        };
        instance.calls = instance.calls.saturating_add(1);
        let state = instance.store.data_mut();
        state.meter.start();
        state.outbound.start(record.clone());
        Ok(Seat { instance, _permit: permit, shared: Arc::clone(self) })
    }

    async fn instantiate(&self, models: Arc<str>) -> Result<Instance, CallError> {
        let mut store = Store::new(&self.engine.wasmtime, State::new(self, &models));
        store.limiter(|state| &mut state.meter);
        store.set_epoch_deadline(1);
        let turns = Turns::new(TURNS);
        let way = turns.way();
        store.epoch_deadline_callback(move |mut context| {
            context.data_mut().meter.tick()?;
            way.give();
            Ok(UpdateDeadline::Yield(1))
        });
        match self.pre.instantiate_async(&mut store).await {
            Ok(guest) => {
                self.made.fetch_add(1, Ordering::Relaxed);
                Ok(Instance { store, turns, guest, models, calls: 0 })
            }
            Err(error) => Err(self.failure(store.data(), &error)),
        }
    }

    /// What stopped a call: a limit, where the meter knows of one, else the trap.
    fn failure(&self, state: &State, error: &wasmtime::Error) -> CallError {
        if let (true, Some(limit)) = (state.meter.overrun(), self.limits.cpu) {
            return CallError::Cpu { limit };
        }
        if let Some(needed) = state.meter.refused() {
            return CallError::Memory { needed, limit: self.limits.memory };
        }
        tracing::debug!("the component failed: {error:?}");
        CallError::Trapped(one_line(&error.root_cause().to_string()))
    }

    fn give_back(&self, instance: Instance) {
        if self.limits.reuse == 0 || instance.calls < self.limits.reuse {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&idle.models, &instance.models) {
                idle.instances.push(instance);
            }
        }
    }
}

/// Calls at a time, as far as they can be counted.
fn seats(limits: &Limits) -> usize {
    limits.calls.min(Semaphore::MAX_PERMITS)
}

/// How often a store's event loop may wake itself before its call makes way for other work.
const TURNS: u32 = 16;

/// A place in the queue, while it is held.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> Result<Self, CallError> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        match queue == 0 || before < queue {
            true => Ok(place),
            false => Err(CallError::QueueFull { queue }),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a call waits for its guest to end after the guest has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As long as it takes: the caller has its answer already.
    Awaited,
    /// A few turns of the event loop: the caller still waits for its answer.
    Brief,
}

/// An instance that is checked out for one call. Dropping it throws the instance away.
pub(crate) struct Seat {
    // Before the permit: the next call may start only when this one's memory is free.
    instance: Instance,
    _permit: OwnedSemaphorePermit,
    shared: Arc<Instances>,
}

impl Seat {
    /// Runs one call and gives the instance back if it is as good as new.
    ///
    /// Dropping the future drops the store, and so cancels whatever the call had begun.
    pub(crate) async fn run<R>(
        self,
        ending: Ending,
        work: impl AsyncFnOnce(&Accessor<State>, &Completer) -> wasmtime::Result<R>,
    ) -> Result<R, CallError> {
        // Dropped in the reverse order: the store before the permit, which lets the next call have its memory.
        let Self { _permit, shared, mut instance } = self;
        let Instance { store, turns, guest, .. } = &mut instance;
        let call = store.run_concurrent(async |accessor: &Accessor<State>| {
            let work = pin!(work(accessor, guest));
            let answer = Metered { accessor, work }.await?;
            wasmtime::error::Ok((answer, ended(accessor, ending).await))
        });
        let outcome = {
            let (mut call, mut spent) = (pin!(call), shared.cpu.spend());
            poll_fn(|cx| spent.during(|| turns.poll(call.as_mut(), shared.busy(), cx))).await
        };
        match outcome.and_then(std::convert::identity) {
            Ok((answer, ended)) => {
                if ended && instance.store.data().table.is_empty() {
                    shared.give_back(instance);
                }
                Ok(answer)
            }
            Err(error) => Err(shared.failure(instance.store.data(), &error)),
        }
    }
}

/// Sets the store's deadline one tick ahead whenever the call is polled: time that passes while it waits for the
/// network is not the guest's, and an epoch that went by then must not count.
struct Metered<'a, F> {
    accessor: &'a Accessor<State>,
    work: Pin<&'a mut F>,
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        renew(this.accessor);
        this.work.as_mut().poll(cx)
    }
}

fn renew(accessor: &Accessor<State>) {
    accessor.with(|mut access| access.as_context_mut().set_epoch_deadline(1));
}

/// Waits until no task of the guest runs in the store any more; false if it was not worth the wait.
async fn ended(accessor: &Accessor<State>, ending: Ending) -> bool {
    let mut turns = 0;
    poll_fn(|cx| {
        renew(accessor);
        match accessor.poll_no_interesting_tasks(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if ending == Ending::Awaited => Poll::Pending,
            Poll::Pending if turns == TURNS => Poll::Ready(false),
            Poll::Pending => {
                turns += 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}
