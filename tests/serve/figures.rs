//! What a server tells of itself: figures and the access log.

use seaway_tests::answer::Gate;
use seaway_tests::eventually;
use seaway_tests::gateway::Gateway;
use seaway_tests::host::file;

use super::{HELLO, STREAM, before, hello, streaming};

#[tokio::test]
async fn figures_are_the_servers_and_the_sessions() {
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    assert_eq!(gateway.ask("GET", "/made/up/path", &[], "").await.status, 404);
    let told = [
        "seaway_serve_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1",
        "seaway_serve_requests_total{path=\"other\",status=\"404\"} 1",
        "seaway_serve_calls 0",
        "seaway_serve_connections 1",
        "seaway_session_exchanges_total 1",
    ];
    // The server notices a moment later that a connection has closed.
    let all = async || {
        let reply = gateway.ask("GET", "/metrics", &[], "").await;
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4"));
        assert!(reply.body.contains("\nseaway_serve_request_seconds_bucket{"), "{reply:?}");
        told.iter().all(|told| reply.body.lines().any(|line| line == *told))
    };
    gateway.until("all figures are told", all).await;
}

/// Instances are made when they are needed and used again; a call takes time, but not while it waits.
#[tokio::test]
async fn figures_are_the_runtimes_too() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let gateway = before(&origin, "").await;
    let told = async |expected: &[&str]| {
        let text = gateway.ask("GET", "/metrics", &[], "").await.body;
        expected.iter().all(|expected| text.lines().any(|line| line == *expected))
    };
    let mut wire = gateway.connect().await;
    wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
    gate.open(1);
    wire.until("one ").await.unwrap();
    let during = [
        "seaway_runtime_instances{state=\"busy\"} 1",
        "seaway_runtime_instances{state=\"idle\"} 0",
        "seaway_runtime_instances_made_total 1",
        "seaway_runtime_cpu_seconds_count 0",
    ];
    assert!(told(&during).await);
    gate.open(2);
    wire.until("[DONE]").await.unwrap();
    gate.open(10);
    let one = [
        "seaway_runtime_instances{state=\"busy\"} 0",
        "seaway_runtime_instances{state=\"idle\"} 1",
        "seaway_runtime_cpu_seconds_count 1",
    ];
    gateway.until("the call is over", async || told(&one).await).await;
    assert_eq!(gateway.complete("none", STREAM).await.status, 200);
    let two = ["seaway_runtime_instances_made_total 1", "seaway_runtime_cpu_seconds_count 2"];
    gateway.until("both calls are over", async || told(&two).await).await;
    let text = gateway.ask("GET", "/metrics", &[], "").await.body;
    let sum = text.lines().find_map(|line| line.strip_prefix("seaway_runtime_cpu_seconds_sum ")).unwrap();
    let sum: f64 = sum.parse().unwrap();
    assert!(sum > 0.0 && sum < 20.0, "{sum}");
}

#[tokio::test]
async fn the_log_has_a_line_a_request_and_no_secret() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let gateway = before(&origin, "[serve]\nlog = \"json\"\nkeys = [{ value = \"sk-secret\", name = \"ci\" }]").await;
    let mut wire = gateway.connect().await;
    let headers = [("authorization", "Bearer sk-secret"), ("x-request-id", "r-1")];
    wire.send("POST", "/v1/chat/completions?key=sk-secret", &headers, STREAM).await;
    gate.open(1);
    wire.until("one ").await.unwrap();
    drop(wire);
    eventually("the line is written", || gateway.logged().contains('\n')).await;
    gate.open(10);
    assert_eq!(gateway.complete("sk-secret", STREAM).await.status, 200);
    eventually("both are written", || gateway.logged().lines().count() == 2).await;
    let logged = gateway.logged();
    let lines: Vec<serde_json::Value> = logged.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, end) in lines.iter().zip(["gone", "whole"]) {
        assert_eq!(
            (line["status"].as_u64(), line["end"].as_str(), line["key"].as_str()),
            (Some(200), Some(end), Some("ci"))
        );
        assert_eq!((line["path"].as_str(), line["peer"].as_str()), (Some("/v1/chat/completions"), Some("127.0.0.1")));
        assert!(line["bytes"].as_u64() > Some(0) && line["milliseconds"].as_f64() > Some(0.0), "{line}");
    }
    assert_eq!(lines[0]["id"], "r-1");
    assert!(!logged.contains("sk-secret"), "{logged}");
}

#[tokio::test]
async fn the_log_may_be_words_or_nothing() {
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    eventually("the line is written", || gateway.logged().contains('\n')).await;
    let line = gateway.logged();
    assert!(line.contains(" 127.0.0.1 POST /v1/chat/completions 200 ") && line.contains(" whole"), "{line}");
    let origin = hello().await;
    let mut silent = before(&origin, "[serve]\nlog = \"off\"").await;
    assert_eq!(silent.complete("none", HELLO).await.status, 200);
    silent.signal("TERM");
    assert_eq!((silent.ended().await, silent.logged()), (Some(0), String::new()));
}

/// What a client is not told, whoever runs the server is.
#[tokio::test]
async fn the_log_says_why_the_session_refused_a_call() {
    let origin = hello().await;
    let gateway = Gateway::start(&file(&origin), &[]).await;
    let reply = gateway.complete("none", HELLO).await;
    assert!(reply.status == 500 && !reply.body.contains("TEST_KEY"), "{reply:?}");
    eventually("the line is written", || gateway.logged().contains('\n')).await;
    assert!(gateway.logged().contains("TEST_KEY"), "{}", gateway.logged());
}
