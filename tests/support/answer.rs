//! Scripted answers: what an origin writes, when, and what it does then.
//!
//! Pauses are gates that the test opens, never sleeps, so that a test decides the order of events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::request::Request;

/// What an origin does with a request.
pub struct Script {
    pub(crate) answer: Box<dyn Fn(&Request) -> Answer + Send + Sync>,
    /// True if the answer begins once the head is there, and the body is never read.
    pub(crate) at_head: bool,
}

impl Script {
    /// Answers when the head is complete, and never reads the body.
    #[must_use]
    pub fn at_head(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self { answer: Box::new(answer), at_head: true }
    }
}

impl<F: Fn(&Request) -> Answer + Send + Sync + 'static> From<F> for Script {
    fn from(answer: F) -> Self {
        Self { answer: Box::new(answer), at_head: false }
    }
}

/// A place where an origin waits for the test.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A gate that lets nobody pass yet.
    #[must_use]
    pub fn shut() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets `times` pass, now or later.
    pub fn open(&self, times: usize) {
        self.0.add_permits(times);
    }

    pub(crate) async fn pass(&self) {
        self.0.acquire().await.expect("a gate is never closed").forget();
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(Bytes),
    Wait(Gate),
}

/// What follows an answer's last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request.
    Keep,
    /// The connection is closed; over TLS, with close_notify.
    Close,
    /// The socket is closed; over TLS, without close_notify.
    Drop,
    /// The connection is reset.
    Reset,
    /// Nothing, until the peer closes.
    Hang,
    /// The next request, if its first byte comes within so long; else the socket is closed.
    CloseIn(Duration),
    /// The same; else the socket is closed for writing, and read on.
    HalfCloseIn(Duration),
    /// Nothing, whatever the peer does: the socket stays open and unread while the origin lives.
    Ignore,
}

/// An answer: steps, and what follows.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) steps: Vec<Step>,
    pub(crate) then: Then,
}

impl Answer {
    /// No byte at all; then what [`Answer::then`] says, else nothing until the peer closes.
    #[must_use]
    pub fn none() -> Self {
        Self { steps: Vec::new(), then: Then::Hang }
    }

    /// These bytes, whatever they are.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { steps: vec![Step::Write(bytes.into())], then: Then::Keep }
    }

    /// 200 with a length.
    #[must_use]
    pub fn ok(body: &str) -> Self {
        Self::whole("200 OK", &[], body)
    }

    /// A status line, header fields, a length and a body.
    #[must_use]
    pub fn whole(status: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        Self::raw(format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n{body}", body.len()))
    }

    /// 200 in chunks, each written by itself.
    #[must_use]
    pub fn chunked(headers: &[(&str, &str)], pieces: &[&str]) -> Self {
        let body = pieces.iter().fold(Self::head_of_chunks(headers), |answer, piece| answer.write(chunk(piece)));
        body.write("0\r\n\r\n")
    }

    /// The head of an answer in chunks.
    #[must_use]
    pub fn head_of_chunks(headers: &[(&str, &str)]) -> Self {
        let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        Self::raw(format!("HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n"))
    }

    /// Server-sent events, `count` of them; each waits at the gate.
    #[must_use]
    pub fn events(gate: &Gate, count: usize) -> Self {
        let head = Self::head_of_chunks(&[("content-type", "text/event-stream")]);
        let all = (0..count).fold(head, |answer, index| answer.wait(gate).write(chunk(&format!("data: {index}\n\n"))));
        all.write("0\r\n\r\n")
    }

    /// Writes more.
    #[must_use]
    pub fn write(mut self, bytes: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Write(bytes.into()));
        self
    }

    /// Waits at the gate before it goes on.
    #[must_use]
    pub fn wait(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Wait(gate.clone()));
        self
    }

    /// The same answer, once the gate lets it pass.
    #[must_use]
    pub fn after(mut self, gate: &Gate) -> Self {
        self.steps.insert(0, Step::Wait(gate.clone()));
        self
    }

    /// What follows the last byte.
    #[must_use]
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

/// One chunk with its framing.
#[must_use]
pub fn chunk(piece: &str) -> String {
    format!("{:x}\r\n{piece}\r\n", piece.len())
}
