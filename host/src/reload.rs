//! The file, put in force again when it changes: session policy, providers and models, under running calls.
//!
//! Runs beside the path, for as long as a process serves. It looks at the file every second and reads it when its bytes
//! have changed, so that an editor's write, an atomic rename and a Kubernetes mount, whose links move, are all the same to
//! it; SIGHUP has it read at once. Either the whole file is good or what was in force stays, and the error is told once.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use seaway_session::Environment;
use seaway_session::policy::{Error, Preset};
use tokio::time::MissedTickBehavior;

use crate::config::{Config, fingerprint};
use crate::runtime::{Limits, Runtime};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often in a row it may be missing: who replaces a file may remove it first.
const MISSING: u32 = 2;

/// A file, and what is under it.
pub struct Reload {
    path: PathBuf,
    /// The preset beneath the file, as at the start.
    preset: Preset,
    environment: Environment,
    runtime: Runtime,
    /// What a restart alone would change.
    limits: Limits,
    /// The text that was read last, good or bad.
    fingerprint: u64,
    missing: u32,
    /// Who else goes by the file.
    follower: Option<Follower>,
}

/// Makes itself ready for another file, or refuses it; what it returns is called once all else is in force.
type Follower = Box<dyn FnMut(&mut Config) -> Result<Box<dyn FnOnce() + Send>, Error> + Send>;

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
        let Config { path, limits, fingerprint, preset, .. } = config;
        let (path, preset, limits, fingerprint) = (path.clone()?, *preset, limits.clone(), *fingerprint);
        Some(Self { path, preset, environment, runtime, limits, fingerprint, missing: 0, follower: None })
    }

    /// Has somebody else go by the file too: whoever refuses it has it refused for all.
    pub(crate) fn followed(mut self, follower: Follower) -> Self {
        self.follower = Some(follower);
        self
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
        let parsed = Config::parse_under(self.preset, &self.path, &text, &self.environment);
        let swapped = parsed.and_then(|mut config| {
            let follow = self.follower.as_mut().map(|follower| follower(&mut config)).transpose()?;
            let session = self.runtime.session();
            session.swap(config.policy.clone(), &self.environment, config.destinations.clone())?;
            self.runtime.configure(config.models());
            if let Some(follow) = follow {
                follow();
            }
            if config.limits != self.limits {
                config.warnings.push("[runtime] has changed; that takes a restart".to_owned());
            }
            Ok(config)
        });
        match swapped {
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
