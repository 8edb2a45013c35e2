//! HTTP/1.1 and HTTP/2: one exchange on a leased connection, up to the head of the answer.
//!
//! Runs over `tls`, `proxy` or `tcp`; `body` guards what follows the head. A request leaves with one framing and one `Host`,
//! without anything that belongs to another hop (RFC 9110, section 7.6.1), and bytes that are whole leave in one write over
//! HTTP/1.1. A request that the connection provably never began to write comes back, to be sent on another one; of one that
//! went down with a connection that was used before, `watch` knows what the peer took; any other failure may have reached
//! the peer, and says so.

mod body;
mod first_byte;
mod outgoing;
mod forward;
mod http2;
mod hop;
mod stream;
mod watch;
pub(crate) mod transport;
mod upload;
mod version;

use std::future::Future;
use std::io;

use std::pin::{Pin, pin};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use std::time::Duration;

use futures::future::Either;
use http::Response;
use http::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use tokio::time::timeout;

use crate::error::{Error, Kind};
use crate::policy::units::{Size, Timeout};
use crate::pool::Lease;
use crate::route::{Origin, Route};
use crate::stage::Stage;
use crate::{policy, tls};
pub(crate) use body::WireBody;
pub(crate) use first_byte::FirstByte;
use forward::Forward;
pub(crate) use hop::{Persistence, receive};
pub(crate) use http2::Resets;
pub use http2::Settings as H2;
pub(crate) use outgoing::{Outgoing, prepare};
pub(crate) use stream::Io;
pub(crate) use upload::Upload;
pub use version::Http;
pub(crate) use watch::Ending;
use watch::{Watch, Watched};

/// `[wire]`: the exchange up to the head of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Time to the first byte of the answer, once the request is sent. Default off.
    pub timeout: Timeout,
    /// Header fields of an answer, at most. Default 100, which costs nothing; any other bound is an allocation an answer.
    pub max_headers: usize,
    /// Bytes of an answer's head, at most. Default 64 KiB.
    pub max_header_bytes: Size,
    /// Which HTTP is spoken. Default auto.
    pub http: Http,
    /// Connections that speak HTTP/2.
    pub h2: H2,
}

/// Refuses keys that exclude or need one another.
///
/// # Errors
/// HTTP/2 alone where TLS must not offer it, and what HTTP/2 has no room for.
pub(crate) fn check(settings: &Settings, alpn: &[tls::Alpn]) -> Result<(), policy::Error> {
    if settings.http == Http::Two && !alpn.contains(&tls::Alpn::H2) {
        return Err(policy::Error::key("wire.http", "\"2\" needs \"h2\" in `tls.alpn`"));
    }
    settings.h2.check().map_err(|(key, what)| policy::Error::key(key, what))
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Timeout::OFF,
            max_headers: UNALLOCATED_HEADERS,
            max_header_bytes: Size::kib(64),
            http: Http::Auto,
            h2: H2::default(),
        }
    }
}

/// Moves a connection's bytes until it closes.
pub(crate) enum Driver {
    Http1(Pin<Box<dyn Future<Output = ()> + Send>>),
    Http2(Box<http2::Driver>),
}

impl Driver {
    /// Drives the connection until the number of exchanges that it takes at once has changed, 0 for no further one. Absent
    /// once it has closed. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<usize> {
        match self {
            Self::Http1(connection) => {
                connection.await;
                None
            }
            Self::Http2(connection) => connection.next().await,
        }
    }
}

/// Sends requests on one connection: one at a time, or several where it is shared.
#[derive(Debug)]
pub(crate) struct Sender {
    requests: Requests,
    /// The same for every request, whatever its caller wrote.
    host: HeaderValue,
    /// What a proxy is told that takes requests one by one.
    forward: Option<Forward>,
    fate: Fate,
}

#[derive(Debug)]
enum Requests {
    /// Without requests once it is certain that it takes none.
    Http1(Option<http1::SendRequest<WireBody>>, Arc<Watch>),
    Http2(http2::Requests),
}

/// Why the connection ended, where hyper told its driver and not the request.
type Fate = Arc<Mutex<Option<hyper::Error>>>;

/// What became of a request.
#[expect(clippy::enum_variant_names, reason = "what is not sent is called so")]
pub(crate) enum Sent {
    Answered(Response<Incoming>),
    /// Not a byte of it was written: it can be sent again.
    NotSent(Outgoing),
    /// The connection had been used before, and ended before a byte of the answer.
    Stale(Ending, Error),
    /// The peer says that it has not looked at it.
    Unseen(Error),
}

/// hyper parses as many header fields as this on its stack. Any other bound costs it two allocations and some 2,400
/// instructions an answer.
const UNALLOCATED_HEADERS: usize = 100;

/// How long a connection that is ready to be used may take to say so.
const READY: Duration = Duration::from_secs(1);

/// Makes a connection ready for requests.
pub(crate) async fn handshake(settings: &Settings, route: &Route, io: Io) -> Result<(Sender, Driver), Error> {
    let host = host(route.origin())?;
    let fate = Fate::default();
    if speaks_http2(settings, route, &io)? {
        let (requests, driver) = http2::handshake(settings, route.origin().scheme(), &host, io).await?;
        let requests = Requests::Http2(requests);
        return Ok((Sender { requests, host, forward: None, fate }, Driver::Http2(Box::new(driver))));
    }
    let mut builder = http1::Builder::new();
    builder.max_header_size(usize::try_from(settings.max_header_bytes.0).unwrap_or(usize::MAX));
    if settings.max_headers != UNALLOCATED_HEADERS {
        builder.max_headers(settings.max_headers);
    }
    let forward = route.forwarder().map(|proxy| Forward::new(proxy, &host)).transpose()?;
    let watch = Arc::new(Watch::new(io.handle(), io.is_encrypted()));
    let watched = TokioIo::new(Watched::new(io, Arc::clone(&watch)));
    let (requests, connection) =
        builder.handshake(watched).await.map_err(|error| failed(error, "while the connection was set up"))?;
    let told = Arc::clone(&fate);
    let driver = async move {
        if let Err(error) = connection.await {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    };
    Ok((
        Sender { requests: Requests::Http1(Some(requests), watch), host, forward, fate },
        Driver::Http1(Box::pin(driver)),
    ))
}

/// What the connection was agreed to speak: by ALPN over TLS, by the policy's word without it.
fn speaks_http2(settings: &Settings, route: &Route, io: &Io) -> Result<bool, Error> {
    let agreed = match io {
        Io::Plain(_) => settings.http == Http::Two,
        Io::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(tls::Alpn::H2.word().as_bytes()),
    };
    let what = match (settings.http, agreed, route.forwarder()) {
        (Http::Two, true, Some(_)) => "a proxy that takes http:// requests one by one speaks HTTP/1.1 only",
        (Http::Two, false, _) => "the server did not agree to speak HTTP/2",
        (Http::Auto | Http::One, ..) | (Http::Two, true, None) => return Ok(agreed),
    };
    let hint = "`wire.http` of \"2\" allows nothing else; \"auto\" takes what the server prefers";
    Err(Error::new(Stage::Wire, Kind::Protocol, what).with_hint(hint))
}

/// `host[:port]`, without the scheme's own port (RFC 9110, section 7.2).
fn host(origin: &Origin) -> Result<HeaderValue, Error> {
    let text = origin.to_string();
    let host = &text[origin.scheme().word().len() + "://".len()..];
    HeaderValue::from_str(host)
        .map_err(|_| Error::new(Stage::Wire, Kind::RequestInvalid, "the host cannot be written in a header"))
}

impl Sender {
    /// Waits until the connection can take a request; false if it has closed, or takes too long to say. One that has
    /// `rested` may have closed though its task has not heard of it yet: its socket is asked first.
    pub(crate) async fn ready(&mut self, rested: bool) -> Result<bool, Error> {
        let (requests, watch) = match &mut self.requests {
            Requests::Http1(Some(requests), watch) => (requests, watch),
            Requests::Http1(None, _) => return Ok(false),
            Requests::Http2(requests) => return Ok((!rested || requests.is_there().await) && !requests.is_closed()),
        };
        if rested && !watch.is_there().await {
            return Ok(false);
        }
        if requests.is_ready() {
            return Ok(true);
        }
        match timeout(READY, requests.ready()).await {
            Ok(Ok(())) => Ok(true),
            Err(_) => Ok(false),
            Ok(Err(_)) => match self.fate() {
                Some(error) => Err(failed(error, "before the request was sent")),
                None => Ok(false),
            },
        }
    }

    /// The same connection for another exchange beside this one; absent where it carries one at a time.
    pub(crate) fn share(&self) -> Option<Self> {
        let (requests, host) = (Requests::Http2(self.shared()?.share()), self.host.clone());
        Some(Self { requests, host, forward: None, fate: Fate::default() })
    }

    /// What exchanges share, where they do.
    fn shared(&self) -> Option<&http2::Requests> {
        match &self.requests {
            Requests::Http1(..) => None,
            Requests::Http2(requests) => Some(requests),
        }
    }

    fn shared_mut(&mut self) -> Option<&mut http2::Requests> {
        match &mut self.requests {
            Requests::Http1(..) => None,
            Requests::Http2(requests) => Some(requests),
        }
    }

    /// Ends an exchange of whose answer a part is left: what bounds how fast that may be done on a shared connection.
    pub(crate) fn give_up(&mut self) -> Option<Arc<Resets>> {
        self.shared_mut().map(http2::Requests::give_up)
    }

    /// What holds the stream of an exchange on a shared connection that was given up before its lease had the answer.
    pub(crate) fn parked(&self) -> Option<Box<dyn Send>> {
        self.shared().and_then(http2::Requests::parked)
    }

    /// The body of a request on a shared connection, if more of it may come.
    pub(crate) fn upload(&self) -> Option<Arc<Upload>> {
        self.shared().and_then(http2::Requests::upload)
    }

    /// The same, once.
    pub(crate) fn take_upload(&mut self) -> Option<Arc<Upload>> {
        self.shared_mut().and_then(http2::Requests::take_upload)
    }

    /// True if several exchanges share the connection.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared().is_some()
    }

    /// Hands a request over, watched or not. The future need not hold it.
    ///
    /// Whoever hands one over while the connection closes may find that it lies where nobody looks any more. hyper gives
    /// it back once nothing is left that could hand over more; so this gives up being able to.
    fn send(
        &mut self,
        mut request: Outgoing,
        watched: bool,
    ) -> Result<impl Future<Output = Result<Response<Incoming>, TrySendError<Outgoing>>> + use<>, Error> {
        let spent = || Error::new(Stage::Wire, Kind::Terminated, "the connection takes no more requests");
        let (requests, watch) = match &mut self.requests {
            Requests::Http1(requests, watch) => (requests, watch),
            Requests::Http2(requests) => return requests.send(request).map(Either::Right).ok_or_else(spent),
        };
        request.headers_mut().insert(HOST, self.host.clone());
        // Else hyper writes no body of unknown length where the method seldom has one, and says nothing.
        if request.body().size_hint().exact().is_none() {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        match &self.forward {
            Some(forward) => forward.address(&mut request),
            None => outgoing::unaddress(&mut request),
        }
        if watched {
            watch.begin();
        }
        let open = requests.as_mut().ok_or_else(spent)?;
        let answer = open.try_send_request(request);
        // What closes says so before it looks a last time for what was handed over.
        fence(Ordering::SeqCst);
        if open.is_closed() {
            *requests = None;
        }
        Ok(Either::Left(answer))
    }

    /// What became of a watched request whose connection has ended.
    fn ending(&self) -> Option<Ending> {
        match &self.requests {
            Requests::Http1(_, watch) => watch.ending(),
            Requests::Http2(_) => None,
        }
    }

    fn fate(&self) -> Option<hyper::Error> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Sends one request on the lease, and waits for the head of its answer: at most `first_byte` from when the request has
/// left. Dropping the future ends the exchange. One that is `repeatable` is watched, where the connection was used before.
///
/// The request goes to the connection before the future is made: the future need not hold it.
pub(crate) fn exchange<'l>(
    lease: &'l mut Lease,
    mut request: Outgoing,
    first_byte: FirstByte,
    repeatable: bool,
) -> impl Future<Output = Result<Sent, Error>> + use<'l> {
    let reused = lease.reused;
    let watched = reused && repeatable;
    let sender =
        lease.sender().inspect(|sender| request.body_mut().read_in_pieces(sender.shared().map(http2::Requests::began)));
    let upload = request.body().upload();
    let handed = sender.and_then(|sender| Ok((sender.send(request, watched)?, sender)));
    async move {
        let (answer, sender) = handed?;
        let mut answer = pin!(answer);
        let answer = first_byte.wait(upload.as_deref(), answer.as_mut()).await?;
        let mut failure = match answer {
            Ok(answer) => {
                let answer = match &sender.requests {
                    Requests::Http1(..) => answer,
                    Requests::Http2(requests) => requests.check(answer)?,
                };
                return Ok(Sent::Answered(answer));
            }
            Err(failure) => failure,
        };
        // What is wrong with the request's own body is the caller's to hear, not what hyper made of it.
        if let Some(error) = upload.and_then(|upload| upload.error()) {
            return Err(error);
        }
        let unsent = failure.take_message();
        let sent = unsent.is_none();
        match unsent.filter(|_| reused || sender.is_shared()) {
            Some(request) => {
                // It goes elsewhere, with its body.
                drop(sender.take_upload());
                Ok(Sent::NotSent(request))
            }
            None => {
                let unseen = http2::is_unseen(failure.error());
                let error = failed(sender.fate().unwrap_or_else(|| failure.into_error()), "before an answer");
                let error = if sent && !unseen { error.after_sending() } else { error };
                match sender.ending().filter(|_| watched && sent) {
                    Some(ending) => Ok(Sent::Stale(ending, error)),
                    None if unseen => Ok(Sent::Unseen(error)),
                    None => Err(error),
                }
            }
        }
    }
}

/// An exchange that `total` ends has sent its request, or a part of it.
pub(crate) fn out_of_time(error: Error) -> Error {
    if error.kind() == Kind::TotalTimeout { error.after_sending() } else { error }
}

/// Says in our words what hyper says in its own.
pub(crate) fn failed(error: hyper::Error, when: &str) -> Error {
    if let Some(io) = cause::<io::Error>(&error)
        && let Some(alert) = tls::late_alert(io)
    {
        return alert.with_source(error);
    }
    if let Some(failed) = http2::failed(&error, when) {
        return failed.with_source(error);
    }
    let (kind, message) = if error.is_parse_too_large() {
        return too_many_headers().with_source(error);
    } else if error.is_parse_version_h2() {
        (Kind::Protocol, "the peer answers in HTTP/2, which was not agreed on".to_owned())
    } else if error.is_parse() {
        (Kind::Protocol, "the peer does not answer in HTTP".to_owned())
    } else if let Some(io) = cause::<io::Error>(&error) {
        (Kind::Terminated, format!("the connection failed {when}: {io}"))
    } else {
        (Kind::Terminated, format!("the peer closed the connection {when}"))
    };
    Error::new(Stage::Wire, kind, message).with_source(error)
}

fn too_many_headers() -> Error {
    let message = "the answer's head is larger than `wire.max_headers` and `wire.max_header_bytes` allow";
    Error::new(Stage::Wire, Kind::HeadersTooLarge, message)
}

/// The first error of a type in the chain beneath one.
fn cause<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_written_without_its_schemes_own_port() {
        for (uri, expected) in [
            ("https://A.example./v1?x=1", "a.example"),
            ("https://a.example:443", "a.example"),
            ("http://a.example:8080/", "a.example:8080"),
            ("http://[::1]:80/x", "[::1]"),
        ] {
            assert_eq!(host(&Origin::parse(uri).unwrap()).unwrap(), expected);
        }
    }
}
