//! The files of `[serve]`: keys and certificates, in force again when they change.
//!
//! Runs beside the server. Invariant: either all of them are good or what was in force stays, and the error is told once.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seaway_session::Environment;
use seaway_session::policy::Error;
use tokio::time::MissedTickBehavior;

use super::settings::Settings;
use super::{Live, Shared};

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Tells what is in the files from what was; 0 where there are none. What is no file, such as a pipe, is read once.
pub(super) fn stamp(settings: &Settings) -> u64 {
    let tls = settings.tls.iter().flat_map(|tls| [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]).flatten();
    let mut files: Vec<&PathBuf> = settings.keys.iter().filter_map(|key| key.file.as_ref()).chain(tls).collect();
    files.retain(|file| std::fs::metadata(file).map_or(true, |found| found.is_file()));
    if files.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    for file in files {
        // One that cannot be read is told of when it is put in force.
        let text = std::fs::read(file).unwrap_or_default();
        hasher.write_usize(text.len());
        hasher.write(&text);
    }
    hasher.finish()
}

/// Looks at the files every second, for as long as it is polled.
pub(super) async fn watch(shared: Arc<Shared>, environment: Environment) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What could not be put in force.
    let mut refused = None;
    loop {
        ticks.tick().await;
        let (shared, environment) = (Arc::clone(&shared), environment.clone());
        let looked = tokio::task::spawn_blocking(move || look(&shared, &environment, refused)).await;
        match looked {
            Ok(Ok(())) => refused = None,
            Ok(Err((stamp, error))) => {
                if refused != Some(stamp) {
                    tracing::error!("the old keys and certificates stay in force: {error}");
                }
                refused = Some(stamp);
            }
            Err(error) if error.is_panic() => tracing::error!("the keys and certificates could not be looked at"),
            // The executor ends.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Puts them in force if they have changed; what was `refused` is not tried again.
fn look(shared: &Shared, environment: &Environment, refused: Option<u64>) -> Result<(), (u64, Error)> {
    let live = shared.live.load_full();
    let stamp = stamp(&live.settings);
    if stamp == live.stamp {
        return Ok(());
    }
    if refused == Some(stamp) {
        return Err((stamp, Error::new("they are as they were")));
    }
    let mut renewed = Live::of(&live.settings, environment).map_err(|error| (stamp, error))?;
    renewed.keys.keep_rooms(&live.keys);
    // Whoever has put another file in force meanwhile has read them too.
    let before = shared.live.compare_and_swap(&live, Arc::new(renewed));
    if Arc::ptr_eq(&before, &live) {
        tracing::info!("the keys and certificates of [serve] are in force as they are now");
    }
    Ok(())
}
