//! What an exchange took, and what all exchanges took together.
//!
//! Fed by the one stage helper and by the pool; read by `--timings`, the demo and [`Metrics`]. A record holds times,
//! counts and names of stages: no header, no body, no query. A [`Signal`] tells of the same while it happens.

mod signal;
mod listen;
mod exchange;
mod details;
mod histogram;
mod metrics;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Kind};
use crate::policy::units::Timeout;
use crate::route::Route;
use crate::stage::{Deadline, Stage};
use crate::tls;
pub use details::Details;
pub(crate) use exchange::Teller;
use histogram::{BUCKETS, Buckets};
use listen::Listeners;
pub use listen::{Monitor, Signals};
pub use metrics::Metrics;
pub(crate) use metrics::Sockets;
pub use signal::{About, Closed, Eviction, Retry, Signal};

/// `[monitor]`: what is told, and what is not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which signals are events of the log, at the level debug. Default errors. A swap changes it at once, for everything.
    pub signals: Signals,
    /// Headers that carry keys. What a guest sets in one of them itself, without a placeholder, is taken out of the
    /// request, with a warning that names the header once a policy. Default: authorization, proxy-authorization, cookie,
    /// x-api-key, api-key, x-goog-api-key. An empty list lets everything through.
    pub redact: Vec<Header>,
}

impl Default for Settings {
    fn default() -> Self {
        let known = ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"];
        Self { signals: Signals::default(), redact: known.map(HeaderName::from_static).map(Header).into() }
    }
}

/// The name of a header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Header(pub HeaderName);

impl TryFrom<String> for Header {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{}` is not the name of a header", text.escape_debug()))
    }
}

impl fmt::Display for Header {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The timing record of one exchange, shared between who asked for it and the session. The default records nothing.
#[derive(Clone, Debug, Default)]
pub struct Record(Option<Arc<Mutex<Timings>>>);

/// What one exchange took; offsets are from its arrival in the session.
#[derive(Clone, Debug)]
pub struct Timings {
    /// When the request came to the session.
    pub arrived: Instant,
    /// `scheme://host[:port]` of the request; absent until egress has looked at it.
    pub origin: Option<String>,
    /// How often the request went to a connection.
    pub attempts: u32,
    /// How long it waited for room, because a limit of the pool was full; absent where there was room.
    pub queued: Option<Duration>,
    /// True if the exchange went over a connection that an earlier one had opened.
    pub reused: bool,
    /// Whether the host's addresses were known; absent where nobody had to be asked, and over a reused connection.
    pub lookup: Option<Lookup>,
    /// What was agreed on with the origin; absent without TLS, and over a reused connection.
    pub handshake: Option<Handshake>,
    /// The proxy that it went through; absent where it went directly.
    pub via: Option<Via>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// From arrival to the first byte of the answer's body; absent until it has come.
    pub first_byte: Option<Duration>,
    /// Bytes of the answer's body so far.
    pub received: u64,
    /// Where it went, and why it might; absent unless the record is [`Record::detailed`].
    pub details: Option<Box<Details>>,
    spans: [Option<Span>; Stage::ALL.len()],
}

/// Where the addresses of a host came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// An earlier lookup.
    Hit,
    /// A lookup of this connection's own, or one that it joined.
    Miss,
}

/// What a TLS handshake came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The version that is spoken.
    pub version: tls::Version,
    /// The protocol that was agreed on (`http/1.1`, `h2`); absent where none was.
    pub alpn: Option<&'static str>,
    /// True if it resumed an earlier session.
    pub resumed: bool,
}

impl fmt::Display for Handshake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, alpn, resumed } = self;
        write!(out, "version={} alpn={} resumed={resumed}", version.word(), alpn.unwrap_or("none"))
    }
}

/// The proxy of an exchange, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// `http://proxy.corp.example:3128`, without user information.
    pub proxy: String,
    /// The status of its own answer: to `CONNECT`, or a refusal to forward. Absent where it said nothing of its own: it
    /// speaks SOCKS, it forwarded the request, or an earlier exchange had opened the tunnel.
    pub status: Option<u16>,
    /// The ways to say who one is that the answer offered (`Basic`, `NTLM`, ...).
    pub schemes: Vec<String>,
}

/// A stage's share of an exchange, as offsets from the exchange's arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When the stage began.
    pub start: Duration,
    /// When it ended; the same as `start` while it runs.
    pub end: Duration,
}

impl Timings {
    /// The stage's share; absent where the exchange did not pass it. `pool` is the wait for a connection, in which dns,
    /// tcp and tls lie where one had to be opened; `wire` runs to the head of the answer; `body` to its last byte.
    #[must_use]
    pub fn span(&self, stage: Stage) -> Option<Span> {
        self.spans[stage as usize]
    }

    /// From arrival to the end of the last stage.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.spans.iter().flatten().map(|span| span.end).max().unwrap_or_default()
    }

    /// Takes over what opening a connection took: dns, tcp, proxy and tls.
    pub(crate) fn adopt(&mut self, opening: &Self) {
        self.via.clone_from(&opening.via);
        (self.lookup, self.handshake) = (opening.lookup, opening.handshake);
        for stage in [Stage::Dns, Stage::Tcp, Stage::Proxy, Stage::Tls] {
            if let Some(Span { start, end }) = opening.span(stage) {
                self.mark(stage, opening.arrived + start, opening.arrived + end);
            }
        }
    }

    pub(crate) fn mark(&mut self, stage: Stage, start: Instant, end: Instant) {
        let offset = |at: Instant| at.saturating_duration_since(self.arrived);
        self.spans[stage as usize] = Some(Span { start: offset(start), end: offset(end) });
    }
}

impl Record {
    /// A record that records.
    #[must_use]
    pub fn new() -> Self {
        Self(Some(Arc::new(Mutex::new(Timings {
            arrived: Instant::now(),
            origin: None,
            attempts: 0,
            queued: None,
            reused: false,
            lookup: None,
            handshake: None,
            via: None,
            status: None,
            first_byte: None,
            received: 0,
            details: None,
            spans: [None; Stage::ALL.len()],
        }))))
    }

    /// What is known so far; absent for a record that records nothing.
    #[must_use]
    pub fn timings(&self) -> Option<Timings> {
        self.0.as_ref().map(|timings| timings.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Timings)) {
        if let Some(timings) = &self.0 {
            change(&mut timings.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// One exchange on its way through the stages: its deadlines, its record, and where its figures are added up.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Its number among the session's; that of the exchange which a connection is opened for.
    number: u64,
    pub(crate) arrived: Instant,
    /// From arrival to the last byte of the body.
    pub(crate) total: Option<Deadline>,
    pub(crate) record: Record,
    pub(crate) counters: Arc<Counters>,
    /// Where it goes, if somebody wants to hear of it.
    route: Option<Arc<Route>>,
    /// The connection that it is on; 0 while it is on none.
    connection: AtomicU64,
    /// True if an earlier exchange had opened that one.
    reused: AtomicBool,
    /// How often the request went to a connection.
    attempts: AtomicU32,
    /// How long the head of the answer took, in nanoseconds.
    waited: AtomicU64,
    /// True once its end has been told; from the start where it is the opening of a connection.
    told: AtomicBool,
}

impl Exchange {
    /// A request has come.
    pub(crate) fn begin(record: Record, counters: &Arc<Counters>) -> Self {
        let exchange = Self::numbered(counters.number(), record, counters);
        exchange.tell(Signal::Began);
        exchange
    }

    fn numbered(number: u64, record: Record, counters: &Arc<Counters>) -> Self {
        Self {
            number,
            arrived: Instant::now(),
            total: None,
            record,
            counters: Arc::clone(counters),
            route: None,
            connection: AtomicU64::new(0),
            reused: AtomicBool::new(false),
            attempts: AtomicU32::new(0),
            waited: AtomicU64::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// It is to end by `total` after its arrival.
    pub(crate) fn end_after(&mut self, total: Timeout) {
        self.total = Deadline::after(self.arrived, total.0, "total", Kind::TotalTimeout);
    }

    /// Waits for a part of a stage that is not booked on its own, until the exchange's deadline.
    pub(crate) async fn within<T>(
        &self,
        stage: Stage,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.total {
            Some(total) => timeout_at(total.at, work).await.unwrap_or_else(|_| Err(total.error(stage))),
            None => work.await,
        }
    }

    /// Books a stage that has ended.
    pub(crate) fn passed(&self, stage: Stage, start: Instant, failed: bool) {
        let end = Instant::now();
        let took = end.saturating_duration_since(start);
        self.counters.ran(stage, took, failed);
        self.record.update(|timings| timings.mark(stage, start, end));
        self.reached(stage, took, failed);
    }
}

/// What all exchanges of a session took together, since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Exchanges that came.
    pub exchanges: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Exchanges over a connection that an earlier one had opened.
    pub reused: u64,
    /// Idle connections closed to make room for another route, or because a limit was lowered.
    pub evicted: u64,
    /// Names, methods and addresses that egress refused, or would have refused under `egress.mode = "enforce"`.
    pub denied: u64,
    /// Connections opened to an address that had expired, because asking for it anew failed (`dns.stale_if_error`).
    pub stale: u64,
    /// Policies put in the place of another.
    pub swapped: u64,
    /// TLS connections to servers that did not have to prove who they are (`tls.verify = false`).
    pub unverified: u64,
    /// Requests that were sent again, each time: on another connection, or after a status (`[retry]`).
    pub retried: u64,
    /// Streams of events that came all at once, after a long silence.
    pub buffered: u64,
    /// Open sockets now: connecting, active, idle and closing.
    pub open: usize,
    /// Idle connections now.
    pub idle: usize,
    /// Requests waiting for a connection now.
    pub waiting: usize,
    stages: [Share; Stage::ALL.len()],
    closed: [u64; Closed::ALL.len()],
    failed: BTreeMap<(Stage, &'static str), u64>,
}

/// A stage's share of all exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How often the stage ran.
    pub runs: u64,
    /// How often it failed.
    pub failures: u64,
    /// The time it took, all runs together.
    pub time: Duration,
}

impl Figures {
    /// A stage's share.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Share {
        self.stages[stage as usize]
    }

    /// Connections that the session let go of for this reason.
    #[must_use]
    pub fn closed(&self, reason: Closed) -> u64 {
        self.closed[reason.index()]
    }

    /// Failed exchanges, by the stage and the word of the kind of their errors, where there were any.
    pub fn failures(&self) -> impl Iterator<Item = (Stage, &'static str, u64)> {
        self.failed.iter().map(|((stage, kind), count)| (*stage, *kind, *count))
    }
}

/// The counters behind [`Figures`]: a copy for each of the threads at work, added up when somebody asks. A line of memory
/// that all threads write to would cost an exchange more than all its stages' helpers together.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    tallies: [Tally; COPIES],
    pub(crate) listeners: Listeners,
    /// Failed exchanges by stage and kind: rare enough for a lock.
    failed: Mutex<BTreeMap<(Stage, &'static str), u64>>,
}

/// More threads than this share copies.
const COPIES: usize = 16;

/// One thread's counters, on cache lines of their own (in pairs: processors fetch two at a time).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    pub(crate) exchanges: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) reused: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) swapped: AtomicU64,
    pub(crate) unverified: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) buffered: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    stages: [StageTally; Stage::ALL.len()],
}

#[derive(Debug, Default)]
struct StageTally {
    lengths: Buckets,
    failures: AtomicU64,
    nanos: AtomicU64,
}

impl Counters {
    /// Counts one.
    pub(crate) fn add(&self, counter: impl FnOnce(&Tally) -> &AtomicU64) {
        counter(&self.tallies[thread()]).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an exchange, and numbers it: the copies' own counts, interleaved, are numbers that no two exchanges share.
    fn number(&self) -> u64 {
        let copy = thread();
        let before = self.tallies[copy].exchanges.fetch_add(1, Ordering::Relaxed);
        before * COPIES as u64 + copy as u64 + 1
    }

    pub(crate) fn ran(&self, stage: Stage, time: Duration, failed: bool) {
        let StageTally { lengths, failures, nanos } = &self.tallies[thread()].stages[stage as usize];
        lengths.add(time);
        if failed {
            failures.fetch_add(1, Ordering::Relaxed);
        }
        if !time.is_zero() {
            nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let sum = |counter: &dyn Fn(&Tally) -> &AtomicU64| {
            self.tallies.iter().map(|tally| counter(tally).load(Ordering::Relaxed)).sum()
        };
        let mut closed = [0; Closed::ALL.len()];
        for (index, count) in closed.iter_mut().enumerate() {
            *count = sum(&|tally| &tally.closed[index]);
        }
        Figures {
            exchanges: sum(&|tally| &tally.exchanges),
            opened: sum(&|tally| &tally.opened),
            reused: sum(&|tally| &tally.reused),
            evicted: 0,
            stale: sum(&|tally| &tally.stale),
            swapped: sum(&|tally| &tally.swapped),
            unverified: sum(&|tally| &tally.unverified),
            denied: sum(&|tally| &tally.denied),
            retried: sum(&|tally| &tally.retried),
            buffered: sum(&|tally| &tally.buffered),
            open: 0,
            idle: 0,
            waiting: 0,
            stages: Stage::ALL.map(|stage| Share {
                runs: self.lengths(stage).iter().sum(),
                failures: sum(&|tally| &tally.stages[stage as usize].failures),
                time: Duration::from_nanos(sum(&|tally| &tally.stages[stage as usize].nanos)),
            }),
            closed,
            failed: self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// How often a stage ran, by how long it took.
    fn lengths(&self, stage: Stage) -> [u64; BUCKETS] {
        let mut sums = [0; BUCKETS];
        self.tallies.iter().for_each(|tally| tally.stages[stage as usize].lengths.add_to(&mut sums));
        sums
    }
}

/// The copy of the thread that asks.
fn thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    THREAD.with(|thread| thread % COPIES)
}
