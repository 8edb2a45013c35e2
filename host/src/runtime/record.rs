//! What one call took: the wait for its turn, and each exchange that the component had with a provider.
//!
//! Handed in by who calls and shared with the runtime and with `outbound`, so it can be read while the call runs and
//! also after it has failed. It also keeps the session's own error, of which the component sees a bare code only.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(feature = "otel")]
use http::{HeaderName, HeaderValue, Method};
use seaway_session::{Error as SessionError, Record, Timings};

/// The record of one call; clones are the same record.
#[derive(Clone, Default)]
pub struct CallRecord(Arc<Mutex<Inner>>);

/// Hears of each exchange of a call as it begins.
#[cfg(feature = "otel")]
pub(crate) trait Watch: Send + Sync {
    /// Gives the field that its request is to have beside its own; what becomes of it is in the record.
    fn begins(&self, method: &Method, record: &Record) -> Option<(HeaderName, HeaderValue)>;
}

#[derive(Default)]
struct Inner {
    queued: Duration,
    reused: bool,
    exchanges: Vec<Record>,
    /// True if what is recorded of an exchange is more than its times.
    detailed: bool,
    error: Option<Arc<SessionError>>,
    #[cfg(feature = "otel")]
    watch: Option<Arc<dyn Watch>>,
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

    /// Has somebody hear of its exchanges, and their details recorded.
    #[cfg(feature = "otel")]
    pub(crate) fn watched(&self, watch: Arc<dyn Watch>) {
        let mut inner = self.inner();
        (inner.detailed, inner.watch) = (true, Some(watch));
    }

    /// Begins the record of an exchange.
    pub(crate) fn exchange(&self) -> Record {
        let mut inner = self.inner();
        let record = if inner.detailed { Record::detailed() } else { Record::new() };
        inner.exchanges.push(record.clone());
        record
    }

    /// Tells whoever hears of it that an exchange begins with this request.
    #[cfg(feature = "otel")]
    pub(crate) fn begins<B>(&self, mut request: http::Request<B>, exchange: &Record) -> http::Request<B> {
        let watch = self.inner().watch.clone();
        let field = watch.and_then(|watch| watch.begins(request.method(), exchange));
        if let Some((name, value)) = field {
            request.headers_mut().insert(name, value);
        }
        request
    }

    pub(crate) fn failed(&self, error: SessionError) {
        self.inner().error = Some(Arc::new(error));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CallRecord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        out.debug_struct("CallRecord")
            .field("queued", &inner.queued)
            .field("reused", &inner.reused)
            .field("exchanges", &inner.exchanges)
            .field("error", &inner.error)
            .finish_non_exhaustive()
    }
}
