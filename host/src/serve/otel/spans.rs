//! The spans of one request: its own, the call's below that, and the exchanges' below the call's.
//!
//! A request's begins with its head and ends with its line of the log; an exchange's begins in `outbound` and ends where the
//! session's record says. Invariant: what the spans hold is what [`attributes`] lets in.

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use seaway_session::policy::Error;
use seaway_session::{Environment, Record};

use super::super::figures::End;
use super::super::report::Report;
use super::{Otel, attributes, export};
use crate::runtime::{CallRecord, Watch};

/// Begins traces. Dropping it lets go of what has not been sent.
pub(in crate::serve) struct Tracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagate: bool,
}

/// One request's.
pub(in crate::serve) struct Trace {
    tracer: SdkTracer,
    propagate: bool,
    request: Context,
    /// True if what it asks for is a completion.
    completes: bool,
    call: Option<(Context, Arc<Exchanges>)>,
}

impl Tracer {
    /// Absent where nobody asks for traces.
    ///
    /// # Errors
    /// One line: what of the settings or the variables cannot be used.
    pub(in crate::serve) fn start(settings: Option<&Otel>, environment: &Environment) -> Result<Option<Self>, Error> {
        let Some(provider) = export::provider(settings, environment)? else { return Ok(None) };
        let scope = InstrumentationScope::builder("seaway").with_version(env!("CARGO_PKG_VERSION"));
        let tracer = provider.tracer_with_scope(scope.build());
        Ok(Some(Self { provider, tracer, propagate: settings.is_some_and(|settings| settings.propagate) }))
    }

    /// Begins the span of a request; absent for what is asked every few seconds, and answered without the component.
    pub(in crate::serve) fn request(&self, head: &Parts, peer: Option<SocketAddr>, tls: bool) -> Option<Trace> {
        let path = head.uri.path();
        if ["/healthz", "/readyz", "/metrics"].contains(&path) {
            return None;
        }
        let builder = SpanBuilder::from_name(attributes::request_name(head))
            .with_kind(SpanKind::Server)
            .with_attributes(attributes::request(head, peer, tls));
        let span = self.tracer.build_with_context(builder, &parent(&head.headers));
        Some(Trace {
            tracer: self.tracer.clone(),
            propagate: self.propagate,
            request: Context::new().with_span(span),
            completes: head.method == Method::POST && ["/v1/chat/completions", "/chat"].contains(&path),
            call: None,
        })
    }

    /// Sends what has not been sent, within that time. No span ends after it.
    pub(in crate::serve) async fn end(&self, within: Duration) {
        let provider = self.provider.clone();
        // The exporter has told of what went wrong.
        drop(tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(within)).await);
    }
}

impl Drop for Tracer {
    /// The SDK's own drop waits.
    fn drop(&mut self) {
        drop(self.provider.shutdown_with_timeout(Duration::ZERO));
    }
}

impl Trace {
    /// The component is asked, and `record` has what it does.
    pub(in crate::serve) fn calls(&mut self, record: &CallRecord) {
        if !self.completes {
            return;
        }
        let builder = SpanBuilder::from_name("chat").with_kind(SpanKind::Client);
        let span = self.tracer.build_with_context(builder, &self.request);
        let recorded = span.is_recording();
        let call = self.request.with_span(span);
        let (tracer, propagate, begun) = (self.tracer.clone(), self.propagate, Mutex::default());
        let exchanges = Arc::new(Exchanges { tracer, propagate, call: call.clone(), begun });
        if recorded || propagate {
            record.watched(Arc::<Exchanges>::clone(&exchanges));
        }
        self.call = Some((call, exchanges));
    }

    /// Ends all of them.
    pub(in crate::serve) fn end(
        self,
        status: Option<StatusCode>,
        end: End,
        key: Option<&str>,
        report: Option<&Report>,
        record: Option<&CallRecord>,
    ) {
        let error = record.and_then(CallRecord::error);
        if let Some((call, exchanges)) = self.call {
            let last = exchanges.end();
            let span = call.span();
            attributes::call(&span, status, end, report, error.as_deref(), last.as_deref());
            span.end();
        }
        let span = self.request.span();
        attributes::answer(&span, status, end, key, error.as_deref());
        span.end();
    }
}

/// The exchanges of a call.
struct Exchanges {
    tracer: SdkTracer,
    propagate: bool,
    call: Context,
    begun: Mutex<Vec<Begun>>,
}

struct Begun {
    span: Span,
    at: SystemTime,
    record: Record,
}

impl Exchanges {
    /// Ends their spans; the origin of the last of them.
    fn end(&self) -> Option<String> {
        let begun = std::mem::take(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner));
        let mut last = None;
        for Begun { mut span, at, record } in begun {
            let Some(timings) = record.timings() else { continue };
            attributes::exchange(&mut span, &timings);
            span.end_with_timestamp(at + timings.elapsed());
            last = timings.origin;
        }
        last
    }
}

impl Watch for Exchanges {
    fn begins(&self, method: &Method, record: &Record) -> Option<(HeaderName, HeaderValue)> {
        let builder = SpanBuilder::from_name(attributes::method(method))
            .with_kind(SpanKind::Client)
            .with_attributes(attributes::method_of(method));
        let span = self.tracer.build_with_context(builder, &self.call);
        let field = self.propagate.then(|| {
            let context = span.span_context();
            let (trace, span, sampled) = (context.trace_id(), context.span_id(), context.is_sampled());
            let value = HeaderValue::try_from(format!("00-{trace}-{span}-{:02x}", u8::from(sampled)));
            (TRACEPARENT, value.expect("digits and dashes fit into a header"))
        });
        let begun = Begun { span, at: SystemTime::now(), record: record.clone() };
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(begun);
        field
    }
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// As much of a state is passed on at least: <https://www.w3.org/TR/trace-context/#tracestate-limits>.
const LONGEST_STATE: usize = 512;

/// The span that a request says it is of, if it says so as it must: <https://www.w3.org/TR/trace-context/#traceparent-header>.
/// The SDK's propagator takes more, and of several headers the first.
fn parent(headers: &HeaderMap) -> Context {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    match (parents.next().and_then(|parent| parent.to_str().ok()).and_then(remote), parents.next()) {
        (Some((trace, span, flags)), None) => {
            let states: Vec<&str> =
                headers.get_all(TRACESTATE).iter().filter_map(|state| state.to_str().ok()).collect();
            let state = Some(states.join(",")).filter(|state| state.len() <= LONGEST_STATE);
            let state = state.and_then(|state| TraceState::from_str(&state).ok()).unwrap_or_default();
            Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, state))
        }
        (Some(_) | None, _) => Context::new(),
    }
}

fn remote(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    const LENGTH: usize = 55;
    let (parent, more) = text.split_at_checked(LENGTH)?;
    let fields: Vec<&str> = parent.split('-').collect();
    let [version, trace, span, flags] = fields[..] else { return None };
    let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    let shaped = [(version, 2), (trace, 32), (span, 16), (flags, 2)]
        .iter()
        .all(|(field, length)| field.len() == *length && field.bytes().all(is_hex));
    let known = version != "ff" && (more.is_empty() || (version != "00" && more.starts_with('-')));
    if !shaped || !known {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_what_the_specification_says() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for taken in ["00-T-S-01", "00-T-S-00", "01-T-S-09", "cc-T-S-01-more"] {
            let text = taken.replace('T', trace).replace('S', span);
            assert_eq!(remote(&text).map(|(trace, ..)| trace.to_string()).as_deref(), Some(trace), "{text}");
        }
        let zero = "0".repeat(32);
        for ignored in ["", "00", "00-T-S", "00-T-S-01-more", "cc-T-S-01more", "ff-T-S-01", "0-T-S-011", "00-Z-S-01"] {
            let text = ignored.replace('T', trace).replace('S', span).replace('Z', &zero);
            assert!(remote(&text).is_none(), "{text}");
        }
        for ignored in [trace.to_uppercase(), trace.replace('a', "+"), "x".repeat(32)] {
            assert!(remote(&format!("00-{ignored}-{span}-01")).is_none(), "{ignored}");
        }
        assert!(remote(&format!("00-{trace}-{}-01", "0".repeat(16))).is_none());
    }

    #[test]
    fn of_two_parents_there_is_none() {
        let text = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, text.clone());
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        let span = parent(&headers);
        assert_eq!(span.span().span_context().trace_state().header(), "a=1,b=2");
        headers.append(TRACESTATE, HeaderValue::from_str(&format!("c={}", "x".repeat(512))).unwrap());
        assert_eq!(parent(&headers).span().span_context().trace_state().header(), "", "it is too long");
        headers.append(TRACEPARENT, text);
        assert!(!parent(&headers).has_active_span());
    }
}
