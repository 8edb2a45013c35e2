//! What spans hold, by the names of the semantic conventions.
//!
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/> and
//! <https://github.com/open-telemetry/semantic-conventions-genai>, as of 2026-11. What they have no name for begins with
//! `seaway.`. Invariant: methods, paths, statuses, names and counts; no header's value but that of `Host`, no query, no
//! body and no secret.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, StatusCode, Uri, Version};
use opentelemetry::trace::{Span, SpanRef, Status};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use seaway_session::{Details, Error as SessionError, Handshake, Stage, Timings};

use super::super::figures::End;
use super::super::report::Report;

/// The method, or what the conventions have in the place of one that is not known.
pub(super) fn method(method: &Method) -> Cow<'static, str> {
    match is_known(method) {
        true => method.as_str().to_owned().into(),
        false => "HTTP".into(),
    }
}

pub(super) fn method_of(method: &Method) -> Vec<KeyValue> {
    let name = if is_known(method) { method.as_str().to_owned() } else { "_OTHER".to_owned() };
    vec![KeyValue::new("http.request.method", name)]
}

fn is_known(method: &Method) -> bool {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    known.contains(method)
}

/// What a client may make as long as it likes, no longer than a span may hold: the queue is bounded by spans, not by bytes.
fn short(text: &str) -> String {
    const LONGEST: usize = 512;
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

/// The component's routes.
fn route(path: &str) -> Option<&'static str> {
    match path {
        "/v1/chat/completions" => Some("/v1/chat/completions"),
        "/chat" => Some("/chat"),
        "/v1/models" => Some("/v1/models"),
        path if path.starts_with("/v1/models/") => Some("/v1/models/{model}"),
        _ => None,
    }
}

/// `POST /v1/chat/completions`.
pub(super) fn request_name(head: &Parts) -> String {
    let method = method(&head.method);
    route(head.uri.path()).map_or_else(|| method.clone().into_owned(), |route| format!("{method} {route}"))
}

/// Of a request that has come.
pub(super) fn request(head: &Parts, peer: Option<SocketAddr>, tls: bool) -> Vec<KeyValue> {
    let mut told = method_of(&head.method);
    told.push(KeyValue::new("url.scheme", if tls { "https" } else { "http" }));
    told.push(KeyValue::new("url.path", short(head.uri.path())));
    told.extend(route(head.uri.path()).map(|route| KeyValue::new("http.route", route)));
    let named = || head.headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok();
    if let Some(authority) = head.uri.authority().cloned().or_else(named) {
        told.push(KeyValue::new("server.address", short(authority.host())));
        told.extend(authority.port_u16().map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    told.extend(peer.map(|peer| KeyValue::new("client.address", peer.ip().to_string())));
    let version = if head.version == Version::HTTP_2 { "2" } else { "1.1" };
    told.push(KeyValue::new(
        "network.protocol.version",
        if head.version == Version::HTTP_10 { "1.0" } else { version },
    ));
    told
}

/// Of a request's answer.
pub(super) fn answer(
    span: &SpanRef<'_>,
    status: Option<StatusCode>,
    end: End,
    key: Option<&str>,
    error: Option<&SessionError>,
) {
    span.set_attribute(KeyValue::new("seaway.end", end.word()));
    span.set_attributes(key.map(|key| KeyValue::new("seaway.key", key.to_owned())));
    if let Some(status) = status {
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    }
    let failed = end == End::Failed || status.is_some_and(|status| status.is_server_error());
    if failed {
        fails(span, kind(status.filter(StatusCode::is_server_error), error));
    }
}

/// Of a call: who answered, and what it took.
pub(super) fn call(
    span: &SpanRef<'_>,
    status: Option<StatusCode>,
    end: End,
    report: Option<&Report>,
    error: Option<&SessionError>,
    origin: Option<&str>,
) {
    span.set_attribute(KeyValue::new("gen_ai.operation.name", "chat"));
    if let Some(report) = report {
        span.update_name(format!("chat {}", report.model()));
        span.set_attribute(KeyValue::new("gen_ai.provider.name", provider(report.provider()).to_owned()));
        span.set_attribute(KeyValue::new("gen_ai.request.model", report.model().to_owned()));
        if let Some(finish) = report.finish() {
            let reasons = Array::String(vec![StringValue::from(finish)]);
            span.set_attribute(KeyValue::new("gen_ai.response.finish_reasons", Value::Array(reasons)));
        }
        let tokens = report.tokens().filter_map(|(kind, count)| Some((usage(kind)?, count)));
        span.set_attributes(tokens.map(|(name, count)| KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX))));
    }
    span.set_attributes(origin.into_iter().flat_map(server));
    let refused = status.filter(|status| status.is_client_error() || status.is_server_error());
    // A stream that says itself why it breaks off comes to its end all the same.
    let broken = end == End::Whole && report.is_some_and(|report| report.finish().is_none());
    if refused.is_some() || end == End::Failed || broken {
        fails(span, kind(refused, error));
    }
}

/// Of an exchange with a provider.
pub(super) fn exchange(span: &mut impl Span, timings: &Timings) {
    let origin = timings.origin.as_deref();
    span.set_attributes(origin.into_iter().flat_map(server));
    if let Some(status) = timings.status {
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
    }
    if timings.attempts > 1 {
        span.set_attribute(KeyValue::new("http.request.resend_count", i64::from(timings.attempts - 1)));
    }
    if let Some(Handshake { alpn: Some(alpn), .. }) = timings.handshake {
        span.set_attribute(KeyValue::new("network.protocol.version", if alpn == "h2" { "2" } else { "1.1" }));
    }
    span.set_attributes(timings.via.as_ref().map(|via| KeyValue::new("seaway.route.proxy", via.proxy.clone())));
    span.set_attribute(KeyValue::new("seaway.route.reused", timings.reused));
    span.set_attribute(KeyValue::new("http.response.body.size", i64::try_from(timings.received).unwrap_or(i64::MAX)));
    for stage in Stage::ALL {
        if let Some(taken) = timings.span(stage) {
            let seconds = taken.end.saturating_sub(taken.start).as_secs_f64();
            span.set_attribute(KeyValue::new(format!("seaway.stage.{}.seconds", stage.word()), seconds));
        }
    }
    let mut failed: Option<Cow<'static, str>> =
        timings.status.filter(|status| *status >= 400).map(|status| Cow::Owned(status.to_string()));
    if let Some(Details { path, generation, rule, failed: error, guest: _, credentials: _ }) =
        timings.details.as_deref()
    {
        span.set_attributes(origin.map(|origin| KeyValue::new("url.full", short(&format!("{origin}{path}")))));
        let generation = i64::try_from(*generation).unwrap_or(i64::MAX);
        span.set_attribute(KeyValue::new("seaway.policy.generation", generation));
        span.set_attribute(KeyValue::new("seaway.policy.rule", rule.clone()));
        if let Some((stage, kind)) = error {
            span.set_attribute(KeyValue::new("seaway.error.stage", stage.word()));
            failed = Some(Cow::Borrowed(*kind));
        }
    }
    if let Some(kind) = failed {
        span.set_attribute(KeyValue::new("error.type", kind));
        span.set_status(Status::error(""));
    }
}

/// `server.address` and `server.port` of an origin.
fn server(origin: &str) -> Vec<KeyValue> {
    let Ok(uri) = origin.parse::<Uri>() else { return Vec::new() };
    let port = uri.port_u16().or_else(|| uri.scheme_str().map(|scheme| if scheme == "https" { 443 } else { 80 }));
    let address = uri.host().map(|host| KeyValue::new("server.address", host.to_owned()));
    address.into_iter().chain(port.map(|port| KeyValue::new("server.port", i64::from(port)))).collect()
}

/// The session's word for what went wrong, else the status.
fn kind(status: Option<StatusCode>, error: Option<&SessionError>) -> Cow<'static, str> {
    match (error, status) {
        (Some(error), _) => error.kind().word().into(),
        (None, Some(status)) => status.as_str().to_owned().into(),
        (None, None) => "_OTHER".into(),
    }
}

fn fails(span: &SpanRef<'_>, kind: Cow<'static, str>) {
    span.set_attribute(KeyValue::new("error.type", kind));
    span.set_status(Status::error(""));
}

/// The conventions' name for a provider that they know; for any other its row's.
fn provider(row: &str) -> &str {
    match row {
        "azure" => "azure.ai.openai",
        "azure-ai" => "azure.ai.inference",
        "bedrock" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        "vertex" => "gcp.vertex_ai",
        "xai" => "x_ai",
        row => row,
    }
}

/// The conventions' name for a kind of tokens; absent for what they do not count.
fn usage(kind: &str) -> Option<&'static str> {
    match kind {
        "prompt" => Some("gen_ai.usage.input_tokens"),
        "completion" => Some("gen_ai.usage.output_tokens"),
        "cached" => Some("gen_ai.usage.cache_read.input_tokens"),
        "cache-write" => Some("gen_ai.usage.cache_creation.input_tokens"),
        "reasoning" => Some("gen_ai.usage.reasoning.output_tokens"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(uri: &str, host: &str) -> Vec<KeyValue> {
        let (head, ()) = http::Request::get(uri).header(HOST, host).body(()).unwrap().into_parts();
        assert_eq!(request_name(&head), if uri.starts_with("/v1/models/") { "GET /v1/models/{model}" } else { "GET" });
        request(&head, None, true)
    }

    fn value(told: &[KeyValue], name: &str) -> Option<String> {
        told.iter().find(|told| told.key.as_str() == name).map(|told| told.value.to_string())
    }

    #[test]
    fn what_a_client_makes_up_is_no_longer_than_a_span_holds() {
        let told = told(&format!("/{}?key=sk", "x".repeat(9000)), &"h".repeat(9000));
        assert!(told.iter().all(|told| told.value.to_string().len() <= 512), "{told:?}");
        assert_eq!(value(&told, "http.route"), None);
    }

    #[test]
    fn a_server_is_named_without_who_asks() {
        let told = told("/v1/models/m%2F1?key=sk", "user:sk@gate.example:8443");
        let told = ["url.path", "url.scheme", "server.address", "server.port"].map(|name| value(&told, name).unwrap());
        assert_eq!(told, ["/v1/models/m%2F1", "https", "gate.example", "8443"]);
    }
}
