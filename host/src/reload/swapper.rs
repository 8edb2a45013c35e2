//! A file's text, put in force whole, whoever brings it: the file that is watched, or who administers the server.
//!
//! Invariant: one at a time, and either all of a text is in force or nothing of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use seaway_session::policy::{Change, Error, Preset, Said};
use seaway_session::{Environment, Retiring};

use crate::config::{Config, FILE};
use crate::runtime::{Limits, Runtime};

/// Makes itself ready for another file, or refuses it; what it returns is called once all else is in force.
pub(crate) type Follower = Box<dyn FnMut(&mut Config) -> Result<Follow, Error> + Send>;
type Follow = Box<dyn FnOnce() + Send>;

/// Puts texts in force. Clones are the same.
#[derive(Clone)]
pub(crate) struct Swapper(Arc<Mutex<Inner>>);

/// What messages call a text that was posted.
const POSTED: &str = "the posted policy";

struct Inner {
    /// The preset beneath each text, as at the start.
    preset: Preset,
    /// What messages name, and where relative paths of a text start that is no file's.
    path: PathBuf,
    environment: Environment,
    runtime: Runtime,
    /// What a restart alone would change.
    limits: Limits,
    /// Who else goes by the text.
    follower: Option<Follower>,
    said: Said,
    source: Source,
    since: SystemTime,
}

/// Where what is in force comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// There was no file.
    Defaults,
    /// The file.
    File(PathBuf),
    /// Somebody who administers the server.
    Admin,
}

/// What a text would change, or has changed.
#[derive(Debug)]
pub(crate) struct Weighed {
    pub(crate) changes: Vec<Change>,
    pub(crate) retiring: Vec<Retiring>,
    pub(crate) warnings: Vec<String>,
    /// The number of the policy that is in force now.
    pub(crate) generation: u64,
}

/// What is in force.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) generation: u64,
    pub(crate) source: Source,
    pub(crate) since: SystemTime,
}

impl Swapper {
    /// What puts texts in the place of `config`, which `runtime` and its session were started with.
    pub(crate) fn new(config: &Config, environment: Environment, runtime: Runtime) -> Self {
        let source = config.path.clone().map_or(Source::Defaults, Source::File);
        let (preset, limits, said) = (config.preset, config.limits.clone(), config.said.clone());
        let path = config.path.clone().unwrap_or_else(|| PathBuf::from(FILE));
        let since = SystemTime::now();
        let inner = Inner { preset, path, environment, runtime, limits, follower: None, said, source, since };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Has somebody else go by the texts too: whoever refuses one has it refused for all.
    pub(crate) fn follow(&self, follower: Follower) {
        self.inner().follower = Some(follower);
    }

    /// Puts a file's text in force. Reads files: not for an executor's thread.
    ///
    /// # Errors
    /// What of it cannot be used; what was in force stays.
    pub(crate) fn put(&self, path: &Path, text: &str) -> Result<Config, Error> {
        let mut inner = self.inner();
        let (config, follow) = inner.prepare(path, text)?;
        inner.swap(&config, follow, Source::File(path.to_owned()))?;
        Ok(config)
    }

    /// Says what a text that is no file's would change, and puts it in force unless that is all. Reads files: not for an
    /// executor's thread.
    ///
    /// # Errors
    /// What of it cannot be used; what was in force stays.
    pub(crate) fn weigh(&self, text: &str, dry: bool) -> Result<Weighed, Error> {
        let mut inner = self.inner();
        // Its relative paths start where the file's do; what is wrong with it stands in no file.
        let path = inner.path.with_file_name(POSTED);
        let (config, follow) = inner.prepare(&path, text)?;
        let changes = inner.said.changes(&config.said);
        let (policy, destinations) = (config.policy.clone(), config.destinations.clone());
        let retiring = inner.runtime.session().retiring(policy, &inner.environment, destinations)?;
        if !dry {
            inner.swap(&config, follow, Source::Admin)?;
        }
        let generation = inner.runtime.session().generation();
        Ok(Weighed { changes, retiring, warnings: config.warnings, generation })
    }

    /// What is in force.
    pub(crate) fn in_force(&self) -> InForce {
        let inner = self.inner();
        let generation = inner.runtime.session().generation();
        InForce { generation, source: inner.source.clone(), since: inner.since }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Swapper {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Swapper").finish_non_exhaustive()
    }
}

impl Inner {
    fn prepare(&mut self, path: &Path, text: &str) -> Result<(Config, Option<Follow>), Error> {
        // What is being written, or was not found by whoever posts it; it would let everybody in and forget every rule.
        if text.trim().is_empty() {
            return Err(Error::new(format!("{}: is empty; if that is meant, write a comment into it", path.display())));
        }
        let mut config = Config::parse_under(self.preset, path, text, &self.environment)?;
        let follow = self.follower.as_mut().map(|follower| follower(&mut config)).transpose()?;
        if config.limits != self.limits {
            config.warnings.push("[runtime] has changed; that takes a restart".to_owned());
        }
        Ok((config, follow))
    }

    fn swap(&mut self, config: &Config, follow: Option<Follow>, source: Source) -> Result<(), Error> {
        let session = self.runtime.session();
        session.swap(config.policy.clone(), &self.environment, config.destinations.clone())?;
        self.runtime.configure(config.models());
        if let Some(follow) = follow {
            follow();
        }
        self.said = config.said.clone();
        (self.source, self.since) = (source, SystemTime::now());
        Ok(())
    }
}
