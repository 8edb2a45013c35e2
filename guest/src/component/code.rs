//! The bare code of a `wasi:http` failure -> an error: one table, no `_`.
//!
//! Before: `send`, or a body's trailers. After: the caller. Invariant: the code's name is kept, and what a deadline or a policy
//! did is told from what the network did.

use crate::bindings::{Error, ErrorKind, generated::wasi::http::types::ErrorCode};

/// A failure of the host's network.
pub(super) fn error(code: &ErrorCode) -> Error {
    let (kind, name, what) = row(code);
    Error { code: Some(name.to_owned()), ..Error::new(kind, format!("{what} ({name})")) }
}

/// A code's kind, its name in the WIT, and what it means.
#[expect(clippy::too_many_lines, reason = "one table, a line a code")]
fn row(code: &ErrorCode) -> (ErrorKind, &'static str, &'static str) {
    use ErrorKind::{Configuration, Connection, Denied, Overloaded, Provider, Timeout, TooLarge};
    match code {
        ErrorCode::DnsTimeout => (Timeout, "DNS-timeout", "the provider's name was not resolved in time"),
        ErrorCode::DnsError(_) => (Connection, "DNS-error", "the provider's name could not be resolved"),
        ErrorCode::DestinationNotFound => (Connection, "destination-not-found", "the provider's host was not found"),
        ErrorCode::DestinationUnavailable => {
            (Connection, "destination-unavailable", "the provider's host is unavailable")
        }
        ErrorCode::DestinationIpProhibited => (Denied, "destination-IP-prohibited", PROHIBITED),
        ErrorCode::DestinationIpUnroutable => {
            (Connection, "destination-IP-unroutable", "there is no route to the provider")
        }
        ErrorCode::ConnectionRefused => (Connection, "connection-refused", "the provider refused the connection"),
        ErrorCode::ConnectionTerminated => {
            (Connection, "connection-terminated", "the connection was closed before the provider answered")
        }
        ErrorCode::ConnectionTimeout => (Timeout, "connection-timeout", "the provider was not reached in time"),
        ErrorCode::ConnectionReadTimeout => (Timeout, "connection-read-timeout", "the provider fell silent"),
        ErrorCode::ConnectionWriteTimeout => {
            (Timeout, "connection-write-timeout", "the provider did not take the request in time")
        }
        ErrorCode::ConnectionLimitReached => {
            (Overloaded, "connection-limit-reached", "the host had no connection for it in time, or is about to end")
        }
        ErrorCode::TlsProtocolError => (Connection, "TLS-protocol-error", "TLS with the provider failed"),
        ErrorCode::TlsCertificateError => {
            (Connection, "TLS-certificate-error", "the provider's certificate is not trusted")
        }
        ErrorCode::TlsAlertReceived(_) => (Connection, "TLS-alert-received", "the provider broke TLS off"),
        ErrorCode::HttpRequestDenied => {
            (Denied, "HTTP-request-denied", "the host's policy does not let this request leave")
        }
        ErrorCode::HttpRequestLengthRequired => (Provider, "HTTP-request-length-required", BROKEN),
        ErrorCode::HttpRequestBodySize(_) => {
            (TooLarge, "HTTP-request-body-size", "the request is larger than the host allows")
        }
        ErrorCode::HttpRequestMethodInvalid => (Configuration, "HTTP-request-method-invalid", REFUSED),
        ErrorCode::HttpRequestUriInvalid => (Configuration, "HTTP-request-URI-invalid", REFUSED),
        ErrorCode::HttpRequestUriTooLong => (Configuration, "HTTP-request-URI-too-long", REFUSED),
        ErrorCode::HttpRequestHeaderSectionSize(_) => (TooLarge, "HTTP-request-header-section-size", REFUSED),
        ErrorCode::HttpRequestHeaderSize(_) => (TooLarge, "HTTP-request-header-size", REFUSED),
        ErrorCode::HttpRequestTrailerSectionSize(_) => (TooLarge, "HTTP-request-trailer-section-size", REFUSED),
        ErrorCode::HttpRequestTrailerSize(_) => (TooLarge, "HTTP-request-trailer-size", REFUSED),
        ErrorCode::HttpResponseIncomplete => (Connection, "HTTP-response-incomplete", "the answer was cut off"),
        ErrorCode::HttpResponseHeaderSectionSize(_) => (Provider, "HTTP-response-header-section-size", TOO_LARGE),
        ErrorCode::HttpResponseHeaderSize(_) => (Provider, "HTTP-response-header-size", TOO_LARGE),
        ErrorCode::HttpResponseBodySize(_) => (Provider, "HTTP-response-body-size", TOO_LARGE),
        ErrorCode::HttpResponseTrailerSectionSize(_) => (Provider, "HTTP-response-trailer-section-size", TOO_LARGE),
        ErrorCode::HttpResponseTrailerSize(_) => (Provider, "HTTP-response-trailer-size", TOO_LARGE),
        ErrorCode::HttpResponseTransferCoding(_) => (Provider, "HTTP-response-transfer-coding", BROKEN),
        ErrorCode::HttpResponseContentCoding(_) => (Provider, "HTTP-response-content-coding", BROKEN),
        ErrorCode::HttpResponseTimeout => (Timeout, "HTTP-response-timeout", "the answer was not complete in time"),
        ErrorCode::HttpUpgradeFailed => (Provider, "HTTP-upgrade-failed", BROKEN),
        ErrorCode::HttpProtocolError => {
            (Connection, "HTTP-protocol-error", "the provider does not speak HTTP as it should")
        }
        ErrorCode::LoopDetected => (Connection, "loop-detected", "the request came back to where it had been"),
        ErrorCode::ConfigurationError => {
            (Configuration, "configuration-error", "the host is not set up for this request")
        }
        ErrorCode::InternalError(_) => (Connection, "internal-error", "the host's network failed"),
    }
}

const PROHIBITED: &str = "the host's policy does not let a request leave for this address";
const REFUSED: &str = "the host does not take the request as it is";
const BROKEN: &str = "the provider and the host do not agree on HTTP";
const TOO_LARGE: &str = "the answer is larger than the host allows";
