//! An error -> OpenAI's status, headers and JSON.
//!
//! Before: anything that went wrong. After: the client. Invariant: the provider's message and Retry-After are passed on; the
//! host's policy never is.

use crate::{
    bindings::{Error, ErrorKind},
    json,
};

/// An error, as HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status.
    pub status: u16,
    /// How long to wait, in whole seconds, rounded up.
    pub retry_after: Option<u64>,
    /// OpenAI's error object, as JSON.
    pub body: Vec<u8>,
}

/// An error, as HTTP.
pub fn failure(error: &Error) -> Failure {
    let (_, kind, code) = words(error.kind);
    let mut body = Vec::with_capacity(128 + error.message.len());
    let written = json::object(&mut body, |to| {
        to.object("error", |to| {
            to.set("message", &error.message);
            to.set("type", kind);
            to.set("param", &error.param);
            to.set("code", &error.provider_code.as_deref().or(error.code.as_deref()).or(code));
            Ok::<_, std::convert::Infallible>(())
        })
    });
    let Ok(()) = written;
    let retry_after = error.retry_after.map(|wait| wait.div_ceil(1_000_000_000));
    Failure { status: status(error), retry_after, body }
}

/// The provider's status where it has a meaning for the client, else the kind's.
fn status(error: &Error) -> u16 {
    let (usual, _, _) = words(error.kind);
    match error.status {
        Some(529) => 503,
        Some(status @ (400..=499 | 500 | 502..=504)) => status,
        Some(500..=599) => 500,
        Some(_) | None => usual,
    }
}

/// A kind's status and OpenAI's words for it: its type and its code.
/// <https://platform.openai.com/docs/guides/error-codes> (2026-11)
fn words(kind: ErrorKind) -> (u16, &'static str, Option<&'static str>) {
    match kind {
        ErrorKind::BadRequest => (400, "invalid_request_error", None),
        ErrorKind::ContextWindowExceeded => (400, "invalid_request_error", Some("context_length_exceeded")),
        ErrorKind::ContentPolicy => (400, "invalid_request_error", Some("content_policy_violation")),
        ErrorKind::Unsupported => (400, "invalid_request_error", Some("unsupported_parameter")),
        // OpenAI's own type here is that of any bad request, and clients tell the two apart by OpenAI's own words beside it,
        // which no other provider says.
        ErrorKind::Authentication => (401, "authentication_error", Some("invalid_api_key")),
        ErrorKind::Permission => (403, "permission_error", None),
        ErrorKind::Denied => (403, "permission_error", Some("denied")),
        ErrorKind::NotFound => (404, "invalid_request_error", Some("model_not_found")),
        ErrorKind::Timeout => (504, "timeout_error", None),
        ErrorKind::Conflict => (409, "invalid_request_error", None),
        ErrorKind::TooLarge => (413, "invalid_request_error", None),
        ErrorKind::RateLimit => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::Quota => (429, "insufficient_quota", Some("insufficient_quota")),
        ErrorKind::Provider | ErrorKind::Connection => (502, "server_error", None),
        ErrorKind::Overloaded => (503, "server_error", Some("overloaded")),
        ErrorKind::Configuration => (500, "server_error", Some("configuration")),
    }
}
