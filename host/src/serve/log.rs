//! The logs on stdout: a line for each request, and, by `egress_log`, one for each exchange that it led to.
//!
//! A line begins with its request and is written when the last of the answer is told, or the client has gone. Invariant: no
//! header, no query, no body and no key is in it, and a reader of the log that stands still holds no request up.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use seaway_session::{Error, Kind};
use serde_json::json;
use tokio::time::Instant;

use super::egress_log;
use super::figures::{End, Figures};
use super::keys::Key;
use super::otel::Trace;
use super::refusal::Refusal;
use super::report::{self, Report};
use super::settings::Log;
use crate::runtime::{CallError, CallRecord};

/// Lines that may wait for whoever reads them.
const BACKLOG: usize = 4096;

/// How long the end of a server waits for whoever reads its last lines.
const LAST: Duration = Duration::from_secs(1);

/// Where lines go. Dropping it waits until those that were told are written.
#[derive(Debug)]
pub(super) struct Writer {
    form: Log,
    /// How exchanges are told of.
    egress: Log,
    to: Option<To>,
    denials: Denials,
    /// Says that the last line is written.
    done: Option<Mutex<Receiver<()>>>,
}

/// The way to the thread that writes.
#[derive(Clone, Debug)]
struct To {
    /// A line, or the end of all.
    lines: SyncSender<Option<String>>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(form: Log, egress: Log) -> Self {
        let (lines, told) = sync_channel(BACKLOG);
        let (finish, done) = sync_channel(1);
        let to = To { lines, lost: Arc::default() };
        let missed = Arc::clone(&to.lost);
        let begun = (form != Log::Off || egress != Log::Off)
            && std::thread::Builder::new()
                .name("log".to_owned())
                .spawn(move || {
                    write(&told, &missed);
                    // The server may have stopped waiting.
                    let _ = finish.send(());
                })
                .is_ok();
        let denials = Denials::default();
        Self { form, egress, to: begun.then_some(to), denials, done: begun.then(|| Mutex::new(done)) }
    }

    /// What a call is to record for its lines.
    pub(super) fn record(&self) -> CallRecord {
        if self.egress == Log::Off { CallRecord::new() } else { CallRecord::detailed() }
    }

    /// The line of a request that has come.
    pub(super) fn line(&self, head: &Parts, id: &HeaderValue, peer: Option<SocketAddr>, figures: &Figures) -> Line {
        Line(Box::new(Entry {
            form: self.form,
            egress: self.egress,
            to: self.to.clone(),
            denials: self.denials.clone(),
            figures: figures.clone(),
            at: SystemTime::now(),
            began: Instant::now(),
            id: id.clone(),
            peer,
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            key: None,
            status: None,
            bytes: 0,
            end: End::Gone,
            why: None,
            error: None,
            report: None,
            record: None,
            trace: None,
        }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Lines that others still hold are not waited for: one of them may be dropped right after this.
        let told = self.to.as_ref().is_some_and(|to| to.lines.try_send(None).is_ok());
        if let Some(done) = self.done.take().filter(|_| told) {
            // A reader that stands still does not keep the process from its end.
            let _ = done.into_inner().unwrap_or_else(PoisonError::into_inner).recv_timeout(LAST);
        }
    }
}

/// Writes lines, up to the end of all.
fn write(lines: &Receiver<Option<String>>, lost: &AtomicU64) {
    let mut out = std::io::stdout();
    while let Ok(Some(mut pending)) = lines.recv() {
        let mut ended = false;
        while let Ok(more) = lines.try_recv() {
            match more {
                Some(more) => pending.push_str(&more),
                None => ended = true,
            }
        }
        // Nobody reads: the server goes on all the same.
        let _ = out.write_all(pending.as_bytes()).and_then(|()| out.flush());
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!("{lost} lines of the log are lost: stdout is not read as fast as they come");
        }
        if ended {
            return;
        }
    }
}

/// Denials that have been a warning. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Denials(Arc<Mutex<BTreeSet<String>>>);

/// So many are remembered; then all are told again.
const DENIALS: usize = 256;

impl Denials {
    /// Warns of a denial, once: whoever denies wants to know what, whether there is a log or not.
    fn tell(&self, error: &Error) {
        if !matches!(error.kind(), Kind::Denied | Kind::AddressDenied(_) | Kind::CredentialDenied) {
            return;
        }
        let denial = format!("denied: {}; {}", error.message(), error.hint().unwrap_or("no policy allows this"));
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= DENIALS {
            told.clear();
        }
        if told.insert(denial.clone()) {
            drop(told);
            tracing::warn!("{denial}");
        }
    }
}

/// The line of one request; counted, and written where there is a log, when it is dropped.
pub(super) struct Line(Box<Entry>);

struct Entry {
    form: Log,
    egress: Log,
    to: Option<To>,
    denials: Denials,
    figures: Figures,
    at: SystemTime,
    began: Instant,
    id: HeaderValue,
    peer: Option<SocketAddr>,
    method: Method,
    path: String,
    key: Option<String>,
    status: Option<StatusCode>,
    bytes: u64,
    end: End,
    why: Option<String>,
    /// What the component says went wrong.
    error: Option<String>,
    report: Option<Report>,
    /// What its call has come to.
    record: Option<CallRecord>,
    trace: Option<Trace>,
}

impl Line {
    /// The trace that ends with it.
    pub(super) fn traced(&mut self, trace: Option<Trace>) {
        self.0.trace = trace;
    }

    /// Whose key it is.
    pub(super) fn known(&mut self, key: Option<&Key>) {
        self.0.key = key.map(|key| key.name.clone());
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.0.status = Some(status);
    }

    /// Why the component was not asked, or gave no answer: the client is told less.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        if let Refusal::Call(error) = refusal {
            self.0.why = Some(error.to_string());
        }
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        self.0.bytes += bytes as u64;
    }

    /// Its call begins.
    pub(super) fn calls(&mut self, record: &CallRecord) {
        self.0.record = Some(record.clone());
        if let Some(trace) = &mut self.0.trace {
            trace.calls(record);
        }
    }

    /// The component's trailers have come.
    pub(super) fn told(&mut self, trailers: Option<&HeaderMap>) {
        let Some(trailers) = trailers else { return };
        if let Some(report) = Report::read(trailers) {
            self.0.report = Some(report);
        }
        if let Some(error) = report::error(trailers) {
            self.0.error = Some(error.to_owned());
        }
    }

    /// How long ago the request's head came.
    pub(super) fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }

    pub(super) fn failed(&mut self, error: &CallError) {
        self.0.end = End::Failed;
        self.0.why = Some(error.to_string());
    }

    pub(super) fn whole(&mut self) {
        if self.0.end != End::Failed {
            self.0.end = End::Whole;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.figures.count(&self.path, self.status, self.end, self.began.elapsed());
        if let Some(report) = &self.report {
            self.figures.sums.add(report, self.status.is_some_and(|status| status.is_success()));
        }
        if let Some(trace) = self.trace.take() {
            trace.end(self.status, self.end, self.key.as_deref(), self.report.as_ref(), self.record.as_ref());
        }
        self.explain();
        let Some(To { lines, lost }) = self.to.clone() else { return };
        let mut line = match self.form {
            Log::Json => self.json(),
            Log::Text => self.text(),
            Log::Off => String::new(),
        };
        if let Some(record) = self.record.as_ref().filter(|_| self.egress != Log::Off) {
            egress_log::write(
                &mut line,
                self.egress,
                self.id(),
                self.at + self.began.elapsed(),
                record,
                self.report.as_ref(),
            );
        }
        if !line.is_empty() && lines.try_send(Some(line)).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Entry {
    /// What the component says went wrong, and what the session says, if it had an error: the client is told less.
    fn explain(&mut self) {
        let told = self.error.take();
        let failed = told.is_some() || self.status.is_some_and(|status| status.is_server_error());
        if !failed || self.why.is_some() {
            return;
        }
        let error = self.record.as_ref().and_then(CallRecord::error);
        if let Some(error) = &error {
            self.denials.tell(error);
        }
        let why = error.map(|error| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        });
        self.why = match (told, why) {
            (Some(told), Some(why)) => Some(format!("{told}: {why}")),
            (told, why) => told.or(why),
        };
    }

    fn json(&self) -> String {
        let mut line = json!({
            "log": "access",
            "time": seconds(self.at),
            "id": self.id(),
            "peer": self.peer.map(|peer| peer.ip().to_string()),
            "method": self.method.as_str(),
            "path": self.path,
            "key": self.key,
            "status": self.status.map(|status| status.as_u16()),
            "bytes": self.bytes,
            "milliseconds": milliseconds(self.began.elapsed()),
            "end": self.end.word(),
            "error": self.why,
            "provider": self.report.as_ref().map(Report::provider),
            "model": self.report.as_ref().map(Report::model),
            "finish": self.report.as_ref().and_then(Report::finish),
            "tokens": self.tokens(),
        })
        .to_string();
        line.push('\n');
        line
    }

    fn text(&self) -> String {
        let peer = self.peer.map_or_else(|| "-".to_owned(), |peer| peer.ip().to_string());
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.as_u16().to_string());
        let (key, id) = (self.key.as_deref().unwrap_or("-"), self.id());
        let why = self.why.as_ref().map(|why| format!(" {why:?}")).unwrap_or_default();
        let report = self.report.as_ref().map(words).unwrap_or_default();
        format!(
            "{:.3} {peer} {} {} {status} {}B {:.1}ms key={key} id={id}{report} {}{why}\n",
            seconds(self.at),
            self.method,
            self.path.escape_default(),
            self.bytes,
            milliseconds(self.began.elapsed()),
            self.end.word(),
        )
    }

    /// By kind; absent where the provider gave no figures.
    fn tokens(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        let tokens = self.report.iter().flat_map(Report::tokens);
        let tokens: serde_json::Map<_, _> = tokens.map(|(kind, count)| (kind.to_owned(), count.into())).collect();
        Some(tokens).filter(|tokens| !tokens.is_empty())
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }
}

/// ` provider=.. model=.. finish=.. prompt=3 completion=5`.
fn words(report: &Report) -> String {
    let mut out = format!(" provider={} model={}", report.provider(), report.model());
    if let Some(finish) = report.finish() {
        out.push_str(&format!(" finish={finish}"));
    }
    report.tokens().for_each(|(kind, count)| out.push_str(&format!(" {kind}={count}")));
    out
}

/// Since 1970.
pub(super) fn seconds(at: SystemTime) -> f64 {
    let milliseconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    f64::from(u32::try_from(milliseconds / 1000).unwrap_or(u32::MAX)) + f64::from((milliseconds % 1000) as u16) / 1000.0
}

pub(super) fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}
