//! The access log: a line for each request, on stdout.
//!
//! A line begins with its request and is written when the last of the answer is told, or the client has gone. Invariant: no
//! header, no query, no body and no key is in it, and a reader of the log that stands still holds no request up.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::keys::Key;
use super::refusal::Refusal;
use super::settings::Log;
use crate::runtime::CallError;

/// Lines that may wait for whoever reads them.
const BACKLOG: usize = 4096;

/// Where lines go. Dropping it waits until they are written.
#[derive(Debug)]
pub(super) struct Writer {
    form: Log,
    lines: Option<SyncSender<String>>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(form: Log) -> Self {
        let lost = Arc::new(AtomicU64::new(0));
        let (lines, thread) = match form {
            Log::Off => (None, None),
            Log::Text | Log::Json => {
                let (lines, told) = sync_channel(BACKLOG);
                let missed = Arc::clone(&lost);
                let thread = std::thread::Builder::new().name("access-log".to_owned());
                (Some(lines), thread.spawn(move || write(&told, &missed)).ok())
            }
        };
        Self { form, lines, lost, thread }
    }

    /// The line of a request that has come.
    pub(super) fn line(&self, head: &Parts, id: &HeaderValue, peer: Option<SocketAddr>) -> Line {
        let entry = self.lines.as_ref().map(|lines| {
            Box::new(Entry {
                form: self.form,
                lines: lines.clone(),
                lost: Arc::clone(&self.lost),
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
            })
        });
        Line(entry)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

/// Writes lines, for as long as there is somebody who tells them.
fn write(lines: &Receiver<String>, lost: &AtomicU64) {
    let mut out = std::io::stdout();
    while let Ok(line) = lines.recv() {
        let mut pending = line;
        while let Ok(more) = lines.try_recv() {
            pending.push_str(&more);
        }
        // Nobody reads: the server goes on all the same.
        let _ = out.write_all(pending.as_bytes()).and_then(|()| out.flush());
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!("{lost} lines of the access log are lost: stdout is not read as fast as they come");
        }
    }
}

/// The line of one request; written when it is dropped. Nothing where there is no log.
pub(super) struct Line(Option<Box<Entry>>);

struct Entry {
    form: Log,
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
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
}

/// How an answer ended.
#[derive(Clone, Copy)]
enum End {
    /// To its last byte.
    Whole,
    /// The client went away before.
    Gone,
    /// It broke off.
    Failed,
}

impl Line {
    /// Whose key it is.
    pub(super) fn known(&mut self, key: Option<&Key>) {
        if let Some(entry) = &mut self.0 {
            entry.key = key.map(|key| key.name.clone());
        }
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        if let Some(entry) = &mut self.0 {
            entry.status = Some(status);
        }
    }

    /// Why the component was not asked, or gave no answer: the client is told less.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        if let (Some(entry), Refusal::Call(error)) = (&mut self.0, refusal) {
            entry.why = Some(error.to_string());
        }
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
        if let Some(entry) = &mut self.0 {
            entry.bytes += bytes as u64;
        }
    }

    pub(super) fn failed(&mut self, error: &CallError) {
        if let Some(entry) = &mut self.0 {
            entry.end = End::Failed;
            entry.why = Some(error.to_string());
        }
    }

    pub(super) fn whole(&mut self) {
        if let Some(entry) = &mut self.0
            && !matches!(entry.end, End::Failed)
        {
            entry.end = End::Whole;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let line = match self.form {
            Log::Json => self.json(),
            Log::Text | Log::Off => self.text(),
        };
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Entry {
    fn json(&self) -> String {
        let mut line = json!({
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
        format!(
            "{:.3} {peer} {} {} {status} {}B {:.1}ms key={key} id={id} {}{why}\n",
            seconds(self.at),
            self.method,
            self.path.escape_default(),
            self.bytes,
            milliseconds(self.began.elapsed()),
            self.end.word(),
        )
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }
}

impl End {
    const fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

/// Since 1970.
fn seconds(at: SystemTime) -> f64 {
    let milliseconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    f64::from(u32::try_from(milliseconds / 1000).unwrap_or(u32::MAX)) + f64::from((milliseconds % 1000) as u16) / 1000.0
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}
