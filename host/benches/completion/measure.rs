//! Rounds, medians and the table.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::allocator;
use crate::upstream::Upstream;

/// One completion, start to end.
pub(crate) type Call = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A way to make a completion.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) call: Call,
}

/// The same work done in several ways.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Callers at once.
    pub(crate) callers: &'static [usize],
    /// Completions in a round.
    pub(crate) calls: usize,
    /// What the CPU time is divided by beside the calls: events of a stream.
    pub(crate) units: usize,
    pub(crate) unit: &'static str,
    pub(crate) rows: fn(&Upstream) -> Vec<Row>,
}

const ROUNDS: usize = 7;

struct Round {
    cpu: f64,
    p50: f64,
    p99: f64,
    rate: f64,
}

impl Table {
    fn rows(&self, upstream: &Upstream, word: &str) -> Vec<Row> {
        let mut rows = (self.rows)(upstream);
        rows.retain(|row| row.name.contains(word));
        rows
    }

    pub(crate) fn print(&self, upstream: &Upstream, word: &str) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let rows = runtime.block_on(async { self.rows(upstream, word) });
        let allocations = allocations(self, upstream, word);
        for callers in self.callers {
            println!("\n{}, {callers} at once: {} calls x {ROUNDS} rounds", self.name, self.calls);
            println!(
                "{:<44}{:>12}{:>8}{:>10}{:>10}{:>10}{:>8}",
                "",
                format!("CPU us/{}", self.unit),
                "x",
                "p50 us",
                "p99 us",
                "1/s",
                "allocs"
            );
            let mut rounds: Vec<Vec<Round>> = rows.iter().map(|_| Vec::new()).collect();
            for row in &rows {
                runtime.block_on(round(&row.call, self.calls / 4 + *callers, *callers));
            }
            for _ in 0..ROUNDS {
                for (row, rounds) in rows.iter().zip(&mut rounds) {
                    rounds.push(runtime.block_on(round(&row.call, self.calls, *callers)));
                }
            }
            let cpu = |rounds: &[Round]| median(rounds.iter().map(|round| round.cpu)) / self.units as f64;
            let base = rounds.first().map_or(1.0, |rounds| cpu(rounds));
            for ((row, rounds), allocations) in rows.iter().zip(&rounds).zip(&allocations) {
                let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
                println!(
                    "{:<44}{:>12.2}{:>8.2}{:>10.0}{:>10.0}{:>10.0}{:>8}",
                    row.name,
                    cpu(rounds),
                    cpu(rounds) / base,
                    of(|round| round.p50),
                    of(|round| round.p99),
                    of(|round| round.rate),
                    allocations,
                );
            }
        }
    }
}

/// `calls` completions by `callers` tasks.
async fn round(call: &Call, calls: usize, callers: usize) -> Round {
    let left = Arc::new(AtomicUsize::new(calls));
    let (cpu, start) = (process_time(), Instant::now());
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (call, left) = (Arc::clone(call), Arc::clone(&left));
            tokio::runtime::Handle::current().spawn(async move {
                let mut times = Vec::new();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let start = Instant::now();
                    call().await;
                    times.push(start.elapsed().as_secs_f64() * 1e6);
                }
                times
            })
        })
        .collect();
    let mut times = Vec::with_capacity(calls);
    for task in tasks {
        times.extend(task.await.expect("a caller ends well"));
    }
    let (cpu, elapsed) = (process_time() - cpu, start.elapsed());
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Round {
        cpu: cpu.as_secs_f64() * 1e6 / calls as f64,
        p50: at(0.5),
        p99: at(0.99),
        rate: calls as f64 / elapsed.as_secs_f64(),
    }
}

/// Allocations of one completion by each row, on connections that are kept, all on one thread.
fn allocations(table: &Table, upstream: &Upstream, word: &str) -> Vec<u64> {
    const CALLS: u64 = 50;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rows = runtime.block_on(async { table.rows(upstream, word) });
    let run = |row: &Row| {
        runtime.block_on(async {
            for _ in 0..CALLS {
                (row.call)().await;
            }
        })
    };
    let measured = |row: &Row| {
        run(row);
        allocator::count(|| run(row)) / CALLS
    };
    rows.iter().map(measured).collect()
}

/// CPU time of all of this process's threads, in nanoseconds' precision (Linux: proc_pid_schedstat(5)).
fn process_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux tells");
    let time = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(time).sum())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
