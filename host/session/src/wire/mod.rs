//! HTTP/1.1: one exchange on a leased connection, up to the head of the answer.
//!
//! Runs over `tls`, `proxy` or `tcp`; `body` guards what follows the head. A request leaves with one framing and one `Host`,
//! without anything that belongs to another hop (RFC 9110, section 7.6.1), and bytes that are whole leave in one write. A
//! request that the connection provably never began to write comes back, to be sent on another one; any other failure
//! may have reached the peer, and says so.

mod outgoing;
mod forward;
pub(crate) mod transport;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::error::{Error, Kind};
use crate::policy::units::{Size, Timeout};
use crate::pool::{Lease, SlotId};
use crate::route::{Origin, Route};
use crate::stage::{Deadline, Stage};
use crate::{proxy, tls};
use forward::Forward;
use outgoing::Upload;
pub(crate) use outgoing::{Outgoing, WireBody, prepare};

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
}

impl Default for Settings {
    fn default() -> Self {
        Self { timeout: Timeout::OFF, max_headers: UNALLOCATED_HEADERS, max_header_bytes: Size::kib(64) }
    }
}

/// What HTTP runs over.
#[derive(Debug)]
pub(crate) enum Io {
    Plain(proxy::Stream),
    Tls(Box<TlsStream<proxy::Stream>>),
}

/// Moves a connection's bytes until it closes.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Sends requests on one connection, one at a time.
#[derive(Debug)]
pub(crate) struct Sender {
    requests: http1::SendRequest<WireBody>,
    /// The same for every request, whatever its caller wrote.
    host: HeaderValue,
    /// What a proxy is told that takes requests one by one.
    forward: Option<Forward>,
    fate: Fate,
}

/// Why the connection ended, where hyper told its driver and not the request.
type Fate = Arc<Mutex<Option<hyper::Error>>>;

/// What became of a request.
pub(crate) enum Sent {
    Answered(Response<Incoming>),
    /// Not a byte of it was written: it can be sent again.
    NotSent(Outgoing),
}

/// hyper parses as many header fields as this on its stack. Any other bound costs it two allocations and some 2,400
/// instructions an answer.
const UNALLOCATED_HEADERS: usize = 100;

/// How long a connection that is ready to be used may take to say so.
const READY: Duration = Duration::from_secs(1);

/// Makes a connection ready for requests.
pub(crate) async fn handshake(settings: &Settings, route: &Route, io: Io) -> Result<(Sender, Driver), Error> {
    let mut builder = http1::Builder::new();
    builder.max_header_size(usize::try_from(settings.max_header_bytes.0).unwrap_or(usize::MAX));
    if settings.max_headers != UNALLOCATED_HEADERS {
        builder.max_headers(settings.max_headers);
    }
    let host = host(route.origin())?;
    let forward = route.forwarder().map(|proxy| Forward::new(proxy, &host)).transpose()?;
    let (requests, connection) =
        builder.handshake(TokioIo::new(io)).await.map_err(|error| failed(error, "while the connection was set up"))?;
    let fate = Fate::default();
    let told = Arc::clone(&fate);
    let driver = async move {
        if let Err(error) = connection.await {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    };
    Ok((Sender { requests, host, forward, fate }, Box::pin(driver)))
}

/// `host[:port]`, without the scheme's own port (RFC 9110, section 7.2).
fn host(origin: &Origin) -> Result<HeaderValue, Error> {
    let text = origin.to_string();
    let host = &text[origin.scheme().word().len() + "://".len()..];
    HeaderValue::from_str(host)
        .map_err(|_| Error::new(Stage::Wire, Kind::RequestInvalid, "the host cannot be written in a header"))
}

impl Sender {
    /// Waits until the connection can take a request; false if it has closed, or takes too long to say.
    pub(crate) async fn ready(&mut self) -> Result<bool, Error> {
        if self.requests.is_ready() {
            return Ok(true);
        }
        match timeout(READY, self.requests.ready()).await {
            Ok(Ok(())) => Ok(true),
            Err(_) => Ok(false),
            Ok(Err(_)) => match self.fate() {
                Some(error) => Err(failed(error, "before the request was sent")),
                None => Ok(false),
            },
        }
    }

    fn fate(&self) -> Option<hyper::Error> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Sends one request on the lease, and waits for the head of its answer: at most `first_byte` from when the request has
/// left. Dropping the future closes the connection.
///
/// The request goes to the connection before the future is made: the future need not hold it.
pub(crate) fn exchange<'l>(
    lease: &'l mut Lease,
    mut request: Outgoing,
    first_byte: FirstByte,
) -> impl Future<Output = Result<Sent, Error>> + use<'l> {
    let reused = lease.reused;
    let upload = request.body().upload();
    let handed = lease.sender().map(|sender| {
        request.headers_mut().insert(HOST, sender.host.clone());
        // Else hyper writes no body of unknown length where the method seldom has one, and says nothing.
        if request.body().size_hint().exact().is_none() {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if let Some(forward) = &sender.forward {
            forward.address(&mut request);
        }
        (sender.requests.try_send_request(request), sender)
    });
    async move {
        let (answer, sender) = handed?;
        let mut answer = pin!(answer);
        let answer = first_byte.wait(upload.as_deref(), answer.as_mut()).await?;
        let mut failure = match answer {
            Ok(answer) => return Ok(Sent::Answered(answer)),
            Err(failure) => failure,
        };
        // What is wrong with the request's own body is the caller's to hear, not what hyper made of it.
        if let Some(error) = upload.and_then(|upload| upload.error()) {
            return Err(error);
        }
        let unsent = failure.take_message();
        let sent = unsent.is_none();
        match unsent {
            Some(request) if reused => Ok(Sent::NotSent(request)),
            _ => {
                let error = failed(sender.fate().unwrap_or_else(|| failure.into_error()), "before an answer");
                Err(if sent { error.after_sending() } else { error })
            }
        }
    }
}

/// An exchange that `total` ends has sent its request, or a part of it.
pub(crate) fn out_of_time(error: Error) -> Error {
    if error.kind() == Kind::TotalTimeout { error.after_sending() } else { error }
}

/// The deadline of the answer's first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstByte {
    timeout: Option<Duration>,
    name: &'static str,
}

impl FirstByte {
    /// The shorter of the policy's and the caller's.
    pub(crate) fn new(policy: Timeout, caller: Option<Duration>) -> Self {
        match (policy.0, caller) {
            (Some(policy), Some(caller)) if caller < policy => {
                Self { timeout: Some(caller), name: "first-byte-timeout" }
            }
            (Some(policy), _) => Self { timeout: Some(policy), name: "wire.timeout" },
            (None, caller) => Self { timeout: caller, name: "first-byte-timeout" },
        }
    }

    /// Waits for an answer until then; the time counts from when the whole request has been handed over.
    async fn wait<T>(self, upload: Option<&Upload>, mut answer: Pin<&mut impl Future<Output = T>>) -> Result<T, Error> {
        let Some(timeout) = self.timeout else { return Ok(answer.await) };
        let deadline = async {
            if let Some(upload) = upload {
                upload.ended().await;
            }
            tokio::time::sleep(timeout).await;
        };
        tokio::select! {
            biased;
            answer = &mut answer => Ok(answer),
            () = deadline => Err(self.passed()),
        }
    }

    fn passed(self) -> Error {
        let deadline = Deadline::within(self.timeout, self.name, Kind::ReadTimeout);
        let error = deadline.map(|deadline| deadline.error(Stage::Wire));
        error.unwrap_or_else(|| Error::new(Stage::Wire, Kind::ReadTimeout, "no answer came")).after_sending()
    }
}

/// What the head of an answer says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Persistence {
    /// True if the connection can carry another exchange.
    pub(crate) reusable: bool,
    /// How long the server keeps it idle, less a margin for a request that is on its way.
    pub(crate) idle_life: Option<Duration>,
}

/// What is taken from `Keep-Alive: timeout=`, so that no request meets the server's close.
const MARGIN: Duration = Duration::from_secs(1);

/// Reads what the head says of its connection (RFC 9112, section 9.3), then strips what belongs to this hop alone.
pub(crate) fn receive(version: Version, headers: &mut HeaderMap) -> Persistence {
    let says = |word: &str| words_of_connection(headers).any(|said| said.eq_ignore_ascii_case(word.as_bytes()));
    let kept = if version == Version::HTTP_11 { !says("close") } else { says("keep-alive") };
    let timeout = headers.get("keep-alive").and_then(|value| value.to_str().ok()).and_then(|value| {
        let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
        seconds.trim_matches('"').parse::<u64>().ok().map(Duration::from_secs)
    });
    let idle_life = timeout.map(|timeout| timeout.saturating_sub(MARGIN));
    strip_hop_by_hop(headers);
    Persistence { reusable: kept && idle_life.is_none_or(|life| !life.is_zero()), idle_life }
}

/// Header fields that are for one hop (RFC 9110, section 7.6.1), beside those that `Connection` names.
static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    http::header::TE,
    http::header::TRAILER,
    TRANSFER_ENCODING,
    http::header::UPGRADE,
];

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most heads have none of them: one look at each name costs less than a search for each of nine.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> =
        words_of_connection(headers).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// What the `Connection` fields say, word by word. A word that is none makes no other word unsaid.
fn words_of_connection(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(CONNECTION).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Says in our words what hyper says in its own.
pub(crate) fn failed(error: hyper::Error, when: &str) -> Error {
    if let Some(io) = cause::<io::Error>(&error)
        && let Some(alert) = tls::late_alert(io)
    {
        return alert.with_source(error);
    }
    let (kind, message) = if error.is_parse_too_large() {
        (
            Kind::HeadersTooLarge,
            "the answer's head is larger than `wire.max_headers` and `wire.max_header_bytes` allow".to_owned(),
        )
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

impl Io {
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Plain(stream) => stream.peer(),
            Self::Tls(stream) => stream.get_ref().0.peer(),
        }
    }

    pub(crate) fn slot(&self) -> SlotId {
        match self {
            Self::Plain(stream) => stream.slot(),
            Self::Tls(stream) => stream.get_ref().0.slot(),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_words_say() {
        for (version, pairs, reusable) in [
            (Version::HTTP_11, &[][..], true),
            (Version::HTTP_11, &[("connection", "close")][..], false),
            (Version::HTTP_11, &[("connection", "x, Close")][..], false),
            (Version::HTTP_10, &[][..], false),
            (Version::HTTP_10, &[("connection", "Keep-Alive")][..], true),
            (Version::HTTP_11, &[("keep-alive", "timeout=1")][..], false),
        ] {
            assert_eq!(receive(version, &mut headers(pairs)).reusable, reusable, "{version:?} {pairs:?}");
        }
        let kept = receive(Version::HTTP_11, &mut headers(&[("keep-alive", "timeout=5, max=100")]));
        assert_eq!(kept.idle_life, Some(Duration::from_secs(4)));
    }

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

    #[test]
    fn what_belongs_to_one_hop_is_stripped() {
        let mut map = headers(&[
            ("connection", "x-secret, keep-alive"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic eA=="),
            ("content-type", "text/plain"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("content-type", "text/plain")]));
    }

    #[test]
    fn what_connection_says_is_heard_though_other_bytes_stand_beside_it() {
        let odd = || HeaderValue::from_bytes(b"x-secret, \xff, close").unwrap();
        let mut map = headers(&[("x-secret", "1")]);
        map.insert(CONNECTION, odd());
        assert!(!receive(Version::HTTP_11, &mut map).reusable);
        assert!(map.is_empty(), "{map:?}");
    }
}
