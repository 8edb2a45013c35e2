//! The way to the collector: batches of spans, from a thread and a queue of their own.
//!
//! Runs behind the spans, which it never holds up: the queue is bounded, and what does not fit is lost. Invariant: a collector
//! that is away costs one warning, and one line when it is back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::KeyValue;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider, SpanData};
use seaway_session::Environment;
use seaway_session::policy::Error;
use tokio::runtime::Handle;

use super::{Endpoint, Otel, asking, is_off};

/// Where traces go; absent where nobody asks for them. Must run in a tokio runtime, which carries the exchanges.
pub(super) fn provider(settings: Option<&Otel>, environment: &Environment) -> Result<Option<SdkTracerProvider>, Error> {
    let Some(endpoint) = endpoint(settings, environment)? else { return Ok(None) };
    let refused = |error: &dyn std::fmt::Display| Error::key("serve.otel", format!("{endpoint}: {error}"));
    let https = endpoint.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    let why = Arc::<Mutex<String>>::default();
    let sender = Sender {
        client: client(https).map_err(|error| refused(&error))?,
        executor: Handle::current(),
        why: Arc::clone(&why),
    };
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if let Some(other) = environment.get(name).filter(|protocol| *protocol != "http/protobuf") {
            tracing::warn!("{name} says `{other}`: traces are sent as http/protobuf all the same");
        }
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(sender)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&endpoint)
        .build()
        .map_err(|error| refused(&error))?;
    let exporter = Exporter { exporter, endpoint, why, lost: AtomicU64::new(0) };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(environment))
        .with_span_processor(BatchSpanProcessor::builder(exporter).build());
    Ok(Some(provider.build()))
}

/// The file's word before the environment's, and the variable of traces before the one of all signals:
/// <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp>.
fn endpoint(settings: Option<&Otel>, environment: &Environment) -> Result<Option<String>, Error> {
    const PATH: &str = "/v1/traces";
    let below = |base: &str| format!("{}{PATH}", base.trim_end_matches('/'));
    if is_off(environment) {
        return Ok(None);
    }
    if let Some(endpoint) = settings.and_then(|settings| settings.endpoint.as_ref()) {
        return Ok(Some(below(&endpoint.to_string())));
    }
    let Some((name, url)) = asking(environment) else {
        return Ok(settings.map(|_| below("http://localhost:4318")));
    };
    Endpoint::try_from(url.to_owned()).map_err(|wrong| Error::new(format!("{name}: {wrong}")))?;
    Ok(Some(if name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" { url.to_owned() } else { below(url) }))
}

/// Who we are, where the variables do not say otherwise.
fn resource(environment: &Environment) -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name("seaway")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match environment.get("OTEL_SERVICE_NAME") {
        Some(name) => resource.with_service_name(name.to_owned()).build(),
        None => resource.build(),
    }
}

/// How long an exchange with the collector may take; the exporter's own deadline is mostly sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// The system's roots are what TLS believes.
fn client(https: bool) -> std::io::Result<Arc<dyn HttpClient>> {
    if !https {
        return Ok(Arc::new(HyperClient::<HttpConnector>::with_default_connector(PATIENCE, None)));
    }
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
        .https_only()
        .enable_http1()
        .build();
    Ok(Arc::new(HyperClient::new(connector, PATIENCE, None)))
}

/// Carries the exporter's requests from its thread to the executor.
#[derive(Debug)]
struct Sender {
    client: Arc<dyn HttpClient>,
    executor: Handle,
    /// Why the last request failed: the exporter tells only that it did.
    why: Arc<Mutex<String>>,
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let client = Arc::clone(&self.client);
        let sent = self.executor.spawn(async move { client.send_bytes(request).await }).await;
        let sent = sent.map_err(HttpError::from).and_then(std::convert::identity);
        if let Err(error) = &sent {
            let mut source: &dyn std::error::Error = error.as_ref();
            while let Some(cause) = source.source() {
                source = cause;
            }
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) = format!(": {source}");
        }
        sent
    }
}

/// The exporter, and what became of its batches.
#[derive(Debug)]
struct Exporter {
    exporter: SpanExporter,
    endpoint: String,
    why: Arc<Mutex<String>>,
    /// Spans that the collector has not taken since it was last there.
    lost: AtomicU64,
}

impl opentelemetry_sdk::trace::SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let sent = self.exporter.export(batch).await;
        let why = std::mem::take(&mut *self.why.lock().unwrap_or_else(PoisonError::into_inner));
        match &sent {
            Err(error) => {
                if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 {
                    tracing::warn!("traces are lost, {} takes none: {error}{why}", self.endpoint);
                }
            }
            Ok(()) => match self.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => tracing::info!("{} takes traces again; {lost} spans are lost", self.endpoint),
            },
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(settings: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let settings = settings.map(|text| toml::from_str::<Otel>(text).unwrap());
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        endpoint(settings.as_ref(), &variables.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_names_the_collector_or_the_standards_variables_do() {
        let key = Some("endpoint = \"http://key:1/\"");
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:1")];
        let both = [variables[0], ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:1/here/")];
        let at = |url: &str| Ok(Some(url.to_owned()));
        assert_eq!(told(None, &[]), Ok(None));
        assert_eq!(told(Some(""), &[]), at("http://localhost:4318/v1/traces"));
        assert_eq!(told(None, &variables), at("http://all:1/v1/traces"));
        assert_eq!(told(Some(""), &both), at("http://traces:1/here/"));
        assert_eq!(told(key, &both), at("http://key:1/v1/traces"));
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(told(key, &[off]), Ok(None));
            assert_eq!(told(None, &[variables[0], off]), Ok(None));
        }
    }

    #[test]
    fn a_variable_with_a_secret_is_refused_and_not_repeated() {
        for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] {
            let parts = ["user:sk-hidden@collector", "collector?key=sk-hidden", "collector/#sk-hidden"];
            for url in parts.map(|part| format!("https://{part}")) {
                let error = told(None, &[(name, &url)]).unwrap_err();
                assert!(error.contains(name) && !error.contains("sk-hidden"), "{error}");
            }
        }
    }
}
