//! What a failed exchange says: the stage, the kind, where, after how long, and what would change it.
//!
//! Never in an error: header values, bodies, queries, secrets. `Display` is one line for a person; [`Error::kind`] is
//! what a program decides by.

use std::error::Error as StdError;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::stage::Stage;

/// Any error, as request bodies and transports report them.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What went wrong, one variant a cause. The host maps each to one `wasi:http` error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is not one that the session sends: a scheme, a method or a URI that has no place here.
    RequestInvalid,
    /// Egress refuses the destination by name, or the method.
    Denied,
    /// Egress refuses the address that the name led to.
    AddressDenied(IpAddr),
    /// No credential allows this destination.
    CredentialDenied,
    /// A credential is allowed here, but its secret is missing or unreadable.
    SecretMissing,
    /// The pool has as many waiters as it may, or the wait took too long.
    ConnectionLimit,
    /// The session is draining: it takes no request, or ended before the exchange had.
    Draining,
    /// The name did not resolve within `dns.timeout`.
    DnsTimeout,
    /// The name did not resolve.
    DnsFailed,
    /// A deadline of connecting passed: tcp, proxy or tls, as the stage says.
    ConnectTimeout,
    /// The peer refused the connection.
    ConnectionRefused,
    /// The peer cannot be reached, or a proxy would be needed that cannot be used.
    Unavailable,
    /// The peer's certificate was not accepted.
    Certificate,
    /// The peer sent a TLS alert, with its number (RFC 8446, section 6).
    TlsAlert(u8),
    /// The TLS handshake failed otherwise.
    TlsProtocol,
    /// The first byte of the answer did not come within `wire.timeout`, or the body fell silent for `body.timeout`.
    ReadTimeout,
    /// `total` passed.
    TotalTimeout,
    /// The connection closed before an answer.
    Terminated,
    /// The answer is not HTTP.
    Protocol,
    /// The answer ended before it was complete.
    Incomplete,
    /// The request's body is larger than `body.max_request`, or not as long as its head says; its size in bytes, when
    /// known.
    RequestTooLarge(Option<u64>),
    /// The answer's body is larger than `body.max_response`.
    ResponseTooLarge(u64),
    /// The answer's head is larger than `wire.max_headers` or `wire.max_header_bytes` allow.
    HeadersTooLarge,
    /// The request's own body failed while it was being read.
    RequestBody,
}

impl Kind {
    /// The kind's word, as metrics and signals say it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::RequestInvalid => "request_invalid",
            Self::Denied => "denied",
            Self::AddressDenied(_) => "address_denied",
            Self::CredentialDenied => "credential_denied",
            Self::SecretMissing => "secret_missing",
            Self::ConnectionLimit => "connection_limit",
            Self::Draining => "draining",
            Self::DnsTimeout => "dns_timeout",
            Self::DnsFailed => "dns_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectionRefused => "connection_refused",
            Self::Unavailable => "unavailable",
            Self::Certificate => "certificate",
            Self::TlsAlert(_) => "tls_alert",
            Self::TlsProtocol => "tls_protocol",
            Self::ReadTimeout => "read_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::Terminated => "terminated",
            Self::Protocol => "protocol",
            Self::Incomplete => "incomplete",
            Self::RequestTooLarge(_) => "request_too_large",
            Self::ResponseTooLarge(_) => "response_too_large",
            Self::HeadersTooLarge => "headers_too_large",
            Self::RequestBody => "request_body",
        }
    }
}

/// A failed exchange.
pub struct Error(Box<Inner>);

struct Inner {
    stage: Stage,
    kind: Kind,
    message: String,
    hint: Option<String>,
    origin: Option<String>,
    elapsed: Option<Duration>,
    attempts: u32,
    request_sent: bool,
    source: Option<BoxError>,
}

impl Error {
    /// An error of `stage` with a message that says what happened; the path adds where and after how long.
    #[must_use]
    pub fn new(stage: Stage, kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            stage,
            kind,
            message: message.into(),
            hint: None,
            origin: None,
            elapsed: None,
            attempts: 0,
            request_sent: false,
            source: None,
        }))
    }

    /// Adds the error beneath this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what would change it: the key to set, or the line to add to the policy file.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds where the request was going and how long it had been under way; what is already said stays.
    #[must_use]
    pub(crate) fn at(mut self, origin: &dyn fmt::Display, elapsed: Duration) -> Self {
        self.0.origin.get_or_insert_with(|| origin.to_string());
        self.0.elapsed.get_or_insert(elapsed);
        self
    }

    /// Adds how often the request had gone to a connection.
    #[must_use]
    pub(crate) fn after_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Says that at least a part of the request may have reached the peer.
    #[must_use]
    pub(crate) fn after_sending(mut self) -> Self {
        self.0.request_sent = true;
        self
    }

    /// The stage that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What happened, without the stage, the place and the time.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What would change it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// `scheme://host:port` that the request was for. Absent while the request had no such thing.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.0.origin.as_deref()
    }

    /// Time from the request's arrival to the failure.
    #[must_use]
    pub fn elapsed(&self) -> Option<Duration> {
        self.0.elapsed
    }

    /// How often the request had gone to a connection: 0 if it failed before, more than 1 if it was repeated (`[retry]`).
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// True if a repeat could have the request done twice.
    #[must_use]
    pub fn request_sent(&self) -> bool {
        self.0.request_sent
    }
}

impl fmt::Display for Error {
    /// `tls: certificate expired on 2024-01-01 (https://api.example.com, after 12 ms)`: one line, without the hint.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { stage, message, origin, elapsed, attempts, .. } = &*self.0;
        write!(out, "{stage}: {message}")?;
        match (origin, elapsed) {
            (Some(origin), Some(elapsed)) if *attempts > 1 => {
                write!(out, " ({origin}, after {elapsed:.0?} and {attempts} attempts)")
            }
            (Some(origin), Some(elapsed)) => write!(out, " ({origin}, after {elapsed:.0?})"),
            (Some(origin), None) => write!(out, " ({origin})"),
            (None, _) => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { stage, kind, message, hint, origin, elapsed, attempts, request_sent, source } = &*self.0;
        out.debug_struct("Error")
            .field("stage", stage)
            .field("kind", kind)
            .field("message", message)
            .field("hint", hint)
            .field("origin", origin)
            .field("elapsed", elapsed)
            .field("attempts", attempts)
            .field("request_sent", request_sent)
            .field("source", source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
