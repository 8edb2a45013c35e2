//! A request on its way out: checked, stripped, and with its body in the form in which it is written.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRAILER, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;

use super::body::{Streamed, WireBody};
use super::hop::strip_hop_by_hop;
use crate::body::{Content, RequestBody};
use crate::error::{BoxError, Error, Kind};
use crate::monitor::Exchange;
use crate::policy::Policy;
use crate::stage::Stage;

/// A request as it is written.
pub(crate) type Outgoing = Request<WireBody>;

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
        (WireBody::Full(..), _) => {}
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
        _ => Ok(WireBody::full(Some(bytes).filter(|bytes| !bytes.is_empty()))),
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
    let streamed = |begun: Bytes, rest, trailers| {
        let begun = Some(begun).filter(|begun| !begun.is_empty());
        Collected::Streamed(Box::new(Streamed::new(begun, rest, trailers, declared, limit)))
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
pub(super) fn clean(mut trailers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut trailers);
    for name in [CONTENT_LENGTH, HOST] {
        trailers.remove(name);
    }
    trailers
}

fn invalid(message: &str) -> Error {
    Error::new(Stage::Wire, Kind::RequestInvalid, message)
}

pub(super) fn mismatch(declared: u64, length: u64) -> Error {
    let message = format!("the request's body has {length} bytes, its head says {declared}");
    Error::new(Stage::Wire, Kind::RequestTooLarge(Some(length)), message)
}

pub(super) fn too_large(length: Option<u64>, limit: u64) -> Error {
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

pub(super) fn own_failure(source: BoxError) -> Error {
    Error::new(Stage::Wire, Kind::RequestBody, format!("the request's body failed: {source}")).with_source(source)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream;
    use http_body::Frame;
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
        assert_eq!(request.body().whole().unwrap(), b"abcd");
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
