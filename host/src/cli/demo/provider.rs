//! A provider on loopback: real TLS with a certificate made on the spot, OpenAI's dialect, whole and streamed answers.
//!
//! Runs beside the demo's completions and stands for the network; what it sees is all that a provider would. Its tasks
//! are its own and end with it.

use std::convert::Infallible;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Until the first word, and from word to word: slow enough to see, fast enough to wait for.
const FIRST_WORD: Duration = Duration::from_millis(40);
const NEXT_WORD: Duration = Duration::from_millis(6);

/// The key that the provider wants, as a provider does.
pub(super) const KEY: &str = "sk-demo-4f1d";

/// The name in the certificate.
pub(super) const HOST: &str = "localhost";

/// A running provider. Dropping it ends it, with all its connections.
pub(super) struct Provider {
    address: SocketAddr,
    authority: String,
    refused: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Provider {
    /// Starts on a free port.
    ///
    /// # Errors
    /// If no certificate can be made, or no port be bound.
    pub(super) async fn start() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let (tls, authority) = certificate()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let refused = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&refused)));
        Ok(Self { address, authority, refused, _tasks: tasks })
    }

    /// Where it is.
    pub(super) fn base_url(&self) -> String {
        format!("https://{HOST}:{}/v1", self.address.port())
    }

    /// The certificate of the authority that signed its own, as PEM.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Requests that came without the right key.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// An authority of our own, and a server's certificate that it signed.
fn certificate() -> Result<(ServerConfig, String), Box<dyn Error + Send + Sync>> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate()?;
    let pem = authority.self_signed(&authority_key)?.pem();
    let key = KeyPair::generate()?;
    let issuer = Issuer::new(authority, authority_key);
    let certificate = CertificateParams::new(vec![HOST.to_owned()])?.signed_by(&key, &issuer)?;
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der())?)?;
    Ok((tls, pem))
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, refused: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(serve(socket, tls.clone(), Arc::clone(&refused)));
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, for as long as the client keeps it.
async fn serve(socket: TcpStream, tls: TlsAcceptor, refused: Arc<AtomicUsize>) {
    // Written in small pieces: without this, the kernel would hold each back for the one before.
    let _ = socket.set_nodelay(true);
    let Ok(socket) = tls.accept(socket).await else { return };
    let service = service_fn(move |request| {
        let refused = Arc::clone(&refused);
        async move { Ok::<_, Infallible>(respond(request, &refused).await) }
    });
    // A client that closes in the middle is no news here.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn respond(request: Request<Incoming>, refused: &AtomicUsize) -> Answer {
    let wanted = format!("Bearer {KEY}");
    if request.headers().get("authorization").is_none_or(|key| key.as_bytes() != wanted.as_bytes()) {
        refused.fetch_add(1, Ordering::Relaxed);
        return whole(
            StatusCode::UNAUTHORIZED,
            &json!({ "error": { "message": "wrong key", "type": "invalid_request_error" } }),
        );
    }
    let body = match request.into_body().collect().await {
        Ok(body) => serde_json::from_slice::<Value>(&body.to_bytes()).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    let question = question(&body);
    tokio::time::sleep(FIRST_WORD).await;
    match body.get("stream").and_then(Value::as_bool).unwrap_or_default() {
        true => streamed(answer(&question)),
        false => whole(StatusCode::OK, &completion(answer(&question))),
    }
}

/// The text of the last message, however its content is written.
fn question(body: &Value) -> String {
    let content = body.get("messages").and_then(Value::as_array).and_then(|messages| messages.last()?.get("content"));
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join(" ")
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => String::new(),
    }
}

/// What the provider knows.
fn answer(question: &str) -> &'static str {
    super::DIALOGUE
        .iter()
        .find(|(asked, _)| *asked == question)
        .map_or("I only know what the demo asks.", |(_, answer)| answer)
}

fn whole(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-demo", "object": "chat.completion", "created": 1_760_000_000, "model": "tide-1",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": usage(text),
    })
}

fn usage(text: &str) -> Value {
    let words = text.split(' ').count();
    json!({ "prompt_tokens": 8, "completion_tokens": words, "total_tokens": words + 8 })
}

/// The answer word by word, as OpenAI's events.
fn streamed(text: &'static str) -> Answer {
    let chunk = |delta: Value, finish: Value| {
        json!({
            "id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": "tide-1",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
        })
    };
    let mut events = vec![chunk(json!({ "role": "assistant", "content": "" }), Value::Null)];
    events.extend(text.split_inclusive(' ').map(|word| chunk(json!({ "content": word }), Value::Null)));
    events.push(chunk(json!({}), json!("stop")));
    let mut last = chunk(Value::Null, Value::Null);
    last["choices"] = json!([]);
    last["usage"] = usage(text);
    events.push(last);
    let lines = events.into_iter().map(|event| format!("data: {event}\n\n")).chain(["data: [DONE]\n\n".to_owned()]);
    let frames = stream::iter(lines).then(|line| async move {
        tokio::time::sleep(NEXT_WORD).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from(line)))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/event-stream"));
    response
}
