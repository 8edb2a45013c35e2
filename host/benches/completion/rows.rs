//! The tables, and the ways to make a completion that stand in them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use seaway::runtime::{CallRecord, Limits, Runtime, Source, types};
use seaway_guest::api::{self, Chunks};
use seaway_guest::dialect::{Head, Reader, by_name, fold};
use seaway_guest::provider::{Table as Models, resolve};
use seaway_session::policy::units::Timeout;
use seaway_session::{Call as Exchange, Destination, Destinations, Environment, Origin, Policy, RequestBody, Session};
use tokio::net::TcpStream;

use crate::measure::{Row, Table};
use crate::requests;
use crate::upstream::Upstream;

pub(crate) fn tables() -> Vec<Table> {
    vec![
        Table {
            name: "small: a short prompt, a 600-byte answer",
            callers: &[1, 16, 64],
            calls: 3000,
            units: 1,
            unit: "call",
            rows: |upstream| {
                let mut rows = whole(upstream, "small", &requests::small(false));
                rows.push(typed(upstream, "small"));
                rows.extend(least(upstream));
                rows.push(component("component, fresh, HTTP export", upstream, "small", &requests::small(false), 1));
                #[cfg(feature = "default-sender")]
                rows.push(default_sender(upstream, &requests::small(false)));
                rows
            },
        },
        Table {
            name: "large: 100 KB of messages and tools, a 20 KB answer",
            callers: &[16],
            calls: 500,
            units: 1,
            unit: "call",
            rows: |upstream| whole(upstream, "large", &requests::large()),
        },
        Table {
            name: "image: one picture of 5 MB",
            callers: &[4],
            calls: 24,
            units: 1,
            unit: "call",
            rows: |upstream| whole(upstream, "small", &requests::image()),
        },
        Table {
            name: "stream: 100 events",
            callers: &[1, 16],
            calls: 600,
            units: 100,
            unit: "event",
            rows: |upstream| {
                let body = requests::small(true);
                vec![
                    bare(upstream, "stream", &body),
                    session(upstream, "stream", &body),
                    native(upstream, "stream", &body, true),
                    component("component, reused, HTTP export", upstream, "stream", &body, 1000),
                ]
            },
        },
    ]
}

/// The ways that every kind of whole answer is made.
fn whole(upstream: &Upstream, kind: &'static str, body: &Bytes) -> Vec<Row> {
    vec![
        bare(upstream, kind, body),
        pooled(upstream, kind, body),
        session(upstream, kind, body),
        native(upstream, kind, body, false),
        component("component, reused, HTTP export", upstream, kind, body, 1000),
    ]
}

fn url(upstream: &Upstream, kind: &str) -> String {
    format!("http://{}/{kind}/v1/chat/completions", upstream.address())
}

fn request<B>(uri: http::Uri, body: B) -> Request<B> {
    Request::post(uri)
        .header("content-type", "application/json")
        .header("accept-encoding", "identity")
        .body(body)
        .expect("a request")
}

/// hyper's connection with nothing around it: as many as there are callers, kept.
fn bare(upstream: &Upstream, kind: &'static str, body: &Bytes) -> Row {
    type Sender = http1::SendRequest<Full<Bytes>>;
    let (address, body) = (upstream.address(), body.clone());
    let path: http::Uri = format!("/{kind}/v1/chat/completions").parse().expect("a path");
    let kept: Arc<Mutex<Vec<Sender>>> = Arc::default();
    let call = move || {
        let (kept, body, path) = (Arc::clone(&kept), body.clone(), path.clone());
        async move {
            let sender = kept.lock().expect("no panic holds it").pop();
            let mut sender = match sender {
                Some(sender) => sender,
                None => {
                    let socket = TcpStream::connect(address).await.expect("a connection");
                    socket.set_nodelay(true).expect("an option");
                    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.expect("a handshake");
                    tokio::runtime::Handle::current().spawn(connection);
                    sender
                }
            };
            let mut request = request(path, Full::new(body));
            request.headers_mut().insert("host", http::HeaderValue::from_static("127.0.0.1"));
            sender.ready().await.expect("the upstream keeps connections");
            let answer = sender.send_request(request).await.expect("an answer");
            answer.into_body().collect().await.expect("a body");
            kept.lock().expect("no panic holds it").push(sender);
        }
        .boxed()
    };
    Row { name: "hyper, bare connection", call: Arc::new(call) }
}

/// hyper's own pooled client.
fn pooled(upstream: &Upstream, kind: &'static str, body: &Bytes) -> Row {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let (body, uri) = (body.clone(), url(upstream, kind).parse::<http::Uri>().expect("a URI"));
    let call = move || {
        let (client, body, uri) = (client.clone(), body.clone(), uri.clone());
        async move {
            let answer = client.request(request(uri, Full::new(body))).await.expect("an answer");
            answer.into_body().collect().await.expect("a body");
        }
        .boxed()
    };
    Row { name: "hyper-util, pooled client", call: Arc::new(call) }
}

/// A session that may reach the upstream.
pub(crate) fn loopback_session(upstream: &Upstream) -> Session {
    let origin = Origin::parse(&url(upstream, "small")).expect("an origin");
    let destinations = Destinations { written: vec![Destination { origin, local: true }], ..Destinations::default() };
    let mut policy = Policy::default();
    policy.pool.limit = 0;
    policy.body.timeout = Timeout::seconds(120);
    Session::new(policy, &Environment::default(), destinations).expect("a session")
}

fn session(upstream: &Upstream, kind: &'static str, body: &Bytes) -> Row {
    let (session, body) = (loopback_session(upstream), body.clone());
    let uri: http::Uri = url(upstream, kind).parse().expect("a URI");
    let call = move || {
        let (session, body, uri) = (session.clone(), body.clone(), uri.clone());
        async move {
            let request = request(uri, RequestBody::full(body));
            let answer = session.send(request, Exchange::default()).await.expect("an answer");
            answer.into_body().collect().await.expect("a body");
        }
        .boxed()
    };
    Row { name: "session alone", call: Arc::new(call) }
}

/// The model table of all rows that know models.
fn models(upstream: &Upstream, kind: &str) -> String {
    let base = format!("http://{}/{kind}/v1", upstream.address());
    serde_json::json!({
        "credentials": "placeholder",
        "models": { "bench": { "provider": "openai", "model": "gpt-4o-mini", "base_url": base, "credential": "none" } },
    })
    .to_string()
}

/// The guest's own core and the session, in one process and without a component.
fn native(upstream: &Upstream, kind: &'static str, body: &Bytes, streamed: bool) -> Row {
    let session = loopback_session(upstream);
    let models = Arc::new(Models::from_json(&models(upstream, kind)).expect("a table"));
    let body = body.clone();
    let call = move || {
        let (session, models, body) = (session.clone(), Arc::clone(&models), body.clone());
        async move { native_call(&session, &models, &body, streamed).await }.boxed()
    };
    Row { name: "native core and session, no wasm", call: Arc::new(call) }
}

async fn native_call(session: &Session, models: &Models, body: &[u8], streamed: bool) {
    let incoming = api::parse(body).expect("a request");
    let target = resolve(models, &incoming.request.model).expect("a target");
    let dialect = by_name(target.dialect).expect("a dialect");
    let exchange = dialect.encode(&target, &incoming.request, streamed).expect("an exchange");
    let uri = http::Uri::builder()
        .scheme(if exchange.url.secure { "https" } else { "http" })
        .authority(exchange.url.authority)
        .path_and_query(exchange.url.path)
        .build()
        .expect("a URI");
    let mut request = request(uri, RequestBody::full(exchange.body));
    for (name, value) in exchange.headers {
        let name: http::HeaderName = name.parse().expect("a name");
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let answer = session.send(request, Exchange::default()).await.expect("an answer");
    if !streamed {
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let completion = dialect.decode(&Head::ok(), &body).and_then(fold).expect("a completion");
        std::hint::black_box(api::answer(&completion, &incoming.request.model));
        return;
    }
    let (mut reader, mut chunks) = (Reader::new(dialect), Chunks::new(&incoming.request.model, false));
    let mut body = answer.into_body();
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.expect("a frame").into_data() else { continue };
        let mut deltas = Vec::new();
        reader.push(&data, &mut deltas).expect("events");
        chunks.write(deltas, &mut out);
        std::hint::black_box(std::mem::take(&mut out));
    }
    let mut deltas = Vec::new();
    reader.end(&mut deltas).expect("a good end");
    chunks.write(deltas, &mut out);
    chunks.end(&mut out);
    std::hint::black_box(out);
}

pub(crate) fn runtime(upstream: &Upstream, kind: &str, reuse: u32) -> Runtime {
    runtime_of(&Source::Embedded, upstream, kind, reuse)
}

fn runtime_of(source: &Source, upstream: &Upstream, kind: &str, reuse: u32) -> Runtime {
    let limits = Limits { calls: 2048, cpu: Some(Duration::from_secs(60)), reuse, ..Limits::default() };
    Runtime::new(limits, source, loopback_session(upstream), models(upstream, kind)).expect("a runtime")
}

pub(crate) fn api_request(body: Bytes) -> Request<Bytes> {
    Request::post("/v1/chat/completions").header("content-type", "application/json").body(body).expect("a request")
}

fn component(name: &'static str, upstream: &Upstream, kind: &'static str, body: &Bytes, reuse: u32) -> Row {
    in_component(name, runtime(upstream, kind, reuse), body)
}

/// The component's typed export: no HTTP and no JSON between the caller and the guest.
fn typed(upstream: &Upstream, kind: &'static str) -> Row {
    let runtime = runtime(upstream, kind, 1000);
    let call = move || {
        let runtime = runtime.clone();
        async move {
            let request = types::Request::new("bench", vec![types::Message::user(requests::PROMPT)]);
            let completion = runtime.complete(request, &CallRecord::new()).await.expect("an answer");
            assert_eq!(completion.choices.len(), 1);
        }
        .boxed()
    };
    Row { name: "component, reused, typed export", call: Arc::new(call) }
}

fn in_component(name: &'static str, runtime: Runtime, body: &Bytes) -> Row {
    let body = body.clone();
    let call = move || {
        let (runtime, body) = (runtime.clone(), body.clone());
        async move {
            let record = CallRecord::new();
            let answer = runtime.handle(api_request(body), &record).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.expect("a body");
        }
        .boxed()
    };
    Row { name, call: Arc::new(call) }
}

/// What the component model takes by itself: a call that does nothing, and an exchange with no thought to it.
fn least(upstream: &Upstream) -> Vec<Row> {
    let Some(file) = std::env::var_os("SEAWAY_LEAST") else { return Vec::new() };
    let source = Source::File(file.into());
    let rows = [("least component, no exchange", "none".to_owned())];
    let post = format!("post {}", upstream.address());
    let rows = rows.into_iter().chain([("least component, one exchange", post)]);
    rows.map(|(name, model)| {
        let runtime = runtime_of(&source, upstream, "small", 1000);
        let call = move || {
            let (runtime, model) = (runtime.clone(), model.clone());
            async move {
                let request = types::Request::new(model, vec![types::Message::user(requests::PROMPT)]);
                runtime.complete(request, &CallRecord::new()).await.expect_err("it answers by an error");
            }
            .boxed()
        };
        Row { name, call: Arc::new(call) }
    })
    .collect()
}

/// A connection for each request, by the sender that wasmtime brings.
#[cfg(feature = "default-sender")]
fn default_sender(upstream: &Upstream, body: &Bytes) -> Row {
    let runtime = runtime(upstream, "small", 1000).with_default_sender();
    in_component("component, reused, wasmtime's default sender", runtime, body)
}
