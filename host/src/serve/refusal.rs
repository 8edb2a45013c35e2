//! What the server says itself, in OpenAI's form of an error.
//!
//! For what never reaches the component, or what the component could not answer. Invariant: no policy text, no path of this
//! machine and no secret goes to a client.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use seaway_session::policy::units::Size;
use serde_json::json;

use super::admission::Refused;
use super::keys::Unknown;
use crate::runtime::CallError;

/// Why the server does not pass a request on.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It comes without a key, or with a wrong one.
    Key(Unknown),
    /// Its key has as many calls under way as it may.
    KeyBusy,
    /// There is no room.
    Busy(Refused),
    /// The server is about to end.
    Draining,
    /// Its body is larger than may be.
    Large(Size),
    /// Its body is compressed.
    Encoded,
    /// Its body did not come to its end.
    Broken,
    /// Its body stood still for too long.
    Slow(Duration),
    /// Its method is not the path's.
    Method(&'static str),
    /// The component did not answer.
    Call(CallError),
}

impl Refusal {
    /// The answer.
    pub(super) fn answer(&self) -> Response<Full<Bytes>> {
        let (status, kind, code) = self.words();
        let error = json!({ "error": { "message": self.message(), "type": kind, "param": null, "code": code } });
        let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Self::Key(_) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::KeyBusy | Self::Busy(_) | Self::Draining | Self::Call(CallError::QueueFull { .. }) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Method(method) => {
                headers.insert(ALLOW, HeaderValue::from_static(method));
            }
            // RFC 9110, section 15.5.16.
            Self::Encoded => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            Self::Large(_) | Self::Broken | Self::Slow(_) | Self::Call(_) => {}
        }
        response
    }

    /// True if the connection ends with the answer: what is left of a body that was not read to its end would be in the way
    /// of the next request.
    pub(super) fn closes(&self) -> bool {
        matches!(self, Self::Draining | Self::Large(_) | Self::Encoded | Self::Broken | Self::Slow(_))
    }

    fn words(&self) -> (StatusCode, &'static str, Option<&'static str>) {
        let invalid = "invalid_request_error";
        match self {
            Self::Key(_) => (StatusCode::UNAUTHORIZED, "authentication_error", Some("invalid_api_key")),
            Self::KeyBusy => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("rate_limit_exceeded")),
            Self::Busy(_) | Self::Call(CallError::QueueFull { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("overloaded"))
            }
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "server_error", Some("draining")),
            Self::Large(_) | Self::Call(CallError::Memory { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, invalid, None),
            Self::Encoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, invalid, None),
            Self::Broken => (StatusCode::BAD_REQUEST, invalid, None),
            Self::Slow(_) => (StatusCode::REQUEST_TIMEOUT, invalid, None),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, invalid, None),
            Self::Call(CallError::Session(_) | CallError::Http(_) | CallError::Guest(_)) => {
                (StatusCode::BAD_GATEWAY, "server_error", None)
            }
            Self::Call(CallError::Cpu { .. } | CallError::Trapped(_) | CallError::Broken(_)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error", None)
            }
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Key(Unknown::Absent) => "no key: send `authorization: Bearer KEY`".to_owned(),
            Self::Key(Unknown::Wrong) => "the key is none of this server's".to_owned(),
            Self::KeyBusy => "as many calls with this key are under way as may be".to_owned(),
            Self::Busy(Refused::Full) => "as many calls are under way and waiting as may be".to_owned(),
            Self::Busy(Refused::Waited(patience)) => format!("no call has ended within {patience:?}"),
            Self::Draining => "this server is about to end; ask again, or another one".to_owned(),
            Self::Large(Size(limit)) => format!("the request is larger than {limit} bytes"),
            Self::Encoded => "the request's body is encoded; send it as it is, without `content-encoding`".to_owned(),
            Self::Broken => "the request's body did not come to its end".to_owned(),
            Self::Slow(silence) => format!("nothing of the request's body came for {silence:?}"),
            Self::Method(method) => format!("this path takes {method}"),
            Self::Call(CallError::Memory { .. }) => "the request is larger than the memory of a call".to_owned(),
            Self::Call(CallError::QueueFull { .. }) => "as many calls are waiting as may".to_owned(),
            Self::Call(CallError::Cpu { .. }) => "the call took more processor time than it may".to_owned(),
            Self::Call(CallError::Session(_) | CallError::Http(_) | CallError::Guest(_)) => {
                "the provider could not be asked".to_owned()
            }
            Self::Call(CallError::Trapped(_) | CallError::Broken(_)) => "the call failed".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_of_openai_and_says_when_to_come_back() {
        for (refusal, status, retry) in [
            (Refusal::Key(Unknown::Absent), 401, false),
            (Refusal::KeyBusy, 429, true),
            (Refusal::Busy(Refused::Full), 503, true),
            (Refusal::Draining, 503, true),
            (Refusal::Large(Size(5)), 413, false),
            (Refusal::Call(CallError::QueueFull { queue: 1 }), 503, true),
            (Refusal::Call(CallError::Trapped("at /home/x".to_owned())), 500, false),
        ] {
            let answer = refusal.answer();
            assert_eq!(
                (answer.status().as_u16(), answer.headers().contains_key("retry-after")),
                (status, retry),
                "{refusal:?}"
            );
            assert!(!refusal.message().contains("/home"), "{}", refusal.message());
        }
    }
}
