//! A collector: an origin that takes OTLP over HTTP, and what is in it.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as Told;
use prost::Message as _;
use rustls::ServerConfig;

use crate::answer::{Answer, Gate};
use crate::ledger::Ledger;
use crate::origin::Origin;
use crate::request::Request;

/// Where traces go.
#[derive(Debug)]
pub struct Collector(Origin);

/// One span.
#[derive(Clone, Debug)]
pub struct Span {
    /// What its process says of itself.
    pub resource: Vec<KeyValue>,
    /// The span.
    pub told: Told,
}

impl Collector {
    /// Takes whatever comes.
    pub async fn start() -> Self {
        Self(Origin::plain(|_: &Request| Answer::ok("")).await)
    }

    /// The same over TLS; each handshake waits at the gate.
    pub async fn tls(gate: &Gate, config: ServerConfig) -> Self {
        Self(Origin::tls_after(gate, config, |_: &Request| Answer::ok("")).await)
    }

    /// Waits until somebody has connected.
    pub async fn connected(&self) {
        self.0.until("a connection", |ledger| ledger.accepted > 0).await;
    }

    /// The base of its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url("")
    }

    /// The spans, once there are so many.
    ///
    /// # Panics
    /// If there are never, or more.
    pub async fn spans(&self, count: usize) -> Vec<Span> {
        let ledger = self.0.until(&format!("{count} spans"), |ledger| spans(ledger).len() >= count).await;
        let spans = spans(&ledger);
        assert_eq!(spans.len(), count, "{spans:?}");
        spans
    }

    /// All that has come, as it came.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.ledger().requests.iter().flat_map(|request| request.body.to_vec()).collect()
    }

    /// The heads of what has come.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.0.ledger().requests.iter().map(|request| request.head.clone()).collect()
    }
}

fn spans(ledger: &Ledger) -> Vec<Span> {
    let exports = ledger.requests.iter().flat_map(|request| {
        let export = ExportTraceServiceRequest::decode(request.body.clone()).expect("it is an export of traces");
        export.resource_spans
    });
    exports
        .flat_map(|of| {
            let resource = of.resource.map(|resource| resource.attributes).unwrap_or_default();
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(move |told| Span { resource: resource.clone(), told })
        })
        .collect()
}

impl Span {
    /// An attribute as text; absent where it has none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        attribute(&self.told.attributes, name)
    }

    /// The same, of its process.
    #[must_use]
    pub fn resource(&self, name: &str) -> Option<String> {
        attribute(&self.resource, name)
    }

    /// True if its status is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.told.status.as_ref().is_some_and(|status| status.code == 2)
    }

    /// Its trace and its own id, as `traceparent` has them.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-{}", hex(&self.told.trace_id), hex(&self.told.span_id))
    }

    /// Its trace and its parent.
    #[must_use]
    pub fn parent(&self) -> String {
        format!("{}-{}", hex(&self.told.trace_id), hex(&self.told.parent_span_id))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    attributes.iter().find(|attribute| attribute.key == name).and_then(|attribute| text(attribute.value.as_ref()?))
}

fn text(value: &AnyValue) -> Option<String> {
    match value.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(value) => Some(value.to_string()),
        Value::IntValue(value) => Some(value.to_string()),
        Value::DoubleValue(value) => Some(value.to_string()),
        Value::ArrayValue(array) => Some(array.values.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        Value::KvlistValue(_) | Value::BytesValue(_) | Value::StringValueStrindex(_) => None,
    }
}
