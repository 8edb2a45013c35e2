//! Parts for tests: origins that misbehave on request, real servers, certificates, and a session to point at them.
//!
//! Nothing here stands in for a part of Seaway: the session, the component and the binary under test are the real ones,
//! and what they meet listens on a real loopback socket. A part that is surprised says so and fails the test.
#![cfg(not(target_family = "wasm"))]
#![forbid(unsafe_code)]

pub mod folder;
pub mod log;
pub mod ledger;
pub mod answer;
pub mod request;
pub mod origin;
pub mod certificates;
pub mod kernel;
pub mod daemon;
pub mod nginx;
pub mod proxies;
pub mod dnsmasq;
pub mod chaos;
pub mod valve;
pub mod haproxy;
pub mod client;
pub mod error;
pub mod provider;
pub mod cargo;
pub mod host;
pub mod program;
pub mod gateway;
#[cfg(feature = "otel")]
pub mod collector;

use std::time::Duration;

/// The longest that a test waits for anything: far beyond what a loaded machine takes, and an end where a thing hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `fact` holds. For what has no event to wait for: the kernel's tables, the pool's figures.
///
/// # Panics
/// If it does not come to hold within [`PATIENCE`].
pub async fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let holds = async {
        while !fact() {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, holds).await.is_ok(), "never came to hold: {what}");
}

/// Waits for what must come.
///
/// # Panics
/// If it does not come within [`PATIENCE`].
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("never came: {what}"),
    }
}
