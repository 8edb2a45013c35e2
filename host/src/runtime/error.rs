//! Why the runtime did not start, and why a call did not end well: one clear line each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use seaway_session::Error as SessionError;

use super::bindings::seaway::completion::types;

/// Why a runtime did not start. `Display` is one line; [`StartError::hint`] says what would change it.
#[derive(Debug)]
pub struct StartError {
    message: String,
    hint: Option<String>,
}

impl StartError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn engine(error: impl fmt::Display) -> Self {
        Self::new(format!("the WebAssembly engine does not start: {}", one_line(&format!("{error:#}"))))
    }

    /// What would change it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

/// Why a call did not end well. A failed call harms no other: its instance is thrown away where its state is in doubt.
#[derive(Clone, Debug)]
pub enum CallError {
    /// As many calls wait for their turn as may.
    QueueFull {
        /// `runtime.queue`.
        queue: usize,
    },
    /// The request does not fit, or the guest asked for more, than `runtime.memory`.
    Memory {
        /// Bytes that the call needs, at least.
        needed: u64,
        /// Bytes that an instance may have.
        limit: u64,
    },
    /// The guest used its processor time up.
    Cpu {
        /// `runtime.cpu`.
        limit: Duration,
    },
    /// The guest trapped: the reason, in the engine's words.
    Trapped(String),
    /// The session's own error, which the guest saw as a bare code only.
    Session(Arc<SessionError>),
    /// The guest's error, in the types of the WIT: mostly the provider's.
    Guest(Box<types::Error>),
    /// The guest ended its HTTP answer, or did not give one, with this wasi:http error code.
    Http(String),
    /// The guest broke its own contract, as by a stream that ends without its finish.
    Broken(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull { queue } => write!(out, "{queue} calls are waiting already (`runtime.queue`)"),
            Self::Memory { needed, limit } => write!(
                out,
                "the call needs {} of memory or more, and an instance may have {} (`runtime.memory`)",
                Mebibytes(*needed),
                Mebibytes(*limit)
            ),
            Self::Cpu { limit } => write!(out, "the component used its {limit:?} of processor time up and was stopped"),
            Self::Trapped(reason) => write!(out, "the component failed: {reason}"),
            Self::Session(error) => error.fmt(out),
            Self::Guest(error) => write_guest(out, error),
            Self::Http(code) => write!(out, "the component gave no answer: {code}"),
            Self::Broken(what) => write!(out, "the component broke its contract: {what}"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Session(error) => Some(error),
            Self::QueueFull { .. }
            | Self::Memory { .. }
            | Self::Cpu { .. }
            | Self::Trapped(_)
            | Self::Guest(_)
            | Self::Http(_)
            | Self::Broken(_) => None,
        }
    }
}

impl CallError {
    /// What would change it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::QueueFull { .. } => {
                Some("raise `runtime.queue` or `runtime.calls`, or call less at a time".to_owned())
            }
            Self::Memory { needed, .. } => Some(format!("runtime.memory = \"{}MiB\"", needed.div_ceil(1 << 20))),
            Self::Cpu { .. } => Some("raise `runtime.cpu` if the component is meant to work that long".to_owned()),
            Self::Session(error) => error.hint().map(str::to_owned),
            Self::Trapped(_) | Self::Guest(_) | Self::Http(_) | Self::Broken(_) => None,
        }
    }
}

/// `openai: rate limit (429): the provider's own words; retry after 2s`.
fn write_guest(out: &mut fmt::Formatter<'_>, error: &types::Error) -> fmt::Result {
    let types::Error { kind, message, provider, status, provider_type: _, provider_code: _, param, retry_after, code } =
        error;
    if let Some(provider) = provider {
        write!(out, "{provider}: ")?;
    }
    out.write_str(kind_words(*kind))?;
    if let Some(status) = status {
        write!(out, " ({status})")?;
    }
    write!(out, ": {}", one_line(message))?;
    if let Some(param) = param.as_deref().filter(|param| !message.contains(*param)) {
        write!(out, " (`{param}`)")?;
    }
    if let Some(code) = code.as_deref().filter(|code| !message.contains(*code)) {
        write!(out, " ({code})")?;
    }
    match retry_after {
        Some(wait) => write!(out, "; retry after {:?}", Duration::from_nanos(*wait)),
        None => Ok(()),
    }
}

/// The kind of a guest's error, for a person.
fn kind_words(kind: types::ErrorKind) -> &'static str {
    match kind {
        types::ErrorKind::BadRequest => "bad request",
        types::ErrorKind::ContextWindowExceeded => "the prompt does not fit the model's context",
        types::ErrorKind::ContentPolicy => "content policy",
        types::ErrorKind::Authentication => "authentication",
        types::ErrorKind::Permission => "permission",
        types::ErrorKind::NotFound => "not found",
        types::ErrorKind::Timeout => "timeout",
        types::ErrorKind::Conflict => "conflict",
        types::ErrorKind::TooLarge => "too large",
        types::ErrorKind::RateLimit => "rate limit",
        types::ErrorKind::Quota => "quota",
        types::ErrorKind::Provider => "provider error",
        types::ErrorKind::Overloaded => "overloaded",
        types::ErrorKind::Denied => "denied",
        types::ErrorKind::Configuration => "configuration",
        types::ErrorKind::Connection => "connection",
        types::ErrorKind::Unsupported => "unsupported",
    }
}

/// A size for a person, rounded up so that a need is never shown as smaller than it is.
struct Mebibytes(u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1 << 20 => write!(out, "{bytes} bytes"),
            bytes => write!(out, "{} MiB", bytes.div_ceil(1 << 20)),
        }
    }
}

/// A message of several lines as one: what a guest or a provider says must not break the log.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_are_in_a_refusal_for_memory() {
        let error = CallError::Memory { needed: (300 << 20) + 1, limit: 256 << 20 };
        assert_eq!(
            error.to_string(),
            "the call needs 301 MiB of memory or more, and an instance may have 256 MiB (`runtime.memory`)"
        );
        assert_eq!(error.hint().unwrap(), "runtime.memory = \"301MiB\"");
    }

    #[test]
    fn a_guest_error_is_one_line_with_the_providers_words() {
        let error = types::Error {
            kind: types::ErrorKind::RateLimit,
            message: "slow\ndown".to_owned(),
            provider: Some("openai".to_owned()),
            status: Some(429),
            provider_type: None,
            provider_code: None,
            param: None,
            retry_after: Some(2_000_000_000),
            code: None,
        };
        assert_eq!(
            CallError::Guest(Box::new(error)).to_string(),
            "openai: rate limit (429): slow down; retry after 2s"
        );
    }
}
