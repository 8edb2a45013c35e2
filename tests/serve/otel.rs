//! Traces: what a collector is told of requests, calls and exchanges.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use seaway_tests::answer::Gate;
use seaway_tests::certificates::Authority;
use seaway_tests::collector::{Collector, Span};
use seaway_tests::folder::Folder;
use seaway_tests::gateway::Gateway;
use seaway_tests::host::file;
use seaway_tests::origin::Origin;
use seaway_tests::provider::{error, whole};
use seaway_tests::request::Request;
use tokio::net::TcpSocket;

use super::{HELLO, STREAM, VARIABLES, hello, streaming};

/// Spans are sent soon after they have ended.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "20");
const PARENT: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

/// A server in front of an origin that tells this collector; `more` belongs to `[serve.otel]`, or follows it.
async fn traced(origin: &Origin, collector: &Collector, more: &str, variables: &[(&str, &str)]) -> Gateway {
    let otel = format!("[serve.otel]\nendpoint = \"{}\"\n{more}\n{}", collector.url(), file(origin));
    Gateway::start(&otel, &[&VARIABLES, variables].concat()).await
}

/// The spans of one call: the request's, the call's and the exchange's.
fn of_call(spans: &[Span]) -> [&Span; 3] {
    let [exchange, call, request] = spans else { panic!("not three spans: {spans:?}") };
    assert_eq!((exchange.parent(), call.parent()), (call.id(), request.id()), "{spans:?}");
    [request, call, exchange]
}

fn assert_told(span: &Span, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(span.get(name).as_deref(), Some(*value), "{name} of {span:?}");
    }
}

#[tokio::test]
async fn a_call_is_a_span_in_a_span_in_a_span() {
    let (origin, collector) = (hello().await, Collector::start().await);
    let name = ("OTEL_SERVICE_NAME", "gate");
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    let gateway = traced(&origin, &collector, "", &[SOON, name, attributes]).await;
    let told = [("traceparent", &*format!("00-{PARENT}-01")), ("tracestate", "a=1")];
    assert_eq!(gateway.ask("GET", "/healthz", &told, "").await.status, 200);
    assert_eq!(gateway.ask("POST", "/v1/chat/completions", &told, HELLO).await.status, 200);
    let spans = collector.spans(3).await;
    let [request, call, exchange] = of_call(&spans);
    assert_eq!((request.parent(), request.told.trace_state.as_str()), (PARENT.to_owned(), "a=1"));
    assert_eq!((request.told.kind, call.told.kind, exchange.told.kind), (2, 3, 3), "server, client, client");
    assert_eq!(request.resource("service.name").as_deref(), Some("gate"));
    assert_eq!(request.resource("deployment.environment.name").as_deref(), Some("test"));
    assert_eq!(
        (&*request.told.name, &*call.told.name, &*exchange.told.name),
        ("POST /v1/chat/completions", "chat m-1", "POST")
    );
    let expected = [
        ("http.request.method", "POST"),
        ("url.path", "/v1/chat/completions"),
        ("url.scheme", "http"),
        ("http.route", "/v1/chat/completions"),
        ("http.response.status_code", "200"),
        ("server.address", "seaway"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("seaway.end", "whole"),
    ];
    assert_told(request, &expected);
    let expected = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "test"),
        ("gen_ai.request.model", "m-1"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gen_ai.usage.input_tokens", "3"),
        ("gen_ai.usage.output_tokens", "5"),
        ("server.address", "127.0.0.1"),
    ];
    assert_told(call, &expected);
    let (port, url) = (origin.port().to_string(), origin.url("/v1/chat/completions"));
    let expected = [
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("server.port", &*port),
        ("url.full", &*url),
        ("seaway.policy.generation", "0"),
        ("seaway.policy.rule", "base_url"),
        ("seaway.route.reused", "false"),
    ];
    assert_told(exchange, &expected);
    assert!(exchange.get("seaway.stage.wire.seconds").is_some_and(|took| took.parse::<f64>().unwrap() > 0.0));
    assert!(spans.iter().all(|span| span.get("error.type").is_none() && !span.is_error()), "{spans:?}");
}

/// The span of a stream lasts as long as the stream, and what the client said beside its body is in none.
#[tokio::test]
async fn a_stream_ends_its_spans_and_no_secret_is_in_them() {
    let (gate, collector) = (Gate::shut(), Collector::start().await);
    let origin = streaming(&gate).await;
    let keys = "[serve]\nkeys = [{ value = \"sk-client\", name = \"ci\" }]";
    let gateway = traced(&origin, &collector, keys, &[SOON]).await;
    let mut wire = gateway.connect().await;
    let headers = [
        ("authorization", "Bearer sk-client"),
        ("cookie", "c=sk-cookie"),
        ("user-agent", "sk-agent"),
        ("x-request-id", "sk-id"),
        ("baggage", "user=sk-baggage"),
    ];
    wire.send("POST", "/v1/chat/completions?key=sk-query", &headers, STREAM).await;
    gate.open(1);
    wire.until("one ").await.unwrap();
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    gate.open(10);
    wire.until("[DONE]").await.unwrap();
    let spans = collector.spans(3).await;
    let [request, call, exchange] = of_call(&spans);
    for span in [request, call, exchange] {
        assert!(u128::from(span.told.end_time_unix_nano) > begun, "{span:?}");
    }
    assert_told(request, &[("seaway.end", "whole"), ("seaway.key", "ci"), ("http.response.status_code", "200")]);
    assert_told(call, &[("gen_ai.usage.output_tokens", "5"), ("gen_ai.response.finish_reasons", "stop")]);
    let bytes = String::from_utf8_lossy(&collector.bytes()).into_owned();
    assert!(bytes.contains("/v1/chat/completions") && !bytes.contains("sk-"), "{bytes}");
}

#[tokio::test]
async fn a_client_that_is_gone_is_told() {
    let (gate, collector) = (Gate::shut(), Collector::start().await);
    let origin = streaming(&gate).await;
    let gateway = traced(&origin, &collector, "", &[SOON]).await;
    let mut wire = gateway.connect().await;
    wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
    gate.open(1);
    wire.until("one ").await.unwrap();
    drop(wire);
    let spans = collector.spans(3).await;
    let [request, ..] = of_call(&spans);
    assert_told(request, &[("seaway.end", "gone")]);
    assert!(spans.iter().all(|span| !span.is_error()), "{spans:?}");
}

/// A refusal is the client's error; what is beyond it is the server's too.
#[tokio::test]
async fn an_error_is_told_with_its_kind() {
    let collector = Collector::start().await;
    let asked = AtomicUsize::new(0);
    let origin = Origin::plain(move |_: &Request| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => error("429 Too Many Requests", &[], "slow down"),
        _ => error("503 Service Unavailable", &[], "later"),
    })
    .await;
    let allow = format!("[egress]\nallow = [\"{}\"]", origin.url(""));
    let gateway = traced(&origin, &collector, &allow, &[SOON]).await;
    let elsewhere = HELLO.replace("test/m-1", "ollama/m-1");
    let told = [(HELLO, 429, "429"), (&*elsewhere, 403, "address_denied"), (HELLO, 503, "503")];
    for (nth, (body, status, kind)) in told.into_iter().enumerate() {
        assert_eq!(gateway.complete("none", body).await.status, status);
        let spans = collector.spans(3 * nth + 3).await;
        let [request, call, exchange] = of_call(&spans[3 * nth..]);
        for span in [call, exchange] {
            assert_told(span, &[("error.type", kind)]);
            assert!(span.is_error(), "{span:?}");
        }
        let servers = status >= 500;
        assert_eq!((request.is_error(), request.get("error.type").is_some()), (servers, servers), "{request:?}");
        if status == 403 {
            let expected = [("seaway.error.stage", "egress"), ("url.full", "http://127.0.0.1:11434/api/chat")];
            assert_told(exchange, &expected);
        }
    }
}

#[tokio::test]
async fn what_was_sent_again_is_counted() {
    let collector = Collector::start().await;
    let asked = AtomicUsize::new(0);
    let origin = Origin::plain(move |_: &Request| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => error("503 Service Unavailable", &[("retry-after", "0")], "later"),
        _ => whole("hello"),
    })
    .await;
    let gateway = traced(&origin, &collector, "[retry]\nstatus = [503]", &[SOON]).await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    let spans = collector.spans(3).await;
    let [_, _, exchange] = of_call(&spans);
    assert_told(exchange, &[("http.request.resend_count", "1"), ("http.response.status_code", "200")]);
}

/// The proxy that an exchange went through, without who we are to it.
#[tokio::test]
async fn a_proxy_is_named() {
    // The proxy answers in the origin's place.
    let (origin, proxy, collector) = (hello().await, hello().await, Collector::start().await);
    let url = proxy.url("");
    let more = format!("[proxy]\nmode = \"explicit\"\nhttp = \"{}\"", url.replace("://", "://user:sk-proxy@"));
    let forwarded = file(&origin).replace("[credentials.test]", "[credentials.test]\nplain_proxy = true");
    let otel = format!("[serve.otel]\nendpoint = \"{}\"\n{more}\n{forwarded}", collector.url());
    let gateway = Gateway::start(&otel, &[VARIABLES[0], SOON]).await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    let spans = collector.spans(3).await;
    let [_, _, exchange] = of_call(&spans);
    assert_told(exchange, &[("seaway.route.proxy", &*url), ("url.full", &*origin.url("/v1/chat/completions"))]);
    assert!(!String::from_utf8_lossy(&collector.bytes()).contains("sk-"), "{spans:?}");
    assert_eq!((origin.ledger().accepted, proxy.ledger().accepted), (0, 1));
}

/// A provider is told nothing, unless the file says so; then of the exchange's own span, and of nothing else.
#[tokio::test]
async fn a_provider_learns_a_span_only_where_the_file_says_so() {
    let parent = format!("00-{PARENT}-01");
    let headers = [("traceparent", &*parent), ("tracestate", "a=1"), ("baggage", "b=1")];
    for (more, told) in [("", false), ("propagate = true", true)] {
        let (origin, collector) = (hello().await, Collector::start().await);
        let gateway = traced(&origin, &collector, more, &[SOON]).await;
        assert_eq!(gateway.ask("POST", "/v1/chat/completions", &headers, HELLO).await.status, 200);
        let spans = collector.spans(3).await;
        let [_, _, exchange] = of_call(&spans);
        let request = origin.ledger().requests[0].clone();
        let expected = told.then(|| format!("00-{}-01", exchange.id()));
        assert_eq!(request.header("traceparent"), expected);
        assert!(request.header("tracestate").is_none() && request.header("baggage").is_none(), "{}", request.head);
    }
}

/// The sampler is the standard's variable's; what is not sampled has ids all the same.
#[tokio::test]
async fn what_is_not_sampled_is_not_sent() {
    let (origin, collector) = (hello().await, Collector::start().await);
    let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let gateway = traced(&origin, &collector, "propagate = true", &[SOON, sampler]).await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    let sampled = [("traceparent", &*format!("00-{PARENT}-01"))];
    assert_eq!(gateway.ask("POST", "/v1/chat/completions", &sampled, HELLO).await.status, 200);
    let spans = collector.spans(3).await;
    assert!(spans.iter().all(|span| PARENT.starts_with(&span.id()[..32])), "{spans:?}");
    let told = origin.ledger().requests[0].header("traceparent").unwrap();
    assert!(told.starts_with("00-") && told.ends_with("-00"), "{told}");
}

#[tokio::test]
async fn a_parent_that_is_none_is_ignored() {
    let (origin, collector) = (hello().await, Collector::start().await);
    let gateway = traced(&origin, &collector, "", &[SOON]).await;
    let wrong = [("traceparent", &*format!("00-{}-01", PARENT.to_uppercase())), ("tracestate", "a=1")];
    assert_eq!(gateway.ask("GET", "/v1/models", &wrong, "").await.status, 200);
    let spans = collector.spans(1).await;
    let request = &spans[0];
    assert!(request.told.parent_span_id.is_empty() && request.told.trace_state.is_empty(), "{request:?}");
    assert_eq!(request.told.name, "GET /v1/models");
}

/// However seldom it sends: the process waits for a collector that takes its time. Over TLS, by the roots that the system has.
#[tokio::test]
async fn what_is_left_is_sent_at_the_end() {
    let (gate, authority, roots) = (Gate::shut(), Authority::new("ours"), Folder::new());
    let collector = Collector::tls(&gate, authority.leaf(&["localhost"]).server()).await;
    roots.write("ca.pem", authority.pem());
    let (origin, url, roots) = (hello().await, collector.url(), roots.path().join("ca.pem").display().to_string());
    let variables = [
        VARIABLES[0],
        ("SSL_CERT_FILE", &*roots),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector=mine"),
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ];
    let mut gateway = Gateway::start(&file(&origin), &variables).await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    gateway.signal("TERM");
    collector.connected().await;
    gate.open(1);
    assert_eq!(gateway.ended().await, Some(0));
    let spans = collector.spans(3).await;
    assert_eq!(of_call(&spans)[0].resource("service.name").as_deref(), Some("seaway"));
    let heads = collector.heads();
    assert!(heads[0].starts_with("POST /v1/traces ") && heads[0].contains("x-collector: mine"), "{heads:?}");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_one_warning_and_no_call() {
    // Bound, and nobody listens: no other test has its port.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let (origin, url) = (hello().await, format!("http://{}", nobody.local_addr().unwrap()));
    let otel = format!("[serve.otel]\nendpoint = \"{url}\"\n{}", file(&origin));
    let timeout = ("OTEL_EXPORTER_OTLP_TIMEOUT", "50");
    let mut gateway = Gateway::start(&otel, &[VARIABLES[0], SOON, timeout]).await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    gateway.says("traces are lost").await;
    for _ in 0..20 {
        assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    }
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, Some(0));
    let said = gateway.said();
    assert_eq!(said.matches("traces are lost").count(), 1, "{said}");
    assert!(said.contains(&url) && said.contains("refused"), "{said}");
}
