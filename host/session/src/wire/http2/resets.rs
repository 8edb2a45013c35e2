//! How fast streams are reset, so that no server takes it for an attack.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many streams of a connection are reset at once, and how many a second from then on. Servers take many resets for an
/// attack, and close the connection under everybody (CVE-2023-44487); nghttp2's bound is 1000 and 33 a second.
const BURST: f64 = 100.0;
const PER_SECOND: f64 = 25.0;

/// What bounds how fast the streams of one connection are reset.
#[derive(Debug)]
pub(crate) struct Resets {
    allowance: Mutex<Allowance>,
    /// Exchanges that go on.
    live: AtomicUsize,
    /// None does.
    deserted: Notify,
}

#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

/// An exchange that goes on.
#[derive(Debug)]
pub(super) struct Live(Arc<Resets>);

impl Live {
    pub(super) fn new(resets: &Arc<Resets>) -> Self {
        resets.live.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(resets))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.0.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.deserted.notify_waiters();
        }
    }
}

impl Resets {
    pub(super) fn new() -> Self {
        let allowance = Mutex::new(Allowance { left: BURST, at: Instant::now() });
        Self { allowance, live: AtomicUsize::new(0), deserted: Notify::new() }
    }

    /// Takes one reset from the allowance: how long to wait for it.
    fn take(&self) -> Duration {
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let refilled = now.duration_since(allowance.at).as_secs_f64() * PER_SECOND;
        allowance.left = (allowance.left + refilled).min(BURST) - 1.0;
        allowance.at = now;
        Duration::from_secs_f64((-allowance.left / PER_SECOND).max(0.0))
    }

    /// Drops what holds a stream, which resets it: at once where the allowance has room, and else as soon as it has, or as
    /// nobody else is left on the connection. False if it has none: nothing new should be begun on the connection.
    pub(crate) fn reset(self: Arc<Self>, stream: impl Send + 'static) -> bool {
        let wait = self.take();
        let (false, Ok(runtime)) = (wait.is_zero(), Handle::try_current()) else { return true };
        runtime.spawn(async move {
            let deserted = async {
                loop {
                    let mut changed = pin!(self.deserted.notified());
                    changed.as_mut().enable();
                    if self.live.load(Ordering::Acquire) == 0 {
                        return;
                    }
                    changed.await;
                }
            };
            drop(tokio::time::timeout(wait, deserted).await);
            drop(stream);
        });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn resets_beyond_the_burst_come_one_after_the_other() {
        let resets = Resets::new();
        let waits: Vec<Duration> = (0..102).map(|_| resets.take()).collect();
        assert!(waits[..100].iter().all(Duration::is_zero));
        assert_eq!(waits[100..], [Duration::from_millis(40), Duration::from_millis(80)]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(resets.take().is_zero());
    }
}
