//! The file, put in force again when it changes: session policy, providers and models, under running calls.
//!
//! Runs beside the path, for as long as a process serves. It looks at the file every second and reads it when its bytes
//! have changed, so that an editor's write, an atomic rename and a Kubernetes mount, whose links move, are all the same to
//! it; SIGHUP has it read at once. Either the whole file is good or what was in force stays, and the error is told once.

mod swapper;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use seaway_session::Environment;
use seaway_session::policy::Error;
use tokio::time::MissedTickBehavior;

use crate::config::{Config, fingerprint};
use crate::runtime::Runtime;
pub(crate) use swapper::{Source, Swapper};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often in a row it may be missing: who replaces a file may remove it first.
const MISSING: u32 = 2;

/// A file, and what it is put in force with.
pub struct Reload {
    path: PathBuf,
    swapper: Swapper,
    /// The text that was read last, good or bad.
    fingerprint: u64,
    missing: u32,
}

/// What a look at the file came to.
#[derive(Debug)]
pub enum Outcome {
    /// It is what it was.
    Unchanged,
    /// It is in force as it is now.
    Swapped(Box<Config>),
    /// It cannot be used; what was in force stays.
    Refused(Error),
}

impl Reload {
    /// Watches the file of `config`, which `runtime` and its session were started with; absent if it has none.
    /// `environment` is where the file's variables are read, as at the start.
    #[must_use]
    pub fn new(config: &Config, environment: Environment, runtime: Runtime) -> Option<Self> {
        Self::watching(config, Swapper::new(config, environment, runtime))
    }

    /// The same, beside whoever else puts texts in force with `swapper`.
    pub(crate) fn watching(config: &Config, swapper: Swapper) -> Option<Self> {
        Some(Self { path: config.path.clone()?, swapper, fingerprint: config.fingerprint, missing: 0 })
    }

    /// Looks at the file every second, and at SIGHUP, and tells the log what came of it. Ends when it is dropped.
    ///
    /// # Errors
    /// If the process cannot listen to SIGHUP, or the executor ends.
    pub async fn run(mut self) -> io::Result<()> {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hangups = Hangups::listen()?;
        loop {
            let look = tokio::select! {
                _ = ticks.tick() => Self::look,
                () = hangups.next() => Self::now,
            };
            let outcome;
            (self, outcome) = tokio::task::spawn_blocking(move || {
                let outcome = look(&mut self);
                (self, outcome)
            })
            .await?;
            match outcome {
                Outcome::Unchanged => {}
                Outcome::Swapped(config) => {
                    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                    tracing::info!("{} is in force as it is now", self.path.display());
                }
                Outcome::Refused(error) => tracing::error!("the old policy stays in force: {error}"),
            }
        }
    }

    /// Looks at the file, and puts it in force if it has changed. Reads files: not for an executor's thread.
    pub fn look(&mut self) -> Outcome {
        match std::fs::read(&self.path) {
            Ok(text) if fingerprint(&text) == self.fingerprint => {
                self.missing = 0;
                Outcome::Unchanged
            }
            Ok(_) => self.now(),
            Err(error) => {
                self.missing = self.missing.saturating_add(1);
                match self.missing == MISSING {
                    true => Outcome::Refused(self.unreadable(&error)),
                    false => Outcome::Unchanged,
                }
            }
        }
    }

    /// Puts the file in force as it is, changed or not. Reads files: not for an executor's thread.
    pub fn now(&mut self) -> Outcome {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) => return Outcome::Refused(self.unreadable(&error)),
        };
        self.missing = 0;
        self.fingerprint = fingerprint(&text);
        let text = match String::from_utf8(text) {
            Ok(text) => text,
            Err(error) => return Outcome::Refused(self.unreadable(&io::Error::other(error.utf8_error()))),
        };
        match self.swapper.put(&self.path, &text) {
            Ok(config) => Outcome::Swapped(Box::new(config)),
            Err(error) => Outcome::Refused(error),
        }
    }

    fn unreadable(&self, error: &io::Error) -> Error {
        Error::new(format!("{}: cannot be read: {error}", self.path.display()))
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reload").field("path", &self.path).finish_non_exhaustive()
    }
}

/// SIGHUP, where there is such a thing.
struct Hangups {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Hangups {
    fn listen() -> io::Result<Self> {
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
        Ok(Self { signal })
    }

    async fn next(&mut self) {
        self.signal.recv().await;
    }
}

#[cfg(not(unix))]
impl Hangups {
    fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}
