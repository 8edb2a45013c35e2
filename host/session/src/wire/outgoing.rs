//! A request on its way out: checked, stripped, and with its body in the form in which it is written.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRAILER, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;

use super::hop::strip_hop_by_hop;
use super::upload::Upload;
use crate::body::{Content, RequestBody};
use crate::error::{BoxError, Error, Kind};
use crate::monitor::{Exchange, Signal, Teller};
use crate::policy::Policy;
use crate::stage::Stage;

/// A request as it is written.
pub(crate) type Outgoing = Request<WireBody>;

/// A request body as hyper takes it.
#[derive(Debug)]
pub(crate) enum WireBody {
    Full(Option<Bytes>),
    Stream(Box<Streamed>),
}

/// A body that is sent as it comes.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// What was collected before it turned out to be long, or to have trailers.
    prefix: Option<Bytes>,
    rest: UnsyncBoxBody<Bytes, BoxError>,
    /// What was collected behind the prefix.
    trailers: Option<HeaderMap>,
    /// The length that the request's head promises.
    declared: Option<u64>,
    limit: u64,
    sent: u64,
    upload: Arc<Upload>,
    /// Tells of each piece, where somebody hears.
    teller: Option<Teller>,
}

/// Checks the head and strips it to what is written, and collects the body: up to `retry.max_body`, so that it leaves in one
/// write and can be sent again, or up to `body.max_request` where `whole` says that it is needed as a whole. A longer one is
/// streamed, once.
pub(crate) async fn prepare(
    head: &mut Parts,
    body: RequestBody,
    policy: &Policy,
    whole: bool,
    exchange: &Exchange,
) -> Result<WireBody, Error> {
    let Parts { method: _, uri, version, headers, extensions, .. } = head;
    if headers.contains_key(UPGRADE) {
        return Err(invalid("`Upgrade` has no place in a completion"));
    }
    let declared = declared_length(&headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>())?;
    let nominated: Vec<HeaderValue> = headers.get_all(TRAILER).iter().cloned().collect();
    strip_hop_by_hop(headers);
    headers.remove(CONTENT_LENGTH);
    headers.remove(HOST);
    if policy.pool.force_close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let limit = policy.body.max_request.0;
    let longest = if whole { limit } else { policy.retry.max_body.0.min(limit) };
    let body = wire_body(body, declared, limit, longest, exchange).await?;
    match (&body, declared) {
        (WireBody::Full(_), _) => {}
        (WireBody::Stream(_), Some(declared)) => drop(headers.insert(CONTENT_LENGTH, declared.into())),
        // Only fields that the head announces may follow the body (RFC 9110, section 6.6.2).
        (WireBody::Stream(streamed), None) => {
            let found =
                streamed.trailers.as_ref().map(|trailers| trailers.keys().cloned().map(HeaderValue::from).collect());
            for names in found.unwrap_or(nominated) {
                headers.append(TRAILER, names);
            }
        }
    }
    *uri = origin_form(std::mem::take(uri))?;
    // What the caller's own connection spoke, or hung on to its request, says nothing here.
    *version = Version::HTTP_11;
    extensions.clear();
    Ok(body)
}

/// `/path?query`, with a slash where the path is empty (RFC 9112, section 3.2.1).
fn origin_form(uri: Uri) -> Result<Uri, Error> {
    let root = PathAndQuery::from_static("/");
    let path = uri.into_parts().path_and_query.unwrap_or_else(|| root.clone());
    let path = match path.as_str() {
        // One that is empty, before a fragment, reads as a slash too, and is written as nothing.
        "/" => root,
        text if text.starts_with('/') => path,
        text => PathAndQuery::try_from(format!("/{text}"))
            .ok()
            .filter(|_| text.starts_with('?'))
            .ok_or_else(|| invalid("the URI's path does not begin with a slash"))?,
    };
    Ok(Uri::from(path))
}

/// The path alone again, after a connection that wants the whole URI did not take the request.
pub(super) fn unaddress(request: &mut Outgoing) {
    if request.uri().authority().is_some() {
        let path = std::mem::take(request.uri_mut()).into_parts().path_and_query;
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        *request.version_mut() = Version::HTTP_11;
    }
}

fn declared_length(values: &[&HeaderValue]) -> Result<Option<u64>, Error> {
    let Some((first, others)) = values.split_first() else { return Ok(None) };
    let length = first.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match length.and_then(|text| text.parse().ok()) {
        Some(length) if others.iter().all(|other| other == first) => Ok(Some(length)),
        _ => Err(invalid("`Content-Length` is not one number")),
    }
}

async fn wire_body(
    body: RequestBody,
    declared: Option<u64>,
    limit: u64,
    longest: u64,
    exchange: &Exchange,
) -> Result<WireBody, Error> {
    if let Some(length) = declared.filter(|length| *length > limit) {
        return Err(too_large(Some(length), limit));
    }
    let bytes = match body.0 {
        Content::Empty => Bytes::new(),
        Content::Full(bytes) => bytes,
        Content::Stream(body) => match exchange.within(Stage::Wire, collect(body, declared, limit, longest)).await? {
            Collected::Whole(bytes) => bytes,
            Collected::Streamed(mut streamed) => {
                streamed.teller = exchange.teller();
                return Ok(WireBody::Stream(streamed));
            }
        },
    };
    let length = bytes.len() as u64;
    if length > limit {
        return Err(too_large(Some(length), limit));
    }
    match declared {
        Some(declared) if declared != length => Err(mismatch(declared, length)),
        _ => Ok(WireBody::Full(Some(bytes).filter(|bytes| !bytes.is_empty()))),
    }
}

enum Collected {
    Whole(Bytes),
    /// Long, or with trailers.
    Streamed(Box<Streamed>),
}

async fn collect(
    mut body: UnsyncBoxBody<Bytes, BoxError>,
    declared: Option<u64>,
    limit: u64,
    longest: u64,
) -> Result<Collected, Error> {
    let expected = body.size_hint().exact().or(declared);
    if let Some(length) = expected.filter(|length| *length > limit) {
        return Err(too_large(Some(length), limit));
    }
    let streamed = |prefix: Bytes, rest, trailers| {
        let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
        Collected::Streamed(Box::new(Streamed {
            prefix,
            rest,
            trailers,
            declared,
            limit,
            sent: 0,
            upload: Arc::default(),
            teller: None,
        }))
    };
    if expected.is_some_and(|length| length > longest) {
        return Ok(streamed(Bytes::new(), body, None));
    }
    let mut trailers = None;
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = match frame.map_err(own_failure)?.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        match (first.is_empty(), more.is_empty()) {
            (true, _) => first = data,
            (false, true) => {
                let expected = usize::try_from(expected.unwrap_or(0).min(longest)).unwrap_or(0);
                more.reserve(expected.max(first.len() + data.len()));
                more.extend_from_slice(&first);
                more.extend_from_slice(&data);
            }
            (false, false) => more.extend_from_slice(&data),
        }
        let length = first.len().max(more.len());
        if length as u64 > limit {
            return Err(too_large(None, limit));
        }
        if length as u64 > longest {
            return Ok(streamed(if more.is_empty() { first } else { more.freeze() }, body, None));
        }
    }
    let whole = if more.is_empty() { first } else { more.freeze() };
    Ok(match trailers.filter(|trailers| !trailers.is_empty() && declared.is_none()) {
        Some(trailers) => streamed(whole, body, Some(clean(trailers))),
        // A length leaves no room for trailers.
        None => Collected::Whole(whole),
    })
}

/// Trailers without what belongs to this hop, or to the head alone (RFC 9110, section 6.5.1).
fn clean(mut trailers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut trailers);
    for name in [CONTENT_LENGTH, HOST] {
        trailers.remove(name);
    }
    trailers
}

fn clean_frame(frame: Frame<Bytes>) -> Frame<Bytes> {
    frame.into_trailers().map_or_else(|frame| frame, |trailers| Frame::trailers(clean(trailers)))
}

fn invalid(message: &str) -> Error {
    Error::new(Stage::Wire, Kind::RequestInvalid, message)
}

fn mismatch(declared: u64, length: u64) -> Error {
    let message = format!("the request's body has {length} bytes, its head says {declared}");
    Error::new(Stage::Wire, Kind::RequestTooLarge(Some(length)), message)
}

fn too_large(length: Option<u64>, limit: u64) -> Error {
    let size = length.map_or_else(
        || "the request's body is".to_owned(),
        |length| format!("the request's body of {length} bytes is"),
    );
    Error::new(
        Stage::Wire,
        Kind::RequestTooLarge(length),
        format!("{size} larger than `body.max_request` of {limit} bytes"),
    )
    .with_hint("raise `body.max_request`")
}

fn own_failure(source: BoxError) -> Error {
    Error::new(Stage::Wire, Kind::RequestBody, format!("the request's body failed: {source}")).with_source(source)
}

impl WireBody {
    /// The body, unless it is streamed.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Full(bytes) => Some(bytes.as_deref().unwrap_or_default()),
            Self::Stream(_) => None,
        }
    }

    /// The length of the body, unless it is streamed.
    pub(crate) fn length(&self) -> Option<u64> {
        self.whole().map(|bytes| bytes.len() as u64)
    }

    /// Where a streamed body reports to.
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
        match self {
            Self::Full(_) => None,
            Self::Stream(streamed) => Some(Arc::clone(&streamed.upload)),
        }
    }
}

impl Body for WireBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(streamed) => streamed.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(streamed) => streamed.declared.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.upload.let_go();
    }
}

impl Streamed {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.upload.is_cut(context) {
            return Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL).into())));
        }
        let next = match self.prefix.take() {
            Some(prefix) => Some(Ok(Frame::data(prefix))),
            None => std::task::ready!(Pin::new(&mut self.rest).poll_frame(context))
                .map(|frame| frame.map(clean_frame).map_err(own_failure))
                .or_else(|| self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        };
        let bytes = next.as_ref().and_then(|next| next.as_ref().ok()?.data_ref()).map_or(0, Bytes::len) as u64;
        self.sent += bytes;
        let ends = next.as_ref().is_none_or(|next| next.as_ref().is_ok_and(Frame::is_trailers));
        let wrong = match self.declared {
            Some(declared) if self.sent > declared || (ends && self.sent < declared) => {
                Some(mismatch(declared, self.sent))
            }
            Some(_) | None => (self.sent > self.limit).then(|| too_large(None, self.limit)),
        };
        let next = match (wrong, next) {
            (Some(error), Some(Ok(_)) | None) => Some(Err(error)),
            (_, next) => next,
        };
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                self.tell(Signal::RequestChunk { bytes }, bytes > 0);
                // Nobody asks for more after trailers, nor beyond the promised length.
                self.tell(Signal::RequestEnd { bytes: self.sent }, ends || self.declared == Some(self.sent));
                if ends || self.declared == Some(self.sent) {
                    self.upload.end(None);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.upload.end(Some(error));
                Some(Err("the request's body ended early".into()))
            }
            None => {
                self.tell(Signal::RequestEnd { bytes: self.sent }, self.declared != Some(self.sent));
                self.upload.end(None);
                None
            }
        })
    }

    fn tell(&self, signal: Signal, applies: bool) {
        if let Some(teller) = self.teller.as_ref().filter(|_| applies) {
            teller.tell(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::StreamBody;

    use super::*;
    use crate::monitor::Record;

    fn streamed(pieces: Vec<&'static [u8]>) -> RequestBody {
        let frames = pieces.into_iter().map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from_static(piece))));
        RequestBody::stream(StreamBody::new(stream::iter(frames)))
    }

    async fn prepared(uri: &str, body: RequestBody, headers: &[(&'static str, &str)]) -> Result<Outgoing, Error> {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let policy = Policy::default();
        let exchange = Exchange::begin(Record::default(), &Arc::default());
        let body = prepare(&mut head, body, &policy, false, &exchange).await?;
        Ok(Request::from_parts(head, body))
    }

    #[tokio::test]
    async fn a_request_leaves_in_origin_form_and_the_connection_adds_its_host() {
        for (uri, path) in [
            ("https://A.example/v1?x=1", "/v1?x=1"),
            ("https://a.example:443", "/"),
            ("http://[::1]:80/x", "/x"),
            ("http://a.example#x", "/"),
            ("http://a.example?x=1#y", "/?x=1"),
        ] {
            let request = prepared(uri, RequestBody::empty(), &[("host", "other"), ("te", "trailers")]).await.unwrap();
            assert_eq!(request.uri(), path);
            assert!(request.headers().is_empty());
        }
    }

    #[tokio::test]
    async fn a_short_stream_is_collected_and_a_long_one_is_not() {
        let request = prepared("http://a.example", streamed(vec![b"ab", b"cd"]), &[]).await.unwrap();
        assert!(matches!(request.body(), WireBody::Full(Some(bytes)) if *bytes == "abcd"));
        let piece: &'static [u8] = &[0; 700_000];
        let request = prepared("http://a.example", streamed(vec![piece, piece, piece]), &[]).await.unwrap();
        // What comes in one piece may be far larger than what is collected.
        let large: &'static [u8] = &[0; 3_000_000];
        let larger = prepared("http://a.example", streamed(vec![b"ab", large]), &[]).await.unwrap();
        assert!(matches!(larger.body(), WireBody::Stream(_)));
        let WireBody::Stream(_) = request.body() else { panic!("collected") };
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes().len(), 2_100_000);
    }

    #[tokio::test]
    async fn a_body_that_is_not_as_long_as_promised_is_refused() {
        let mismatch = Kind::RequestTooLarge(Some(4));
        for (length, kind) in [("3", mismatch), ("5", mismatch), ("x", Kind::RequestInvalid)] {
            let result = prepared("http://a.example", streamed(vec![b"abcd"]), &[("content-length", length)]).await;
            assert_eq!(result.unwrap_err().kind(), kind, "{length}");
        }
        let piece: &'static [u8] = &[0; 2_000_000];
        let request =
            prepared("http://a.example", streamed(vec![piece]), &[("content-length", "1500000")]).await.unwrap();
        let upload = request.body().upload().unwrap();
        assert!(request.into_body().collect().await.is_err());
        assert_eq!(upload.error().unwrap().kind(), Kind::RequestTooLarge(Some(2_000_000)));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_before_anything_is_sent() {
        let result = prepared("http://a.example", RequestBody::empty(), &[("content-length", "99999999999")]).await;
        assert_eq!(result.unwrap_err().kind(), Kind::RequestTooLarge(Some(99_999_999_999)));
        let result = prepared("http://a.example", RequestBody::full(vec![0; 33 << 20]), &[]).await;
        assert_eq!(result.unwrap_err().kind(), Kind::RequestTooLarge(Some(33 << 20)));
    }
}
