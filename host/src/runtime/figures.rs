//! The instances that there are, and what calls take of the processor.
//!
//! Beside the path: a call's time is added up while its store is polled, and observed when the call is over, however it ended.

use std::task::Poll;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

/// The instances of a runtime, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Those that wait for a call.
    pub idle: usize,
    /// Those that are in a call, or being made for one.
    pub busy: usize,
    /// All that were ever made.
    pub made: u64,
}

/// What calls take of the processor, in seconds. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Cpu(Histogram);

/// From 100 us, of which a small completion takes one or two, to what `runtime.cpu` mostly allows.
const SECONDS: [f64; 12] = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0];

impl Cpu {
    pub(crate) fn new() -> Self {
        Self(Histogram::new(SECONDS))
    }

    /// The time of a call that begins; dropping it ends the call.
    pub(crate) fn spend(&self) -> Spent<'_> {
        Spent { time: Duration::ZERO, cpu: self }
    }

    pub(crate) fn histogram(&self) -> Histogram {
        self.0.clone()
    }
}

/// The time that one call has taken.
///
/// It is the time within polls: of the guest, and of what the session does for it there. Reading the clock twice a poll is
/// what that costs; the processor's own clock of a thread would be a system call each.
pub(crate) struct Spent<'c> {
    time: Duration,
    cpu: &'c Cpu,
}

impl Spent<'_> {
    pub(crate) fn during<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let begun = Instant::now();
        let polled = poll();
        self.time += begun.elapsed();
        polled
    }
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        self.cpu.0.observe(self.time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text;
    use prometheus_client::registry::Registry;

    use super::*;

    fn spin(length: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < length {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn time_counts_within_polls_alone() {
        let (cpu, begun) = (Cpu::new(), Instant::now());
        let (within, between) = (Duration::from_millis(2), Duration::from_millis(20));
        let mut spent = cpu.spend();
        for _ in 0..2 {
            let polled = spent.during(|| {
                spin(within);
                Poll::<()>::Pending
            });
            assert!(polled.is_pending());
            spin(between);
        }
        let elapsed = begun.elapsed();
        assert!(spent.time >= 2 * within && spent.time <= elapsed - 2 * between, "{:?} of {elapsed:?}", spent.time);
        drop(spent);
        let (mut text, mut registry) = (String::new(), Registry::default());
        registry.register("cpu", "Cpu", cpu.histogram());
        prometheus_text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("cpu_count 1\n") && text.contains("le=\"0.002\"} 0\n"), "{text}");
    }
}
