//! Bodies: what a request carries, and the guard of what comes back.
//!
//! The answer's body is the last stage. While it is read it watches the silence (`body.timeout`), the size
//! (`body.max_response`) and the exchange's deadline; its end gives the connection back, and anything else closes
//! it, or resets its stream where others share it. A body that stops before its end is an error, never an end.

mod buffered;
mod silence;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{Instant, Sleep};
use tracing::Span;

use crate::error::{BoxError, Error, Kind};
use crate::monitor::{Closed, Exchange, Signal};
use crate::policy::Policy;
use crate::policy::units::{Size, Timeout};
use crate::pool::Lease;
use crate::route::Route;
use crate::stage::{Deadline, Stage};
use crate::{stage, wire};
use buffered::Watch;
use silence::Comments;

/// The body of a request: nothing, bytes, or a stream of them.
///
/// Bytes go out in one write, over HTTP/1.1, and can be sent again where that is provably harmless; a stream can do neither.
#[derive(Default)]
pub struct RequestBody(pub(crate) Content);

#[derive(Default)]
pub(crate) enum Content {
    #[default]
    Empty,
    Full(Bytes),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl RequestBody {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Content::Empty)
    }

    /// A body that is whole.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Content::Full(bytes.into()))
    }

    /// A body that comes in pieces. Its error ends the exchange and is the source of the session's own.
    #[must_use]
    pub fn stream<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Content::Stream(body.map_err(Into::into).boxed_unsync()))
    }
}

/// What a transport reads.
impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let content = &mut self.get_mut().0;
        match content {
            Content::Stream(body) => Pin::new(body).poll_frame(context),
            Content::Full(_) | Content::Empty => Poll::Ready(match std::mem::take(content) {
                Content::Full(bytes) if !bytes.is_empty() => Some(Ok(Frame::data(bytes))),
                Content::Full(_) | Content::Empty | Content::Stream(_) => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Empty => true,
            Content::Full(bytes) => bytes.is_empty(),
            Content::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.0 {
            Content::Empty => "RequestBody(empty)",
            Content::Full(_) => "RequestBody(full)",
            Content::Stream(_) => "RequestBody(stream)",
        })
    }
}

/// The body of an answer. Its end gives the connection back; dropping it before its end closes the connection, or resets the
/// stream where others share that, unless
/// what is left is short and comes at once.
#[derive(Debug)]
pub struct ResponseBody {
    /// Absent once the body has failed: hyper reads a connection on for as long as somebody holds its body.
    inner: Option<Raw>,
    /// Absent once the body has ended, one way or the other.
    open: Option<Box<Open>>,
}

/// The bytes of an answer's body, as they come.
#[derive(Debug)]
pub(crate) enum Raw {
    /// From a connection of ours.
    Wire(Incoming),
    /// From a transport.
    Lent(UnsyncBoxBody<Bytes, BoxError>),
}

/// What brings an answer's body.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// A connection of ours, given back at the body's end.
    Connection(Lease),
    /// A transport, whose connections are its own business.
    Transport(Arc<Route>),
}

/// What an unfinished body holds.
#[derive(Debug)]
struct Open {
    carrier: Carrier,
    /// Whether the carrier is a connection that can carry another exchange.
    reusable: bool,
    /// Why it cannot.
    closes_for: Closed,
    exchange: Exchange,
    began: Instant,
    idle: Option<Duration>,
    idle_name: &'static str,
    max: u64,
    received: u64,
    comments: Option<Comments>,
    /// Present while a stream of events may turn out to have been held back.
    watch: Option<Watch>,
    span: Span,
    /// When the reader began to wait for what has not come yet.
    silent_since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// Guards the body behind `headers`. `total` becomes `stream_total` where they announce a stream.
    ///
    /// # Errors
    /// A length that is larger than `body.max_response`.
    pub(crate) fn new(
        headers: &HeaderMap,
        inner: Raw,
        mut carrier: Carrier,
        persistence: wire::Persistence,
        mut exchange: Exchange,
        policy: &Policy,
        between_bytes: Option<Duration>,
    ) -> Result<Self, Error> {
        let Settings { timeout, max_request: _, max_response } = &policy.body;
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let Some(length) = length.filter(|length| *length > max_response.0) {
            if let (Carrier::Connection(lease), Raw::Wire(inner)) = (carrier, inner) {
                lease.abandon(inner, false);
            }
            return Err(exchange.failed(too_large(length, max_response.0).after_sending()));
        }
        let (events, stream) = stream_kind(headers);
        if stream {
            exchange.total =
                Deadline::after(exchange.arrived, policy.stream_total.0, "stream_total", Kind::TotalTimeout);
        }
        let (idle, idle_name) = match (timeout.0, between_bytes) {
            (Some(policy), Some(caller)) if caller < policy => (Some(caller), "between-bytes-timeout"),
            (Some(policy), _) => (Some(policy), "body.timeout"),
            (None, caller) => (caller, "between-bytes-timeout"),
        };
        if let (Carrier::Connection(lease), Some(life)) = (&mut carrier, persistence.idle_life) {
            lease.shorten_idle_life(life);
        }
        let open = Open {
            carrier,
            reusable: persistence.reusable && !policy.pool.force_close,
            closes_for: if persistence.reusable { Closed::Policy } else { Closed::Peer },
            began: Instant::now(),
            idle,
            idle_name,
            max: max_response.0,
            received: 0,
            comments: events.then(Comments::default),
            watch: events.then(|| Watch::new(exchange.waited(), headers)),
            span: Stage::Body.span(&exchange),
            silent_since: None,
            alarm: None,
            exchange,
        };
        let ended = inner.is_end_stream();
        let mut body = Self { inner: Some(inner), open: Some(Box::new(open)) };
        if ended {
            body.end();
        }
        Ok(body)
    }

    fn end(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        open.exchange.passed(Stage::Body, open.began, false);
        if let Some(watch) = &open.watch
            && let Some(held) = watch.ended()
        {
            watch.tell(held, &open.exchange, open.carrier.route());
        }
        open.ends(true);
        open.closes_for(open.closes_for);
        // What holds a stream of HTTP/2, for as long as its peer may think so.
        self.inner = None;
        if let (Carrier::Connection(lease), true) = (open.carrier, open.reusable) {
            lease.finish();
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        let inner = self.inner.take();
        let Some(mut open) = self.open.take() else { return error };
        open.exchange.passed(Stage::Body, open.began, true);
        open.closes_for(Closed::Error);
        open.finish();
        let elapsed = open.exchange.arrived.elapsed();
        let error = match &open.carrier {
            Carrier::Connection(lease) => lease.explain(error),
            Carrier::Transport(_) => error,
        };
        let error = open.exchange.failed(match open.carrier.route() {
            Some(route) => error.after_sending().at(route.origin(), elapsed),
            None => error.after_sending(),
        });
        if let (Carrier::Connection(lease), Some(Raw::Wire(inner))) = (open.carrier, inner) {
            lease.abandon(inner, false);
        }
        error
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let (Some(inner), Some(open)) = (&mut this.inner, &mut this.open) else { return Poll::Ready(None) };
        let polled = inner.poll_frame(context);
        let result = match polled {
            Poll::Pending => match open.poll_alarm(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(error) => Err(error),
            },
            Poll::Ready(_) if open.exchange.total.is_some_and(|total| Instant::now() >= total.at) => Err(open.late()),
            Poll::Ready(Some(Ok(frame))) => open.take(&frame).map(|()| Some(frame)),
            Poll::Ready(Some(Err(error))) => Err(cut(error)),
            Poll::Ready(None) => Ok(None),
        };
        Poll::Ready(match result {
            Ok(Some(frame)) => {
                if inner.is_end_stream() {
                    this.end();
                }
                Some(Ok(frame))
            }
            Ok(None) => {
                this.end();
                None
            }
            Err(error) => Some(Err(this.fail(error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Raw::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Raw::size_hint)
    }
}

impl Raw {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Wire(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Lent(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Wire(body) => body.is_end_stream(),
            Self::Lent(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Wire(body) => body.size_hint(),
            Self::Lent(body) => body.size_hint(),
        }
    }
}

impl Carrier {
    /// Where the answer comes from; absent once its connection has been given back.
    fn route(&self) -> Option<&Route> {
        match self {
            Self::Connection(lease) => lease.route(),
            Self::Transport(route) => Some(route),
        }
    }
}

impl Open {
    /// Books a frame that has come.
    fn take(&mut self, frame: &Frame<Bytes>) -> Result<(), Error> {
        let Some(data) = frame.data_ref() else { return Ok(()) };
        let first = self.received == 0;
        self.received += data.len() as u64;
        let received = self.received;
        self.exchange.record.update(|timings| {
            timings.received = received;
            if first {
                timings.first_byte = Some(timings.arrived.elapsed());
            }
        });
        self.exchange.tell(Signal::BodyChunk { bytes: data.len() as u64 });
        if self.watch.as_mut().is_some_and(|watch| !watch.takes(data)) {
            self.watch = None;
        }
        if received > self.max {
            return Err(too_large(received, self.max));
        }
        if self.comments.as_mut().is_none_or(|comments| comments.progress(data)) {
            self.silent_since = None;
        }
        Ok(())
    }

    /// Waits for the first of the deadlines while nothing comes; ready with what passed.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        self.watch.iter_mut().for_each(Watch::waits);
        let idle = Deadline::after(since, self.idle, self.idle_name, Kind::ReadTimeout);
        let Some(first) = Deadline::earliest(idle, self.exchange.total) else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(first.at)));
        if alarm.deadline() != first.at {
            alarm.as_mut().reset(first.at);
        }
        alarm.as_mut().poll(context).map(|()| first.error(Stage::Body))
    }

    /// Tells that the body is over: read to its end, or let go of.
    fn ends(&self, whole: bool) {
        self.exchange.body_ended(self.received, whole);
        self.finish();
    }

    fn finish(&self) {
        self.span.record("bytes", self.received);
        stage::finish(&self.span, self.began, self.exchange.is_reused());
    }

    /// Says why the connection closes, if it is not given back.
    fn closes_for(&mut self, reason: Closed) {
        if let Carrier::Connection(lease) = &mut self.carrier {
            lease.closes_for(reason);
        }
    }

    fn late(&self) -> Error {
        let late = self.exchange.total.map(|total| total.error(Stage::Body));
        late.unwrap_or_else(|| Error::new(Stage::Body, Kind::TotalTimeout, "the deadline passed"))
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        open.exchange.passed(Stage::Body, open.began, false);
        open.ends(false);
        if let (Carrier::Connection(lease), Some(Raw::Wire(inner))) = (open.carrier, self.inner.take()) {
            lease.abandon(inner, open.reusable);
        }
    }
}

/// Gives up an answer of which nothing has been read: what is short is read to its end, so that its connection is kept; else
/// it is closed, or the stream reset where others share it, as it is where the request has not been sent yet.
pub(crate) fn forgo(answer: Response<Incoming>, mut lease: Lease, policy: &Policy) {
    let (mut head, body) = answer.into_parts();
    let persistence = wire::receive(head.version, &mut head.headers);
    if let Some(life) = persistence.idle_life {
        lease.shorten_idle_life(life);
    }
    let sending = lease.is_sending();
    lease.abandon(body, persistence.reusable && !policy.pool.force_close && !sending);
}

/// Whether the answer is a stream of server-sent events, and whether it is a stream at all.
fn stream_kind(headers: &HeaderMap) -> (bool, bool) {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is = |word: &str| kind.eq_ignore_ascii_case(word);
    let events = is("text/event-stream");
    (events, events || is("application/x-ndjson") || is("application/vnd.amazon.eventstream"))
}

fn too_large(length: u64, max: u64) -> Error {
    let message = format!("the answer of {length} bytes or more is larger than `body.max_response` of {max} bytes");
    Error::new(Stage::Body, Kind::ResponseTooLarge(length), message).with_hint("raise `body.max_response`")
}

fn cut(error: BoxError) -> Error {
    Error::new(Stage::Body, Kind::Incomplete, "the answer was cut before its end").with_source(error)
}

/// `[body]`: the answer's body, and the size of both.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The longest silence while the body is being read; a reader that does not read does not trip it. Default 120 s.
    pub timeout: Timeout,
    /// The largest request body. Default 32 MiB.
    pub max_request: Size,
    /// The largest answer. Default 1 GiB.
    pub max_response: Size,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout: Timeout::seconds(120), max_request: Size::mib(32), max_response: Size::mib(1024) }
    }
}
