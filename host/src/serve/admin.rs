//! `/admin/policy`: what is in force, and another text in its place.
//!
//! On a listener of its own, beside the server's. Invariants: whoever reaches it is of this machine, and is no page in a
//! browser; a text that cannot be used changes nothing; no secret is told.

use std::convert::Infallible;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::listen::{Listener, Stream};
use crate::reload::{Source, Swapper};

/// The largest text.
const TEXT: usize = 4 << 20;
/// How long a client may take for a head, and for a text.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a server is administered. Dropping it cuts its connections.
#[derive(Debug)]
pub(super) struct Admin {
    listener: Listener,
    swapper: Swapper,
    connections: JoinSet<()>,
}

impl Admin {
    pub(super) fn new(listener: Listener, swapper: Swapper) -> Self {
        Self { listener, swapper, connections: JoinSet::new() }
    }
}

/// Takes the next connection; never, where there is no listener. Cancel safe.
pub(super) async fn run(admin: &mut Option<Admin>) {
    let Some(Admin { listener, swapper, connections }) = admin else { return std::future::pending().await };
    tokio::select! {
        (socket, _) = listener.accept() => {
            connections.spawn(serve(socket, swapper.clone()));
        }
        Some(_) = connections.join_next() => {}
    }
}

async fn serve(socket: Box<dyn Stream>, swapper: Swapper) {
    let service = service_fn(move |request| {
        let swapper = swapper.clone();
        async move { Ok::<_, Infallible>(answer(request, swapper).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // A client that breaks off is no news.
    drop(builder.serve_connection(TokioIo::new(socket), service).await);
}

async fn answer(request: Request<Incoming>, swapper: Swapper) -> Response<Full<Bytes>> {
    if request.uri().path() != "/admin/policy" {
        return line(StatusCode::NOT_FOUND, "there is /admin/policy, and nothing else");
    }
    // A browser says whose page it asks for, and lets any page ask whoever is of this machine.
    if request.headers().contains_key(ORIGIN) {
        return line(StatusCode::FORBIDDEN, "a page in a browser may not administer this server");
    }
    if request.method() == Method::GET {
        return apart(move || in_force(&swapper)).await;
    }
    if request.method() != Method::POST {
        let mut response = line(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET and POST");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return response;
    }
    let dry = match request.uri().query().unwrap_or_default() {
        "" | "dry-run=false" => false,
        "dry-run=true" => true,
        _ => {
            return line(
                StatusCode::BAD_REQUEST,
                "the query may be `dry-run=true` or `dry-run=false`, and nothing else",
            );
        }
    };
    let body = tokio::time::timeout(PATIENCE, Limited::new(request.into_body(), TEXT).collect());
    let text = match body.await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return line(StatusCode::PAYLOAD_TOO_LARGE, "a policy is no larger than 4 MiB");
        }
        Ok(Err(_)) => return line(StatusCode::BAD_REQUEST, "the policy did not come to its end"),
        Err(_) => return line(StatusCode::REQUEST_TIMEOUT, "the policy did not come in time"),
    };
    let Ok(text) = String::from_utf8(text.into()) else {
        return line(StatusCode::BAD_REQUEST, "the policy is no UTF-8");
    };
    apart(move || put(&swapper, &text, dry)).await
}

/// Off the executor: whoever puts a text in force reads files, and the next one waits for that.
async fn apart(work: impl FnOnce() -> Response<Full<Bytes>> + Send + 'static) -> Response<Full<Bytes>> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| line(StatusCode::INTERNAL_SERVER_ERROR, "the policy could not be looked at"))
}

/// Puts a text in force, or only says what that would do.
fn put(swapper: &Swapper, text: &str, dry: bool) -> Response<Full<Bytes>> {
    let weighed = match swapper.weigh(text, dry) {
        Ok(weighed) => weighed,
        Err(error) => {
            tracing::error!("the old policy stays in force; what was posted is refused: {error}");
            return line(StatusCode::BAD_REQUEST, &error.to_string());
        }
    };
    if !dry {
        weighed.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        tracing::info!(
            "what was posted is in force: generation {}, {} keys changed",
            weighed.generation,
            weighed.changes.len()
        );
    }
    let changes: Vec<_> = weighed
        .changes
        .iter()
        .map(|change| json!({ "key": change.key, "old": change.old, "new": change.new }))
        .collect();
    let retiring: Vec<_> = weighed
        .retiring
        .iter()
        .map(|gone| json!({ "origin": gone.origin, "proxy": gone.proxy, "connections": gone.connections }))
        .collect();
    found(&json!({
        "dry_run": dry,
        "generation": weighed.generation,
        "changes": changes,
        "retiring": retiring,
        "warnings": weighed.warnings,
    }))
}

fn in_force(swapper: &Swapper) -> Response<Full<Bytes>> {
    let now = swapper.in_force();
    let (source, path) = match &now.source {
        Source::Defaults => ("defaults", None),
        Source::File(path) => ("file", Some(path.display().to_string())),
        Source::Admin => ("admin", None),
    };
    let since = now.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    found(&json!({ "generation": now.generation, "source": source, "path": path, "since": since }))
}

fn found(told: &Value) -> Response<Full<Bytes>> {
    response(StatusCode::OK, "application/json", format!("{told}\n"))
}

fn line(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
