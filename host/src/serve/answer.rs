//! One request: who asks, is there room, its body, the component's answer.
//!
//! Runs between hyper's head and hyper's body. Invariants: what needs no key is health alone; a request that is refused
//! costs no instance; what a client says of itself in `seaway-*` never reaches the component.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRAILER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use seaway_session::Metrics;
use seaway_session::policy::units::Size;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::body::Outgoing;
use super::keys::Key;
use super::log::Line;
use super::quiet::Quiet;
use super::refusal::Refusal;
use super::{Live, Phase, Shared, timing};
use crate::runtime::CallRecord;

/// The header with a request's id: the client's, or ours.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header that tells the component what the caller may use.
const MODELS: HeaderName = HeaderName::from_static("seaway-models");

/// A call's room, for as long as it is held.
pub(super) struct Seat {
    /// How long it was waited for.
    waited: Duration,
    _server: OwnedSemaphorePermit,
    _key: Option<OwnedSemaphorePermit>,
}

pub(super) async fn answer(
    request: Request<Incoming>,
    peer: Option<SocketAddr>,
    shared: Arc<Shared>,
) -> Response<Outgoing> {
    let (head, body) = request.into_parts();
    let id = shared.ids.of(&head);
    let mut line = shared.log.line(&head, &id, peer, &shared.figures);
    line.traced(shared.tracer.as_ref().and_then(|tracer| {
        let tls = shared.live.load().tls.is_some();
        tracer.request(&head, peer, tls)
    }));
    if head.method == Method::HEAD {
        // The head is the whole of its answer.
        line.whole();
    }
    let record = shared.log.record();
    let mut times = None;
    let (mut response, closes) = match own(&head, &shared) {
        Some(answer) => (whole(answer, line), false),
        None => match Box::pin(call(&head, body, &shared, &mut line, &record)).await {
            Ok((answer, seat)) => {
                let (mut told, body) = answer.into_parts();
                let quiet = Quiet::over(&told.headers, shared.live.load().settings.comments.0);
                line.answered(told.status);
                times = timing::is_asked(&head.headers).then(|| timing::value(seat.waited, &record, line.elapsed()));
                // The transport's own, whatever a component says; and what it tells in the trailers is ours.
                told.headers.remove(CONNECTION);
                told.headers.remove(TRAILER);
                (Response::from_parts(told, Outgoing::guest(body, quiet, seat, line)), false)
            }
            Err(refusal) => {
                line.refused(&refusal);
                (whole(refusal.answer(), line), refusal.closes())
            }
        },
    };
    response.headers_mut().insert(REQUEST_ID, id);
    response.headers_mut().extend(times.map(|times| (timing::TIMING, times)));
    let draining = *shared.phase.borrow() != Phase::Open;
    if (closes || draining) && head.version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn whole(answer: Response<Full<Bytes>>, mut line: Line) -> Response<Outgoing> {
    line.answered(answer.status());
    answer.map(|body| Outgoing::own(body, line))
}

/// What the server answers by itself: whether it lives, whether it takes calls, and what it counts.
fn own(head: &Parts, shared: &Shared) -> Option<Response<Full<Bytes>>> {
    let plain = "text/plain; charset=utf-8";
    let (status, kind, text) = match head.uri.path() {
        "/healthz" => (StatusCode::OK, plain, "ok\n".to_owned()),
        "/readyz" => match *shared.phase.borrow() {
            Phase::Open => (StatusCode::OK, plain, "ready\n".to_owned()),
            Phase::Draining | Phase::Ending => (StatusCode::SERVICE_UNAVAILABLE, plain, "draining\n".to_owned()),
        },
        // It names the providers: for those who may ask them.
        "/metrics" => match shared.live.load().keys.recognise(&head.headers) {
            Ok(_) => (StatusCode::OK, Metrics::CONTENT_TYPE, shared.figures.text(shared).unwrap_or_default()),
            Err(unknown) => return Some(Refusal::Key(unknown).answer()),
        },
        _ => return None,
    };
    if head.method != Method::GET && head.method != Method::HEAD {
        return Some(Refusal::Method("GET").answer());
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Some(response)
}

/// Lets a call in and hands it to the component.
async fn call(
    head: &Parts,
    body: Incoming,
    shared: &Shared,
    line: &mut Line,
    record: &CallRecord,
) -> Result<(Response<crate::runtime::Body>, Seat), Refusal> {
    let live = shared.live.load_full();
    if *shared.phase.borrow() != Phase::Open {
        return Err(Refusal::Draining);
    }
    let key = live.keys.recognise(&head.headers).map_err(Refusal::Key)?;
    line.known(key.as_deref());
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !head.headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Err(Refusal::Encoded);
    }
    let of_key = key.as_deref().map_or(Ok(None), Key::enter).map_err(|_| Refusal::KeyBusy)?;
    let settings = &live.settings;
    let asked = Instant::now();
    let of_server = shared.admission.enter(settings.queue, settings.queue_timeout.0).await.map_err(Refusal::Busy)?;
    let seat = Seat { waited: asked.elapsed(), _server: of_server, _key: of_key };
    let body = read(body, &live).await?;
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.path_and_query().cloned().map_or_else(http::Uri::default, http::Uri::from);
    let headers = request.headers_mut();
    for name in [CONTENT_TYPE, ACCEPT] {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(models) = key.as_ref().and_then(|key| key.models.clone()) {
        headers.insert(MODELS, models);
    }
    let length = HeaderValue::from(request.body().len());
    request.headers_mut().insert(CONTENT_LENGTH, length);
    line.calls(record);
    let answer = shared.runtime.handle(request, record).await;
    Ok((answer.map_err(Refusal::Call)?, seat))
}

/// A request's whole body.
async fn read(body: Incoming, live: &Live) -> Result<Bytes, Refusal> {
    let Size(limit) = live.settings.max_body;
    let silence = live.settings.body_timeout.0;
    // What is announced as too large is not waited for.
    if body.size_hint().lower() > limit {
        return Err(Refusal::Large(Size(limit)));
    }
    let mut body = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
    let mut pieces: Vec<Bytes> = Vec::new();
    loop {
        let frame = within(silence, body.frame()).await?;
        match frame {
            None => break,
            Some(Ok(frame)) => pieces.extend(frame.into_data().ok()),
            Some(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Refusal::Large(Size(limit)));
            }
            Some(Err(_)) => return Err(Refusal::Broken),
        }
    }
    Ok(match pieces.as_slice() {
        [whole] => whole.clone(),
        pieces => pieces.concat().into(),
    })
}

async fn within<T>(silence: Duration, work: impl Future<Output = T>) -> Result<T, Refusal> {
    tokio::time::timeout(silence, work).await.map_err(|_| Refusal::Slow(silence))
}

/// Names for requests that bring none: unlike those of any other process, and one after the other.
#[derive(Debug, Default)]
pub(super) struct Ids {
    process: RandomState,
    next: AtomicU64,
}

impl Ids {
    /// The id of a request: what its client calls it, where that can stand in a line.
    fn of(&self, head: &Parts) -> HeaderValue {
        const LONGEST: usize = 128;
        let fits = |value: &&HeaderValue| {
            (1..=LONGEST).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        head.headers.get(REQUEST_ID).filter(fits).cloned().unwrap_or_else(|| self.next())
    }

    fn next(&self) -> HeaderValue {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}-{next:08x}", self.process.hash_one(0) >> 32);
        HeaderValue::try_from(id).expect("hexadecimal digits fit into a header")
    }
}
