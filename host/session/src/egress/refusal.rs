//! What becomes of a refusal: it holds and is counted, or under `egress.mode = "count"` it is only counted and told.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::Mode;
use crate::error::Error;
use crate::monitor::Counters;
use crate::route::Origin;

/// What `egress.mode = "count"` means, as a warning at load.
pub(crate) const COUNTED: &str = "`egress.mode = \"count\"`: what no rule allows leaves all the same, and is counted; \
                                  `enforce` refuses it";

/// Lines that are remembered as told; beyond them the oldest are told again.
const TOLD: NonZeroUsize = NonZeroUsize::new(1000).expect("1000 is not 0");

pub(super) struct Refusals {
    mode: Mode,
    counters: Arc<Counters>,
    /// What has been a warning already: a loop of a guest's fills no log.
    told: Mutex<LruCache<String, ()>>,
}

impl Refusals {
    pub(super) fn new(mode: Mode, counters: &Arc<Counters>) -> Self {
        Self { mode, counters: Arc::clone(counters), told: Mutex::new(LruCache::new(TOLD)) }
    }

    /// A refusal that no policy could lift: it holds in every mode. `rule` is the key that it is about.
    pub(super) fn hold(&self, origin: &Origin, rule: &'static str, error: Error) -> Error {
        self.counters.denied(origin, rule, true);
        error
    }

    /// A refusal that a line of policy could lift.
    ///
    /// # Errors
    /// The refusal, where it holds.
    pub(super) fn refuse(&self, origin: &Origin, rule: &'static str, error: Error) -> Result<(), Error> {
        self.counters.denied(origin, rule, self.mode == Mode::Enforce);
        match self.mode {
            Mode::Enforce => Err(error),
            Mode::Count => {
                self.tell(&error);
                Ok(())
            }
        }
    }

    fn tell(&self, error: &Error) {
        let (message, hint) = (error.message(), error.hint().unwrap_or_default());
        let line = format!("would be refused: {message}; hint: {hint}");
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told.put(line.clone(), ()) {
            None => tracing::warn!("{line}"),
            Some(()) => tracing::debug!("{line}"),
        }
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mode.fmt(out)
    }
}
