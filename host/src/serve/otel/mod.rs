//! `[serve.otel]`: traces over OTLP.
//!
//! Beside the path: a request begins a span, its call of a model one below that, and each exchange with a provider one below
//! the call; they end with the last byte of the answer. Invariants: of headers only `Host` and the trace's own have values
//! in a span, and there is no query, no body and no secret; no call waits for a collector. In a build without the feature
//! `otel` there is no span, and who asks for one is told.

#[cfg(feature = "otel")]
mod export;
#[cfg(feature = "otel")]
mod spans;
#[cfg(feature = "otel")]
mod attributes;
#[cfg(not(feature = "otel"))]
mod absent;

use std::fmt;

use http::Uri;
use seaway_session::Environment;
use seaway_session::policy::Error;
use serde::Deserialize;

#[cfg(not(feature = "otel"))]
pub(super) use absent::{Trace, Tracer};
#[cfg(feature = "otel")]
pub(super) use spans::{Trace, Tracer};

/// `[serve.otel]`: what is told to a collector. After a restart.
///
/// The section alone asks for traces, and so does a variable that names a collector: `OTEL_EXPORTER_OTLP_ENDPOINT` or
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`. `OTEL_SDK_DISABLED=true` and `OTEL_TRACES_EXPORTER=none` have the last word. All else is
/// what the standard's variables say: `OTEL_SERVICE_NAME` (default `seaway`), `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`
/// (default: whatever the caller decided, else every trace), `OTEL_EXPORTER_OTLP_HEADERS`, `_TIMEOUT` and `_COMPRESSION`,
/// `OTEL_BSP_*`. It is http/protobuf that is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otel {
    /// The collector: `"http://127.0.0.1:4318"`, to which `/v1/traces` is added. By default what the variables say, else
    /// `http://localhost:4318`. It is reached directly, not through the session.
    pub endpoint: Option<Endpoint>,
    /// True if a provider is told which span its request is of, by the header `traceparent`. Default false: a provider is a
    /// third party, which could tell by it which of its requests belong together, and has no span of its own to give back.
    pub propagate: bool,
}

/// The base URL of a collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint(Uri);

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // It is not repeated: a secret may be in it. What is taken stands in each line that names the collector.
        let wrong = || {
            let what = "is no collector's URL without user information, query and fragment; write \"http://127.0.0.1:4318\", \
                        and a key into OTEL_EXPORTER_OTLP_HEADERS";
            what.to_owned()
        };
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        // A URI has no place for a fragment: it would be lost without a word.
        let whole = uri.query().is_none() && !text.contains('#');
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if known && plain && whole { Ok(Self(uri)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

impl Otel {
    /// Refuses what this build cannot do.
    pub(super) fn check(&self) -> Result<(), Error> {
        match cfg!(feature = "otel") {
            true => Ok(()),
            false => {
                let message = "this build makes no traces: it lacks the cargo feature `otel` (cargo install --path host \
                               --features otel)";
                Err(Error::key("serve.otel", message))
            }
        }
    }
}

/// The variable that asks for traces, and what it says; absent where none does.
fn asking(environment: &Environment) -> Option<(&'static str, &str)> {
    let variables = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    let mut set = variables.into_iter().filter_map(|name| Some((name, environment.get(name)?)));
    set.next().filter(|_| !is_off(environment))
}

/// True if the variables say that there are none, whatever the file says.
fn is_off(environment: &Environment) -> bool {
    environment.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || environment.get("OTEL_TRACES_EXPORTER") == Some("none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_a_secret() {
        for text in ["http://127.0.0.1:4318", "https://collector.example/otlp/"] {
            let endpoint = Endpoint::try_from(text.to_owned()).unwrap();
            assert_eq!(endpoint.to_string(), text.trim_end_matches('/'));
        }
        for text in ["", "collector:4318", "/v1/traces", "grpc://a:4317", "http://user:sk@a", "http://a?key=sk"] {
            assert!(Endpoint::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
