//! What one call took: the wait for its turn, and each exchange that the component had with a provider.
//!
//! Handed in by who calls and shared with the runtime and with `outbound`, so it can be read while the call runs and
//! also after it has failed. It also keeps the session's own error, of which the component sees a bare code only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seaway_session::{Error as SessionError, Record, Timings};

/// The record of one call; clones are the same record.
#[derive(Clone, Debug, Default)]
pub struct CallRecord(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    queued: Duration,
    reused: bool,
    exchanges: Vec<Record>,
    /// True if what is recorded of an exchange is more than its times.
    detailed: bool,
    error: Option<Arc<SessionError>>,
}

impl CallRecord {
    /// An empty record, for one call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with what the session knows of each exchange beside its times: [`Timings::details`].
    #[must_use]
    pub fn detailed() -> Self {
        let record = Self::new();
        record.inner().detailed = true;
        record
    }

    /// How long the call waited for an instance.
    #[must_use]
    pub fn queued(&self) -> Duration {
        self.inner().queued
    }

    /// True if the call ran in an instance that had served an earlier one.
    #[must_use]
    pub fn reused(&self) -> bool {
        self.inner().reused
    }

    /// The exchanges so far, in the order in which they began.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Timings> {
        self.inner().exchanges.iter().filter_map(Record::timings).collect()
    }

    /// The session's last error, if it had one; the component may have gone on after it.
    #[must_use]
    pub fn error(&self) -> Option<Arc<SessionError>> {
        self.inner().error.clone()
    }

    pub(crate) fn started(&self, queued: Duration, reused: bool) {
        let mut inner = self.inner();
        inner.queued = queued;
        inner.reused = reused;
    }

    /// Begins the record of an exchange.
    pub(crate) fn exchange(&self) -> Record {
        let mut inner = self.inner();
        let record = if inner.detailed { Record::detailed() } else { Record::new() };
        inner.exchanges.push(record.clone());
        record
    }

    pub(crate) fn failed(&self, error: SessionError) {
        self.inner().error = Some(Arc::new(error));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
