//! HTTP/2 (RFC 9113): one connection that many exchanges share.
//!
//! A connection is one task of the pool's: everything that it needs run beside itself runs within it, and ends with it. The
//! peer's bound on streams is told to the pool, which asks for no more: what waits does so in the pool's queue. A stream that
//! the peer says it has not looked at is sent again, elsewhere.

mod heard;
mod resets;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::header::{CONNECTION, HOST};
use http::uri::{Authority, Scheme as UriScheme};
use http::{HeaderValue, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::upload::Began;
use super::{Io, Outgoing, Upload, WireBody};
use crate::error::{Error, Kind};
use crate::policy::units::{Period, Size, Timeout};
use crate::route::Scheme;
use crate::stage::Stage;
use crate::tcp::{self, Before, Idle};
use heard::Heard;
use resets::Live;
pub(crate) use resets::Resets;

/// `wire.h2`: connections that speak HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Exchanges on one connection at once, where the server allows as many. Default 100.
    pub streams: u32,
    /// How often the server is asked whether it is still there while an exchange is under way. Default 20 s; `"off"`.
    pub ping: Timeout,
    /// How long it may take to answer; then the connection, and every exchange on it, has failed. Default 10 s.
    pub ping_timeout: Period,
    /// Bytes of one answer that may be on their way unread. Default 1 MiB. All answers of a connection have as much each,
    /// so that one which nobody reads does not hold up the others.
    pub window: Size,
}

impl Default for Settings {
    fn default() -> Self {
        Self { streams: 100, ping: Timeout::seconds(20), ping_timeout: Period::seconds(10), window: Size::mib(1) }
    }
}

/// The largest window (RFC 9113, section 6.9.1).
const MAX_WINDOW: u64 = (1 << 31) - 1;

impl Settings {
    /// Refuses what the protocol has no room for.
    ///
    /// # Errors
    /// No stream at all, or a window beyond 2^31 - 1 bytes.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.streams == 0 {
            return Err(("wire.h2.streams", "is zero; write 1, or wire.http = \"1\"".to_owned()));
        }
        match self.window.0 > MAX_WINDOW {
            true => Err(("wire.h2.window", format!("is larger than {MAX_WINDOW} bytes, the most that HTTP/2 knows"))),
            false => Ok(()),
        }
    }

    fn window(&self) -> u32 {
        u32::try_from(self.window.0.min(MAX_WINDOW)).unwrap_or(u32::MAX)
    }

    /// Enough for every stream's own.
    fn connection_window(&self) -> u32 {
        let window = self.window.0.saturating_mul(u64::from(self.streams)).clamp(65_535, MAX_WINDOW);
        u32::try_from(window).unwrap_or(u32::MAX)
    }
}

/// Sends requests on one connection; one for each exchange.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Absent once its request has been handed over.
    requests: Option<SendRequest<WireBody>>,
    scheme: UriScheme,
    authority: Authority,
    max_headers: usize,
    resets: Arc<Resets>,
    /// Absent where a connector opened the stream: nobody can look beneath it.
    socket: Option<tcp::Handle>,
    /// Held by each exchange, and by none that only waits for its reset.
    live: Option<Live>,
    parked: Parked,
    began: Began,
    /// The body of its request, where it has one.
    upload: Option<Arc<Upload>>,
}

/// What holds a stream that was given up before its lease had the answer: the lease has it reset.
#[derive(Clone, Default)]
struct Parked(Arc<Mutex<Option<Box<dyn Send>>>>);

impl std::fmt::Debug for Parked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Parked")
    }
}

impl Parked {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn Send>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a connection ready for requests.
pub(super) async fn handshake(
    settings: &super::Settings,
    scheme: Scheme,
    host: &HeaderValue,
    io: Io,
) -> Result<(Requests, Driver), Error> {
    let unwritable = |_| Error::new(Stage::Wire, Kind::RequestInvalid, "the host cannot be written in a URI");
    let authority = Authority::try_from(host.as_bytes()).map_err(unwritable)?;
    let scheme = match scheme {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    };
    let super::Settings { h2, max_headers, max_header_bytes, .. } = settings;
    let ((tasks, started), began) = (mpsc::unbounded_channel(), Began::default());
    let mut builder = Builder::new(Tasks { tasks, began: began.clone() });
    builder
        .timer(TokioTimer::new())
        // Until the server has said how many it takes.
        .initial_max_send_streams(1)
        .initial_stream_window_size(h2.window())
        .initial_connection_window_size(h2.connection_window())
        .max_header_list_size(u32::try_from(max_header_bytes.0).unwrap_or(u32::MAX))
        .max_send_buf_size(UNSENT)
        .keep_alive_interval(h2.ping.0)
        .keep_alive_timeout(h2.ping_timeout.0)
        // What still comes for a stream that was reset is known for what it is: else h2 takes it for an error of the peer's,
        // and many of them for an attack. More than these are not reset in that time.
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .reset_stream_duration(RESET_REMEMBERED);
    let socket = io.handle();
    let handshake = builder.handshake(TokioIo::new(Heard(io))).await;
    let (requests, connection) = handshake.map_err(|error| super::failed(error, "while the connection was set up"))?;
    let (max_headers, resets) = (*max_headers, Arc::new(Resets::new()));
    let requests = Requests {
        requests: Some(requests),
        scheme,
        authority,
        max_headers,
        resets,
        socket,
        live: None,
        parked: Parked::default(),
        began,
        upload: None,
    };
    let driver = Driver {
        connection: Some(connection),
        started,
        tasks: FuturesUnordered::new(),
        most: usize::try_from(h2.streams).unwrap_or(usize::MAX),
        told: 1,
    };
    Ok((requests, driver))
}

impl Requests {
    /// The same connection for one exchange more.
    pub(super) fn share(&self) -> Self {
        let Self { requests, scheme, authority, max_headers, resets, socket, live: _, parked: _, began, upload: _ } =
            self;
        Self {
            requests: requests.clone(),
            scheme: scheme.clone(),
            authority: authority.clone(),
            max_headers: *max_headers,
            resets: Arc::clone(resets),
            socket: socket.clone(),
            live: Some(Live::new(resets)),
            parked: Parked::default(),
            began: began.clone(),
            upload: None,
        }
    }

    /// True if the peer has not closed, as far as the kernel knows. What lies unread in the socket may be its goodbye: the
    /// connection's task is left a moment to read it.
    pub(super) async fn is_there(&self) -> bool {
        let Some(socket) = &self.socket else { return true };
        let begun = Instant::now();
        while socket.idle() == Idle::Bytes && begun.elapsed() < SETTLE {
            tokio::time::sleep(LOOK).await;
        }
        !matches!(socket.before(), Before::Gone)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.requests.as_ref().is_none_or(SendRequest::is_closed)
    }

    /// Hands a request over; absent if one has been. A future that is dropped before it ends leaves its stream to be reset by [`Requests::parked`].
    pub(super) fn send(
        &mut self,
        mut request: Outgoing,
    ) -> Option<impl Future<Output = Result<Response<Incoming>, TrySendError<Outgoing>>> + use<>> {
        let mut requests = self.requests.take()?;
        self.upload = request.body().upload();
        self.address(&mut request);
        let answer: Answer = Box::pin(requests.try_send_request(request));
        Some(Pending { answer: Some(answer), parked: self.parked.clone() })
    }

    /// Puts the origin where HTTP/2 has it (RFC 9113, section 8.3.1), and takes out what it has no word for (8.2.2).
    fn address(&self, request: &mut Outgoing) {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).expect("a prepared request has a path");
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(CONNECTION);
    }

    /// Refuses a head with more fields than `wire.max_headers`; the lease has the stream reset.
    pub(super) fn check(&self, answer: Response<Incoming>) -> Result<Response<Incoming>, Error> {
        match answer.headers().len() > self.max_headers {
            true => {
                *self.parked.lock() = Some(Box::new(answer.into_body()));
                Err(super::too_many_headers().after_sending())
            }
            false => Ok(answer),
        }
    }

    /// What bounds how fast streams of the connection are reset; the exchange is over, but for that.
    pub(super) fn give_up(&mut self) -> Arc<Resets> {
        self.live = None;
        Arc::clone(&self.resets)
    }

    /// Who is to be told of the request's body.
    pub(super) fn began(&self) -> &Began {
        &self.began
    }

    /// The request's body, where more of it may come: its stream is open for as long, whatever has been answered.
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
        self.upload.clone().filter(|upload| !upload.is_over())
    }

    /// The same, once.
    pub(super) fn take_upload(&mut self) -> Option<Arc<Upload>> {
        self.upload.take().filter(|upload| !upload.is_over())
    }

    /// What holds the stream of an exchange that was given up before its lease had the answer.
    pub(super) fn parked(&self) -> Option<Box<dyn Send>> {
        self.parked.lock().take()
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, TrySendError<Outgoing>>> + Send>>;

/// An exchange before the head of its answer.
struct Pending {
    /// Absent once it has ended.
    answer: Option<Answer>,
    parked: Parked,
}

impl Future for Pending {
    type Output = Result<Response<Incoming>, TrySendError<Outgoing>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let answer = std::task::ready!(answer.as_mut().poll(context));
        self.answer = None;
        Poll::Ready(answer)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            *self.parked.lock() = Some(Box::new(answer));
        }
    }
}

/// True if the peer says that it did not look at the request: it refused the stream, or went away before it (RFC 9113,
/// sections 6.8 and 8.7).
pub(super) fn is_unseen(error: &hyper::Error) -> bool {
    super::cause::<h2::Error>(error).is_some_and(|error| {
        error.is_remote()
            && (error.is_go_away() || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)))
    })
}

/// Says in our words what HTTP/2 says in its own; absent for what is not its.
pub(super) fn failed(error: &hyper::Error, when: &str) -> Option<Error> {
    if error.is_timeout() {
        let message = format!("the peer did not answer a ping within `wire.h2.ping_timeout`, {when}");
        return Some(Error::new(Stage::Wire, Kind::Terminated, message));
    }
    let cause = super::cause::<h2::Error>(error)?;
    let reason = cause.reason()?;
    let what = match (cause.is_remote(), cause.is_go_away()) {
        (true, true) => "closed the connection",
        (true, false) => "reset the stream",
        (false, _) => {
            return Some(Error::new(Stage::Wire, Kind::Protocol, format!("the peer broke HTTP/2 {when}: {cause}")));
        }
    };
    let error = Error::new(Stage::Wire, Kind::Terminated, format!("the peer {what} {when}: {}", reason.description()));
    Some(match reason {
        h2::Reason::HTTP_1_1_REQUIRED => error.with_hint("the server wants HTTP/1.1 for this: wire.http = \"1\""),
        _ => error,
    })
}

/// Runs, within the driver, what hyper wants run beside the connection.
#[derive(Clone)]
struct Tasks {
    tasks: mpsc::UnboundedSender<Task>,
    began: Began,
}
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let task: Task = match self.began.take().filter(|upload| !upload.is_over()) {
            Some(upload) => Box::pin(upload.unless_cut(task)),
            None => Box::pin(task),
        };
        // Without a driver there is no connection left that anything could be done for.
        drop(self.tasks.send(task));
    }
}

/// Moves a connection's bytes, and those of all its streams, until it closes.
pub(crate) struct Driver {
    /// Takes requests; absent once it takes no more.
    connection: Option<Connection<TokioIo<Heard<Io>>, WireBody, Tasks>>,
    started: mpsc::UnboundedReceiver<Task>,
    tasks: FuturesUnordered<Task>,
    most: usize,
    /// What the pool was told last.
    told: usize,
}

impl Driver {
    /// Drives the connection until the number of exchanges that it takes has changed; none means that it takes no further
    /// one. Absent once it has closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<usize> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<usize>> {
        loop {
            // What reads from the socket is one of the tasks: it runs first, so that a peer's goodbye is heard before a request
            // is taken that could not be given back; and again, because what it meets, such as the peer's word on streams,
            // wakes nobody.
            for _ in 0..2 {
                self.run(context);
                if let Some(streams) = self.news(context) {
                    return Poll::Ready(Some(streams));
                }
            }
            if self.connection.is_none() && self.tasks.is_empty() {
                return Poll::Ready(None);
            }
            if self.started.is_empty() {
                return Poll::Pending;
            }
        }
    }

    fn run(&mut self, context: &mut Context<'_>) {
        // Without a waker: they are started by what is polled here. And without tokio's budget, at whose end nothing comes.
        while let Ok(task) = self.started.try_recv() {
            self.tasks.push(task);
        }
        while let Poll::Ready(Some(())) = self.tasks.poll_next_unpin(context) {}
    }

    /// How many exchanges the connection takes at once, if that is not what the pool was told last.
    fn news(&mut self, context: &mut Context<'_>) -> Option<usize> {
        let mut streams = 0;
        if let Some(connection) = &mut self.connection {
            match Pin::new(&mut *connection).poll(context) {
                Poll::Pending => streams = connection.current_max_send_streams().clamp(1, self.most),
                Poll::Ready(_) => self.connection = None,
            }
        }
        (std::mem::replace(&mut self.told, streams) != streams).then_some(streams)
    }
}

/// Bytes of one request that may wait for the socket, out of sight.
const UNSENT: usize = 64 << 10;

/// How many streams that were reset are remembered, and for how long.
const RESETS_REMEMBERED: usize = 1024;
const RESET_REMEMBERED: Duration = Duration::from_secs(30);

/// How long a connection's task may take for what lies in its socket before an exchange is begun, and how often is looked.
const SETTLE: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_of_a_connection_has_its_window() {
        let default = Settings::default();
        assert_eq!((default.window(), default.connection_window()), (1 << 20, 100 << 20));
        let large = Settings { window: Size::mib(2000), ..default };
        assert_eq!(large.connection_window(), i32::MAX as u32);
        assert!(large.check().is_ok() && Settings { window: Size::mib(4000), ..default }.check().is_err());
        assert!(Settings { streams: 0, ..default }.check().is_err());
    }
}
