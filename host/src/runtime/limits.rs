//! What the component may take: calls at a time, memory, processor time, and how long an instance lives.
//!
//! Read from `[runtime]` before the engine starts; kept by [`Meter`], which sits in each store. Whatever a guest does
//! within its limits, every other call is unharmed.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// The runtime's limits: `[runtime]` of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls at a time, and so instances. Default 4096; at least 1.
    pub calls: usize,
    /// Calls that may wait for their turn; one more fails at once. Default 10,000; 0 is no limit.
    pub queue: usize,
    /// Memory of one instance, in bytes. Default 256 MiB.
    pub memory: u64,
    /// Processor time of one call. Default 2 s; absent is no limit.
    pub cpu: Option<Duration>,
    /// Calls that one instance serves before it is thrown away. Default 1000; 0 is no limit, 1 is a fresh one each.
    pub reuse: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls: 4096, queue: 10_000, memory: 256 << 20, cpu: Some(Duration::from_secs(2)), reuse: 1000 }
    }
}

impl Limits {
    /// How often the clock that meters processor time ticks: a twentieth of the budget, but no finer than a millisecond
    /// and no coarser than ten, so that a spinning guest gives way to others soon.
    pub(crate) fn tick(&self) -> Duration {
        let share = self.cpu.unwrap_or(Duration::MAX) / 20;
        share.clamp(Duration::from_millis(1), Duration::from_millis(10))
    }

    /// The budget of one call, in ticks.
    pub(crate) fn ticks(&self) -> u64 {
        let tick = self.tick().as_nanos();
        self.cpu.map_or(u64::MAX, |cpu| u64::try_from(cpu.as_nanos().div_ceil(tick)).unwrap_or(u64::MAX).max(1))
    }

    /// The memory that a call with `body` bytes of input needs, as a lower bound: the guest holds them `copies` times,
    /// beside a few MiB of its own.
    pub(crate) fn needed(body: u64, copies: u64) -> u64 {
        const OWN: u64 = 4 << 20;
        body.saturating_mul(copies).saturating_add(OWN)
    }
}

/// What one instance took so far, and which limit stopped it.
#[derive(Debug)]
pub(crate) struct Meter {
    memory: u64,
    ticks: u64,
    budget: u64,
    /// The memory that the guest asked for and did not get.
    refused: Option<u64>,
    /// True once the call has used its processor time.
    overrun: bool,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory: limits.memory, ticks: 0, budget: limits.ticks(), refused: None, overrun: false }
    }

    /// Starts a call: its processor time counts from here.
    pub(crate) fn start(&mut self) {
        self.ticks = 0;
        self.refused = None;
        self.overrun = false;
    }

    /// Counts one tick of the clock during which the guest was running.
    ///
    /// # Errors
    /// When the budget is used up: the call ends as a trap, and [`Meter::overrun`] says why.
    pub(crate) fn tick(&mut self) -> wasmtime::Result<()> {
        self.ticks += 1;
        if self.ticks <= self.budget {
            return Ok(());
        }
        self.overrun = true;
        wasmtime::bail!("the call has used its processor time")
    }

    pub(crate) fn overrun(&self) -> bool {
        self.overrun
    }

    pub(crate) fn refused(&self) -> Option<u64> {
        self.refused
    }
}

/// Elements of a table, at most. A component's tables hold its functions; one that asks for more is broken or hostile.
const TABLE_ELEMENTS: usize = 100_000;

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let desired = u64::try_from(desired).unwrap_or(u64::MAX);
        let declared = maximum.map_or(u64::MAX, |maximum| u64::try_from(maximum).unwrap_or(u64::MAX));
        let fits = desired <= self.memory.min(declared);
        if !fits {
            self.refused = Some(desired);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_counted_in_ticks() {
        let seconds = Limits::default();
        assert_eq!((seconds.tick(), seconds.ticks()), (Duration::from_millis(10), 200));
        let short = Limits { cpu: Some(Duration::from_millis(5)), ..Limits::default() };
        assert_eq!((short.tick(), short.ticks()), (Duration::from_millis(1), 5));
        assert_eq!(Limits { cpu: None, ..Limits::default() }.ticks(), u64::MAX);
    }

    #[test]
    fn a_call_beyond_its_budget_is_stopped() {
        let mut meter = Meter::new(&Limits { cpu: Some(Duration::from_millis(2)), ..Limits::default() });
        assert!(meter.tick().is_ok() && meter.tick().is_ok() && !meter.overrun());
        assert!(meter.tick().is_err() && meter.overrun());
        meter.start();
        assert!(meter.tick().is_ok() && !meter.overrun());
    }

    #[test]
    fn memory_beyond_the_limit_is_refused_and_remembered() {
        let mut meter = Meter::new(&Limits { memory: 1 << 20, ..Limits::default() });
        assert!(meter.memory_growing(0, 1 << 20, None).unwrap());
        assert!(!meter.memory_growing(1 << 20, 2 << 20, None).unwrap());
        assert_eq!(meter.refused(), Some(2 << 20));
    }
}
