//! Bedrock's refusals and exceptions -> errors.
//!
//! Before: an answer whose status is no success, or an exception in a stream. After: the caller. Invariant: an exception within
//! a stream is the error that it would have been before the stream had begun.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html#API_runtime_ConverseStream_Errors> (2026-11)

use crate::{
    bindings::{Error, ErrorKind},
    dialect::{self, Head},
    json,
};

/// The statuses of the exceptions, all of them documented at the operation.
const STATUSES: &[(&str, u16)] = &[
    ("validationException", 400),
    ("serviceQuotaExceededException", 400),
    ("accessDeniedException", 403),
    ("resourceNotFoundException", 404),
    ("modelTimeoutException", 408),
    ("modelErrorException", 424),
    ("modelStreamErrorException", 424),
    ("throttlingException", 429),
    ("modelNotReadyException", 429),
    ("internalServerException", 500),
    ("serviceUnavailableException", 503),
];

json::reader! {
    struct Body {
        "__type" => kind: Option<String>,
        /// What the model itself said, of a `modelStreamErrorException`.
        "originalMessage" => original_message: Option<String>,
    }
}

/// The error of an answer whose status is no success. Its type stands in the head, else in the body.
/// <https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization> (2026-11)
pub(super) fn refused(head: &Head, body: &[u8]) -> Error {
    let written: Body = std::str::from_utf8(body).ok().and_then(|text| json::read(text).ok()).unwrap_or_default();
    let kind = head.header("x-amzn-errortype").map(str::to_owned).or(written.kind);
    let kind = kind.map(|kind| {
        let name = kind.split(':').next().unwrap_or_default();
        name.rsplit('#').next().unwrap_or_default().to_owned()
    });
    named(kind.filter(|kind| !kind.is_empty()), dialect::refused(head, body))
}

/// The error of an exception in a stream.
pub(super) fn exception(name: &str, data: &str) -> Error {
    let known = STATUSES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let status = known.map_or(500, |(_, status)| *status);
    let head = Head { status, headers: Vec::new() };
    let mut error =
        named(Some(name.to_owned()).filter(|name| !name.is_empty()), dialect::refused(&head, data.as_bytes()));
    let written: Body = json::read(data).unwrap_or_default();
    if let Some(original) = written.original_message.filter(|original| !error.message.contains(original.as_str())) {
        error.message = format!("{}: {original}", error.message);
    }
    error
}

/// The same error, with the service's word for it, where that says more than the status.
fn named(kind: Option<String>, error: Error) -> Error {
    let is = |name: &str| kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case(name));
    let meant = if error.kind == ErrorKind::BadRequest && is("ServiceQuotaExceededException") {
        ErrorKind::Quota
    } else if error.status == Some(424) {
        // The model failed, not the request.
        ErrorKind::Provider
    } else {
        error.kind
    };
    Error { kind: meant, provider_type: kind.or(error.provider_type), ..error }
}
