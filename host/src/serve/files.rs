//! The files of `[serve]`: keys and certificates, in force again when they change.
//!
//! Runs beside the server. Invariant: either all of them are good or what was in force stays, and the error is told once.

use std::sync::Arc;
use std::time::Duration;

use seaway_session::Environment;
use tokio::time::MissedTickBehavior;

use super::settings::Settings;
use super::{Live, Shared};
use crate::config::fingerprint;

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Tells what is in the files from what was. What is no file, such as a pipe, is read once.
pub(super) fn stamp(settings: &Settings) -> Vec<u64> {
    let tls = settings.tls.iter().flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]).flatten();
    let files = settings.keys.iter().filter_map(|key| key.file.as_ref()).chain(tls);
    let files = files.filter(|file| std::fs::metadata(file).map_or(true, |found| found.is_file()));
    // One that cannot be read is told of when it is put in force.
    files.map(|file| fingerprint(&std::fs::read(file).unwrap_or_default())).collect()
}

/// Looks at the files every second, for as long as it is polled.
pub(super) async fn watch(shared: Arc<Shared>, environment: Environment) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refused = None;
    loop {
        ticks.tick().await;
        let (shared, environment) = (Arc::clone(&shared), environment.clone());
        match tokio::task::spawn_blocking(move || look(&shared, &environment, refused)).await {
            Ok(found) => refused = found,
            Err(error) if error.is_panic() => {
                refused = None;
                tracing::error!("the keys and certificates could not be looked at");
            }
            // The executor ends.
            Err(_) => return std::future::pending().await,
        }
    }
}

/// Puts them in force if they have changed, but for what has been `refused`; what is refused now.
fn look(shared: &Shared, environment: &Environment, refused: Option<Vec<u64>>) -> Option<Vec<u64>> {
    let live = shared.live.load_full();
    let stamp = stamp(&live.settings);
    if stamp == live.stamp {
        return None;
    }
    if refused.as_ref() == Some(&stamp) {
        return refused;
    }
    let mut renewed = match Live::of(&live.settings, environment) {
        Ok(renewed) => renewed,
        Err(error) => {
            tracing::error!("the old keys and certificates stay in force: {error}");
            return Some(stamp);
        }
    };
    renewed.keys.keep_rooms(&live.keys);
    // Whoever has put another file in force meanwhile has read them too.
    let before = shared.live.compare_and_swap(&live, Arc::new(renewed));
    if Arc::ptr_eq(&before, &live) {
        tracing::info!("the keys and certificates of [serve] are in force as they are now");
    }
    None
}
