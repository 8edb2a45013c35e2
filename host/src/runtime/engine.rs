//! The engine: how the component is compiled, where its memory lies, and the clock that meters it.
//!
//! Made once a runtime, before the component. Invariant: the clock's thread ends with the engine that it ticks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::{Cache, CacheConfig, Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::error::StartError;
use super::limits::Limits;

/// Core modules, tables and memories of one component, at most. Ours has four core modules: its own and the three small
/// ones by which a component wires its imports.
const CORE_INSTANCES: u32 = 8;

/// Address space for one memory: all that 32 bits reach. Compiled code then checks no bounds, which is worth a tenth of the
/// time of a large request; `runtime.memory` bounds what of it is ever backed by memory.
const ADDRESSABLE: u64 = 4 << 30;

/// wasmtime's engine and its clock.
pub(crate) struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    _clock: Clock,
}

impl Engine {
    /// The pooling allocator reserves address space for every call; where the system does not give that much, instances
    /// are allocated one by one, with a warning.
    pub(crate) fn new(limits: &Limits) -> Result<Self, StartError> {
        let pooled = wasmtime::Engine::new(&config(limits, true)?);
        let wasmtime = match pooled {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(
                    "the memory of {} calls cannot be reserved ({error:#}): instances are allocated on demand, which is \
                     slower; a smaller `runtime.calls` would fit",
                    limits.calls
                );
                wasmtime::Engine::new(&config(limits, false)?).map_err(StartError::engine)?
            }
        };
        let clock = Clock::start(wasmtime.clone(), limits.tick()).map_err(StartError::engine)?;
        Ok(Self { wasmtime, _clock: clock })
    }
}

fn config(limits: &Limits, pooling: bool) -> Result<Config, StartError> {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    config.epoch_interruption(true);
    // A guest without a good reason for a backtrace gets none: collecting it costs more than the trap.
    config.memory_reservation(ADDRESSABLE);
    config.cache(cache());
    if pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)?));
    }
    Ok(config)
}

fn pool(limits: &Limits) -> Result<PoolingAllocationConfig, StartError> {
    let calls = u32::try_from(limits.calls).unwrap_or(u32::MAX);
    let memory = usize::try_from(limits.memory).map_err(StartError::engine)?;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        .total_core_instances(calls.saturating_mul(CORE_INSTANCES))
        .total_memories(calls)
        .total_tables(calls.saturating_mul(2))
        .total_stacks(calls)
        .max_memory_size(memory);
    Ok(pool)
}

/// wasmtime's own cache of compiled code, below the user's cache folder. One that cannot be used is no error: the
/// component is then compiled at every start.
fn cache() -> Option<Cache> {
    match Cache::new(CacheConfig::new()) {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::debug!("compiled code is not cached: {error:#}");
            None
        }
    }
}

/// Moves the engine's epoch on, tick by tick.
///
/// A thread and no task: guests that spin may hold every worker of the executor, and are stopped by this clock alone.
struct Clock {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    fn start(engine: wasmtime::Engine, tick: Duration) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("seaway-clock".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                thread::park_timeout(tick);
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A clock that panicked has stopped too, and there is nobody left to tell.
            let _ = thread.join();
        }
    }
}
