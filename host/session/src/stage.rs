//! The nine words: what a stage is called, everywhere.
//!
//! Every request walks the stages in this order. The word is the module, the policy section, the error's stage, the
//! tracing span and the metric label, so that who reads one of them knows the others.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::error::{Error, Kind};
use crate::monitor::Exchange;

/// One stage of the path that a request takes, in path order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// May this request leave: scheme, host, port, method; and after DNS, the addresses.
    Egress,
    /// The secret takes its placeholder's place.
    Credentials,
    /// Waiting for, and keeping, connections.
    Pool,
    /// Names to addresses.
    Dns,
    /// Addresses to a connected socket.
    Tcp,
    /// The tunnel through a proxy.
    Proxy,
    /// The handshake with the origin.
    Tls,
    /// The HTTP exchange up to the head of the answer.
    Wire,
    /// The answer's body.
    Body,
}

impl Stage {
    /// All stages, in path order.
    pub const ALL: [Self; 9] = [
        Self::Egress,
        Self::Credentials,
        Self::Pool,
        Self::Dns,
        Self::Tcp,
        Self::Proxy,
        Self::Tls,
        Self::Wire,
        Self::Body,
    ];

    /// The stage's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Credentials => "credentials",
            Self::Pool => "pool",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Wire => "wire",
            Self::Body => "body",
        }
    }
}

/// The one helper around every stage: its deadline, its span and its counter live here, and nowhere else.
impl Stage {
    /// Runs a stage that waits. It fails with `deadline`'s error, or with that of the exchange's `total`, whichever comes
    /// first. Dropping the future drops the work, which is pinned by the caller, so that only a pointer moves on through the layers.
    pub(crate) async fn run<T>(
        self,
        exchange: &Exchange,
        deadline: Option<Deadline>,
        work: Pin<&mut impl Future<Output = Result<T, Error>>>,
    ) -> Result<T, Error> {
        let start = Instant::now();
        let span = self.span(exchange);
        let work = work.instrument(span.clone());
        let result = match Deadline::earliest(deadline, exchange.total) {
            Some(deadline) => timeout_at(deadline.at, work).await.unwrap_or_else(|_| Err(deadline.error(self))),
            None => work.await,
        };
        exchange.passed(self, start, result.is_err());
        finish(&span, start, exchange.is_reused());
        result
    }

    /// Runs a stage that only decides. It is counted; its time, too short to be worth the clock, is booked only where a
    /// record is kept.
    pub(crate) fn decide<T>(self, exchange: &Exchange, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let start = exchange.record.is_kept().then(Instant::now);
        let result = self.span(exchange).in_scope(work);
        match start {
            Some(start) => exchange.passed(self, start, result.is_err()),
            None => exchange.counters.ran(self, Duration::ZERO, result.is_err()),
        }
        result
    }

    /// The stage's span. Its fields are made only where somebody wants them; what shows at its end is empty until then.
    pub(crate) fn span(self, exchange: &Exchange) -> Span {
        macro_rules! span {
            ($word:literal) => {
                tracing::debug_span!(
                    $word,
                    origin = exchange.origin().map(tracing::field::display),
                    attempt = exchange.attempt(),
                    reused = Empty,
                    bytes = Empty,
                    elapsed = Empty
                )
            };
        }
        match self {
            Self::Egress => span!("egress"),
            Self::Credentials => span!("credentials"),
            Self::Pool => span!("pool"),
            Self::Dns => span!("dns"),
            Self::Tcp => span!("tcp"),
            Self::Proxy => span!("proxy"),
            Self::Tls => span!("tls"),
            Self::Wire => span!("wire"),
            Self::Body => span!("body"),
        }
    }
}

/// Fills in what a span could not say at its beginning.
pub(crate) fn finish(span: &Span, start: Instant, reused: bool) {
    if !span.is_disabled() {
        span.record("reused", reused);
        span.record("elapsed", tracing::field::debug(start.elapsed()));
    }
}

/// A point in time with the name of the key that set it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    length: Duration,
    name: &'static str,
    kind: Kind,
}

impl Deadline {
    /// `length` after `start`; absent where there is no length.
    pub(crate) fn after(start: Instant, length: Option<Duration>, name: &'static str, kind: Kind) -> Option<Self> {
        let length = length?;
        start.checked_add(length).map(|at| Self { at, length, name, kind })
    }

    /// `length` from now.
    pub(crate) fn within(length: Option<Duration>, name: &'static str, kind: Kind) -> Option<Self> {
        length.and_then(|length| Self::after(Instant::now(), Some(length), name, kind))
    }

    /// The earlier of two, where there are any.
    pub(crate) fn earliest(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if other.at < one.at { other } else { one }),
            (one, other) => one.or(other),
        }
    }

    /// What a stage says that the deadline ended.
    pub(crate) fn error(&self, stage: Stage) -> Error {
        let Self { length, name, kind, .. } = self;
        Error::new(stage, *kind, format!("`{name}` of {length:?} passed"))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}
