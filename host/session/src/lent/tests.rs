use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::channel::mpsc;
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tower_service::Service;

use crate::policy::Document;
use crate::{
    BoxError, Call, Destination, Destinations, Environment, Error, Kind, Origin, Policy, RequestBody, ResponseBody,
    Session, Stage,
};

type Later<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;
type Pieces = UnsyncBoxBody<Bytes, BoxError>;

fn policy(text: &str) -> Policy {
    let text =
        format!("tls.roots = 'webpki'\negress.allow = ['http://a.test', 'https://a.test', 'http://b.test']\n{text}");
    let document = Document::parse("seaway.toml".as_ref(), &text).unwrap();
    document.policy(crate::policy::Preset::Default, &[]).unwrap().0
}

fn get(uri: &str) -> Request<RequestBody> {
    Request::get(uri).body(RequestBody::empty()).unwrap()
}

async fn read(answer: Response<ResponseBody>) -> Result<String, Error> {
    Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec()).unwrap())
}

/// An answer whose body ends when its sender is dropped.
fn streamed() -> (mpsc::UnboundedSender<&'static str>, Pieces) {
    use futures::StreamExt as _;
    let (sender, pieces) = mpsc::unbounded();
    let frames = pieces.map(|piece: &'static str| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
    (sender, StreamBody::new(frames).boxed_unsync())
}

/// A transport that records what it is asked and does as the path says. It panics where it is called before it was ready.
#[derive(Default)]
struct Fake {
    seen: Arc<Mutex<Vec<String>>>,
    /// Pieces of the body of `/stream`.
    pieces: Arc<Mutex<Option<mpsc::UnboundedSender<&'static str>>>>,
    busy: bool,
    ready: bool,
}

impl Clone for Fake {
    fn clone(&self) -> Self {
        Self { seen: Arc::clone(&self.seen), pieces: Arc::clone(&self.pieces), busy: self.busy, ready: false }
    }
}

impl Fake {
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn say(&self, piece: Option<&'static str>) {
        let mut pieces = self.pieces.lock().unwrap();
        match piece {
            Some(piece) => pieces.as_ref().unwrap().unbounded_send(piece).unwrap(),
            None => *pieces = None,
        }
    }

    fn session(&self, text: &str) -> Session {
        Session::over(policy(text), &Environment::default(), Destinations::default(), self.clone()).unwrap()
    }
}

impl Service<Request<RequestBody>> for Fake {
    type Response = Response<Pieces>;
    type Error = BoxError;
    type Future = Later<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = !self.busy;
        if self.busy { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it was ready");
        let fake = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let mut said = format!("{} {}", head.method, head.uri);
            for (name, value) in &head.headers {
                said += &format!(" {name}: {}", value.to_str().unwrap());
            }
            let body = body.collect().await?.to_bytes();
            said += &format!(" {}", String::from_utf8_lossy(&body));
            fake.seen.lock().unwrap().push(said.trim_end().to_owned());
            let answer = Response::builder().header("connection", "x-hop").header("x-hop", "1").header("x-own", "2");
            let body = match head.uri.path() {
                "/silent" => pending().await,
                "/broken" => return Err("no such luck: hidden".into()),
                "/stream" => {
                    let (sender, body) = streamed();
                    *fake.pieces.lock().unwrap() = Some(sender);
                    body
                }
                "/cut" => StreamBody::new(futures::stream::iter([
                    Ok(Frame::data(Bytes::from_static(b"a"))),
                    Err(BoxError::from("cut")),
                ]))
                .boxed_unsync(),
                _ => RequestBody::full("hello").boxed_unsync(),
            };
            Ok(answer.body(body)?)
        })
    }
}

/// A transport gets what egress and credentials let through, in absolute form, without what belongs to another hop.
#[tokio::test]
async fn a_transport_is_under_egress_and_credentials() {
    let fake = Fake::default();
    let credentials = "credentials.k = { value = 'hidden', urls = ['http://a.test/v1'] }";
    let session = fake.session(&format!("{credentials}\npool.force_close = true"));
    let keyed = |uri: &str| {
        let request = Request::post(uri).header("authorization", "Bearer seaway-credential:k");
        let request = request.header("host", "other").header("connection", "x-one").header("x-one", "1");
        request.header("x-api-key", "smuggled").body(RequestBody::full("ping")).unwrap()
    };
    let answer = session.send(keyed("HTTP://A.test:80/v1?x=1"), Call::default()).await.unwrap();
    let headers: Vec<_> = answer.headers().keys().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(headers, ["x-own"]);
    assert_eq!(read(answer).await.unwrap(), "hello");
    let sent = ["POST http://a.test/v1?x=1 authorization: Bearer hidden ping"];
    assert_eq!(fake.seen(), sent);

    for (uri, stage, kind) in [
        ("http://c.test/v1", Stage::Egress, Kind::Denied),
        ("http://169.254.169.254/v1", Stage::Egress, Kind::AddressDenied([169, 254, 169, 254].into())),
        ("http://b.test/v1", Stage::Credentials, Kind::CredentialDenied),
        ("http://a.test/v2", Stage::Credentials, Kind::CredentialDenied),
    ] {
        let error = session.send(keyed(uri), Call::default()).await.unwrap_err();
        assert_eq!((error.stage(), error.kind()), (stage, kind), "{uri}");
    }
    assert_eq!(fake.seen(), sent);
}

/// The deadlines and sizes of the policy hold for a transport as for ourselves.
#[tokio::test(start_paused = true)]
async fn a_transport_is_under_the_policys_deadlines_and_sizes() {
    let fake = Fake::default();
    let failure = async |session: &Session, path: &str| {
        let answer = session.send(get(&format!("http://a.test{path}")), Call::default()).await;
        let error = match answer {
            Ok(answer) => read(answer).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.origin(), Some("http://a.test"));
        (error.stage(), error.kind(), error.request_sent())
    };
    let session = fake.session("total = '3s'\nbody.timeout = '1s'\nbody.max_response = '4B'");
    assert_eq!(failure(&session, "/silent").await, (Stage::Wire, Kind::TotalTimeout, true));
    assert_eq!(failure(&session, "/stream").await, (Stage::Body, Kind::ReadTimeout, true));
    assert_eq!(failure(&session, "/").await, (Stage::Body, Kind::ResponseTooLarge(5), true));
    assert_eq!(failure(&session, "/cut").await, (Stage::Body, Kind::Incomplete, true));
    let session = fake.session("wire.timeout = '1s'");
    assert_eq!(failure(&session, "/silent").await, (Stage::Wire, Kind::ReadTimeout, true));
    let busy = Fake { busy: true, ..Fake::default() };
    assert_eq!(failure(&busy.session("connect = '1s'"), "/").await, (Stage::Pool, Kind::ConnectTimeout, false));
    assert_eq!(failure(&busy.session("total = '1s'"), "/").await, (Stage::Pool, Kind::TotalTimeout, false));
    assert!(busy.seen().is_empty());
}

/// What a transport says may hold what it was sent: it stays in the source.
#[tokio::test]
async fn a_transports_failure_is_the_source_of_ours() {
    let error = Fake::default().session("").send(get("http://a.test/broken?q"), Call::default()).await.unwrap_err();
    assert_eq!((error.stage(), error.kind(), error.request_sent()), (Stage::Wire, Kind::Terminated, true));
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no such luck: hidden");
    assert!(!error.to_string().contains("hidden") && !error.to_string().contains("?q"), "{error}");
}

/// What is lent is not closed by us: the session drops its clones, and an answer that is being read goes on.
#[tokio::test]
async fn a_transport_outlives_its_session() {
    let fake = Fake::default();
    let session = fake.session("");
    let answer = session.send(get("http://a.test/stream"), Call::default()).await.unwrap();
    drop(session);
    assert_eq!(Arc::strong_count(&fake.seen), 1);
    fake.say(Some("still "));
    fake.say(Some("here"));
    fake.say(None);
    assert_eq!(read(answer).await.unwrap(), "still here");
    let answer = fake.session("").send(get("http://a.test/"), Call::default()).await.unwrap();
    assert_eq!(read(answer).await.unwrap(), "hello");
    assert_eq!(fake.seen().len(), 2);
}

/// An answer that nobody reads on is given back to the transport at once.
#[tokio::test]
async fn a_body_that_is_dropped_is_dropped_for_the_transport() {
    let fake = Fake::default();
    let answer = fake.session("").send(get("http://a.test/stream"), Call::default()).await.unwrap();
    let sender = fake.pieces.lock().unwrap().clone().unwrap();
    assert!(!sender.is_closed());
    drop(answer);
    assert!(sender.is_closed());
}

/// A proxy that is named and would be passed by is an error, whoever named it; a swap cannot smuggle one in.
#[tokio::test]
async fn a_proxy_is_never_passed_by_without_a_word() {
    let environment: Environment = [("ALL_PROXY".to_owned(), "http://p.test:3128".to_owned())].into_iter().collect();
    let over = |text: &str, environment: &Environment| {
        let error = Session::over(policy(text), environment, Destinations::default(), Fake::default()).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    let error = over("", &environment);
    assert!(error.contains("`ALL_PROXY` names a proxy") && error.contains("mode = \"off\""), "{error}");
    let explicit = "proxy = { mode = 'explicit', https = 'http://p.test' }";
    assert!(over(explicit, &Environment::default()).contains("`proxy.https` names a proxy"));
    let of_one = "[origin.'http://a.test']\nproxy = { mode = 'explicit', http = 'http://p.test' }";
    let error = over(of_one, &Environment::default());
    assert!(error.contains("a.test") && error.contains("`proxy.http` names a proxy"), "{error}");
    assert_eq!(over("proxy.mode = 'off'", &environment), "");
    let session = Pipes::new().session("");
    let error = session.swap(policy(explicit), &Environment::default(), Destinations::default()).unwrap_err();
    assert!(error.to_string().contains("the session's connector would pass it by"), "{error}");
}

/// A connector of pipes; each is served at its other end until the session closes it.
#[derive(Clone)]
struct Pipes {
    asked: Arc<Mutex<Vec<String>>>,
    /// Pipes that are open now, and the most that ever were.
    open: Arc<watch::Sender<usize>>,
    most: Arc<AtomicUsize>,
    /// Pieces of the body of `/stream`.
    pieces: Arc<Mutex<Option<mpsc::UnboundedSender<&'static str>>>>,
}

impl Pipes {
    fn new() -> Self {
        Self {
            asked: Arc::default(),
            open: Arc::new(watch::Sender::new(0)),
            most: Arc::default(),
            pieces: Arc::default(),
        }
    }

    fn session(&self, text: &str) -> Session {
        Session::connecting(policy(text), &Environment::default(), Destinations::default(), self.clone()).unwrap()
    }

    async fn serve(self, pipe: DuplexStream) {
        let answer = service_fn(|request: Request<Incoming>| {
            let body = match request.uri().path() {
                "/stream" => {
                    let (sender, body) = streamed();
                    *self.pieces.lock().unwrap() = Some(sender);
                    body
                }
                path => RequestBody::full(format!("{path} of {:?}", request.headers()["host"])).boxed_unsync(),
            };
            async { Ok::<_, Infallible>(Response::new(body)) }
        });
        drop(http1::Builder::new().serve_connection(TokioIo::new(pipe), answer).await);
        self.open.send_modify(|open| *open -= 1);
    }
}

impl Service<Uri> for Pipes {
    type Response = DuplexStream;
    type Error = BoxError;
    type Future = Later<DuplexStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.asked.lock().unwrap().push(uri.to_string());
        let pipes = self.clone();
        Box::pin(async move {
            let (ours, theirs) = duplex(64 * 1024);
            pipes.open.send_modify(|open| *open += 1);
            pipes.most.fetch_max(*pipes.open.borrow(), Ordering::Relaxed);
            Handle::current().spawn(pipes.serve(theirs));
            Ok(ours)
        })
    }
}

/// A connector's streams are kept, counted and closed by the pool, and the connector is not.
#[tokio::test(start_paused = true)]
async fn a_connector_stands_beneath_the_pool() {
    let pipes = Pipes::new();
    let session = pipes.session("pool.limit = 1");
    for _ in 0..2 {
        let answer = session.send(get("http://A.test./x"), Call::default()).await.unwrap();
        assert_eq!(read(answer).await.unwrap(), "/x of \"a.test\"");
    }
    assert_eq!(*pipes.asked.lock().unwrap(), ["http://a.test:80/"]);
    let both = ["http://a.test/y", "http://b.test/y"].map(async |uri| {
        let answer = session.send(get(uri), Call::default()).await.unwrap();
        read(answer).await.unwrap();
    });
    futures::future::join_all(both).await;
    assert_eq!((pipes.most.load(Ordering::Relaxed), session.figures().open), (1, 1));
    drop(session);
    pipes.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    let session = pipes.session("");
    read(session.send(get("http://a.test/z"), Call::default()).await.unwrap()).await.unwrap();
}

/// TLS is ours: a connector sees the handshake, and nothing of the request.
#[tokio::test]
async fn tls_runs_over_a_connectors_stream() {
    let (hello, mut heard) = mpsc::unbounded();
    let session = connecting("", move |uri| {
        let hello = hello.clone();
        async move {
            let (ours, mut theirs) = duplex(64 * 1024);
            Handle::current().spawn(async move {
                let mut bytes = vec![0; 4096];
                let read = theirs.read(&mut bytes).await.unwrap();
                bytes.truncate(read);
                hello.unbounded_send((uri, bytes)).unwrap();
            });
            Ok(ours)
        }
    });
    let error = session.send(get("https://a.test/secret"), Call::default()).await.unwrap_err();
    assert_eq!(error.stage(), Stage::Tls);
    let (uri, bytes) = heard.try_recv().unwrap();
    assert_eq!((uri, bytes[0]), ("https://a.test:443/".parse().unwrap(), 22));
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"a.test") && !has(b"secret"));
}

/// `tcp.timeout` bounds a connector, its failure says so, and egress comes before it.
#[tokio::test(start_paused = true)]
async fn a_connector_is_under_egress_and_tcp_timeout() {
    let failure = async |session: &Session, uri: &str| {
        let error = session.send(get(uri), Call::default()).await.unwrap_err();
        (error.stage(), error.kind(), error.request_sent())
    };
    let silent = connecting("tcp.timeout = '1s'", |_| pending());
    assert_eq!(failure(&silent, "http://a.test").await, (Stage::Tcp, Kind::ConnectTimeout, false));
    let refusing = connecting("", |_| std::future::ready(Err(std::io::ErrorKind::ConnectionRefused.into())));
    assert_eq!(failure(&refusing, "http://a.test").await, (Stage::Tcp, Kind::ConnectionRefused, false));
    let pipes = Pipes::new();
    let session = pipes.session("");
    assert_eq!(failure(&session, "http://c.test").await, (Stage::Egress, Kind::Denied, false));
    assert!(pipes.asked.lock().unwrap().is_empty());
    assert_eq!((silent.figures().open, refusing.figures().open), (0, 0));
}

/// An address is asked for as a URI writes it.
#[tokio::test]
async fn a_connector_gets_an_ipv6_address_in_brackets() {
    let pipes = Pipes::new();
    let origin = Origin::parse(&format!("http://[{}]", Ipv6Addr::LOCALHOST)).unwrap();
    let destinations = Destinations { written: vec![Destination { origin, local: true }], ..Destinations::default() };
    let session = Session::connecting(policy(""), &Environment::default(), destinations, pipes.clone()).unwrap();
    read(session.send(get("http://[::1]/"), Call::default()).await.unwrap()).await.unwrap();
    assert_eq!(*pipes.asked.lock().unwrap(), ["http://[::1]:80/"]);
}

/// A session is shared: what one user drops closes nothing of another's, and the last one closes what is left.
#[tokio::test(start_paused = true)]
async fn one_users_end_closes_nothing_of_anothers() {
    let pipes = Pipes::new();
    let one = pipes.session("");
    let other = one.clone();
    let answer = one.send(get("http://a.test/stream"), Call::default()).await.unwrap();
    read(one.send(get("http://a.test/x"), Call::default()).await.unwrap()).await.unwrap();
    drop(one);
    assert_eq!((other.figures().open, other.figures().idle), (2, 1));
    // The idle connection serves the other user.
    read(other.send(get("http://a.test/x"), Call::default()).await.unwrap()).await.unwrap();
    assert_eq!((pipes.asked.lock().unwrap().len(), other.figures().reused), (2, 1));
    drop(other);
    // The answer that is being read runs on to its end, and its connection closes with it.
    pipes.open.subscribe().wait_for(|open| *open == 1).await.unwrap();
    pipes.pieces.lock().unwrap().take().unwrap().unbounded_send("to the end").unwrap();
    assert_eq!(read(answer).await.unwrap(), "to the end");
    pipes.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
}

/// A connector that is a closure.
#[derive(Clone)]
struct Dial<F>(F);

impl<F, D> Service<Uri> for Dial<F>
where
    F: FnMut(Uri) -> D,
    D: Future<Output = std::io::Result<DuplexStream>>,
{
    type Response = DuplexStream;
    type Error = std::io::Error;
    type Future = D;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> D {
        (self.0)(uri)
    }
}

fn connecting<F, D>(text: &str, dial: F) -> Session
where
    F: FnMut(Uri) -> D + Clone + Send + 'static,
    D: Future<Output = std::io::Result<DuplexStream>> + Send + 'static,
{
    Session::connecting(policy(text), &Environment::default(), Destinations::default(), Dial(dial)).unwrap()
}
