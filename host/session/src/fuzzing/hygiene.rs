//! Any request that a guest can make, and the bytes that its origin gets to read.
//!
//! The whole path runs, from [`Session::send`] to hyper, over a pipe that a connector lends: what is judged is what leaves.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{Ready, ready};
use futures::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tower_service::Service;

use super::message::Message;
use crate::policy::{Document, Preset};
use crate::{BoxError, Call, Destinations, Environment, Error, Origin, RequestBody, Session};

/// A request: `METHOD URI [pieces|trailers]`, header fields to an empty line, and a body. With `pieces` the body is
/// streamed, with `trailers` the header fields follow it once more.
///
/// # Panics
/// If what leaves has two framings, not one `Host`, a field of this hop, or anything else that two readers could take for
/// two things; if anything leaves of a request that is refused before it is sent; or if the body arrives otherwise.
pub fn hygiene(input: &[u8]) {
    let Some(request) = request(input) else { return };
    let expected = Expected::of(&request);
    let (sent, left) = BENCH.with(|bench| bench.run(request.build()));
    let message = match Message::read(&left) {
        Ok(message) => message,
        Err(what) => panic!("{what}: {}", String::from_utf8_lossy(&left)),
    };
    match (sent, message) {
        (Ok(()), Some(message)) => {
            assert_eq!(message.length, left.len(), "something behind it: {}", String::from_utf8_lossy(&left));
            expected.judge(&message);
        }
        (Ok(()), None) => panic!("answered before it was whole: {}", String::from_utf8_lossy(&left)),
        (Err(error), message) => {
            super::assert_clean(&error.to_string());
            assert!(message.is_none(), "{error}, and it left whole");
        }
    }
}

/// A request as the input says it.
struct Parts {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    shape: Shape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    Pieces,
    Trailers,
}

/// What the input says; absent where no guest could make such a request.
fn request(input: &[u8]) -> Option<Parts> {
    let mut lines = input.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next()?;
    let mut words = first.trim_ascii_end().split(|byte| *byte == b' ');
    let (method, uri) = (Method::from_bytes(words.next()?).ok()?, Uri::try_from(words.next()?).ok()?);
    let shape = match words.next() {
        Some(b"pieces") => Shape::Pieces,
        Some(b"trailers") => Shape::Trailers,
        _ => Shape::Whole,
    };
    let (mut headers, mut read) = (HeaderMap::new(), first.len());
    for line in lines {
        read += line.len();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = &line[colon + 1..];
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            headers.try_append(name, value).ok()?;
        }
    }
    Some(Parts { method, uri, headers, body: Bytes::copy_from_slice(&input[read..]), shape })
}

impl Parts {
    fn build(self) -> Request<RequestBody> {
        let Self { method, uri, headers, body, shape } = self;
        let body = match shape {
            Shape::Whole => RequestBody::full(body),
            Shape::Pieces | Shape::Trailers => {
                let pieces = body.chunks(7).map(|piece| Frame::data(body.slice_ref(piece)));
                let trailers = (shape == Shape::Trailers).then(|| Frame::trailers(headers.clone()));
                let frames: Vec<_> = pieces.chain(trailers).map(Ok::<_, BoxError>).collect();
                RequestBody::stream(StreamBody::new(stream::iter(frames)))
            }
        };
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        request
    }
}

/// What must be true of what leaves.
struct Expected {
    origin: Option<Origin>,
    method: Method,
    headers: HeaderMap,
    /// What the guest's `Connection` fields name, in lower case.
    nominated: Vec<String>,
    body: Bytes,
}

/// Names that may stand in what leaves though no guest wrote them.
const OURS: [&str; 3] = ["host", "content-length", "transfer-encoding"];
/// What belongs to one hop (RFC 9110, section 7.6.1), beside what frames the message.
const HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "upgrade"];

impl Expected {
    fn of(parts: &Parts) -> Self {
        let named =
            parts.headers.get_all("connection").iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let nominated = named.map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()).collect();
        Self {
            origin: Origin::of(&parts.uri).ok(),
            method: parts.method.clone(),
            headers: parts.headers.clone(),
            nominated,
            body: parts.body.clone(),
        }
    }

    fn judge(&self, message: &Message) {
        let Self { origin, method, headers, nominated, body } = self;
        let origin = origin.as_ref().expect("nothing leaves for nowhere").to_string();
        let hosts: Vec<&[u8]> = message.all("host").collect();
        assert_eq!(hosts, [origin.split_once("://").map_or("", |(_, host)| host).as_bytes()]);
        assert_eq!(message.method, method.as_str());
        let target = &message.target;
        assert!(target.starts_with('/') && target.bytes().all(|byte| byte > b' ' && byte != 0x7f), "{target:?}");
        assert_eq!(message.body, *body);
        for (name, _) in message.fields.iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
            assert!(!HOP.contains(&name.as_str()), "{name} belongs to one hop");
            // What may follow the body is ours to announce; hyper keeps back what has no place there.
            let announces = name == "trailer" && message.all("transfer-encoding").next().is_some();
            assert!(!nominated.contains(name) || announces, "`Connection` nominated {name}");
            assert!(headers.contains_key(name.as_str()) || announces, "{name} comes from nowhere");
        }
        for (name, _) in &message.trailers {
            assert!(!HOP.contains(&name.as_str()) && !OURS.contains(&name.as_str()), "{name} has no place in trailers");
            assert!(!nominated.contains(name) && headers.contains_key(name.as_str()), "{name} in trailers");
        }
    }
}

thread_local! {
    static BENCH: Bench = Bench::new();
}

/// A session, the runtime that it lives on, and the far end of the pipe that it opened last.
struct Bench {
    runtime: Runtime,
    session: Session,
    pipes: Pipes,
}

const POLICY: &str = "tls.roots = 'webpki'\npool.isolation = 'call'\nmonitor.redact = ['x-api-key']\n\
    egress.methods = ['GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'PATCH']\n\
    egress.allow = ['http://*.test', 'http://a.test:8080', 'http://10.1.2.3', 'http://[fd00::1]']";

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let policy = Document::parse("seaway.toml".as_ref(), POLICY).and_then(|file| file.policy(Preset::Default, &[]));
        let (policy, _) = policy.expect("the policy is right");
        let pipes = Pipes::default();
        let session = Session::connecting(policy, &Environment::default(), Destinations::default(), pipes.clone())
            .expect("a session");
        Self { runtime, session, pipes }
    }

    /// What came of the request, and every byte of it that left.
    fn run(&self, request: Request<RequestBody>) -> (Result<(), Error>, Vec<u8>) {
        self.runtime.block_on(async {
            drop(self.pipes.take());
            let mut sent = pin!(self.session.send(request, Call::default()));
            let (mut left, mut far) = (Vec::new(), None::<DuplexStream>);
            let answered = loop {
                let hears = async {
                    loop {
                        if far.is_none() {
                            far = self.pipes.take();
                        }
                        match &mut far {
                            Some(far) => break drop(far.read_buf(&mut left).await),
                            None => tokio::task::yield_now().await,
                        }
                    }
                };
                tokio::select! {
                    biased;
                    answered = &mut sent => break answered,
                    () = hears => {}
                }
                if let (Ok(Some(_)) | Err(_), Some(far)) = (Message::read(&left), &mut far) {
                    drop(far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await);
                    break sent.await;
                }
            };
            // Its connection goes with the answer: what was still to leave has left then.
            let answered = answered.map(drop);
            if let Some(mut far) = far.or_else(|| self.pipes.take()) {
                drop(far.read_to_end(&mut left).await);
            }
            (answered, left)
        })
    }
}

/// Opens pipes; the far end of the last one lies here.
#[derive(Clone, Default)]
struct Pipes(Arc<Mutex<Option<DuplexStream>>>);

impl Pipes {
    fn take(&self) -> Option<DuplexStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Service<Uri> for Pipes {
    type Response = DuplexStream;
    type Error = io::Error;
    type Future = Ready<io::Result<DuplexStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (near, far) = duplex(64 * 1024);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(far);
        ready(Ok(near))
    }
}
