//! What the component tells the server of its answers, and the times that a client asks for.

use seaway_tests::answer::{Answer, Gate, Then};
use seaway_tests::eventually;
use seaway_tests::gateway::Gateway;
use seaway_tests::origin::Origin;
use seaway_tests::provider::{begun, error};
use seaway_tests::request::Request;

use super::{HELLO, STREAM, VARIABLES, before, either, hello, streaming};

/// A stream whose client wants the usage.
const COUNTED: &str = r#"{"model": "test/m-1", "stream": true, "stream_options": {"include_usage": true},
    "messages": [{"role": "user", "content": "hi"}]}"#;

async fn logged(gateway: &Gateway, lines: usize) -> Vec<serde_json::Value> {
    eventually("the lines are written", || gateway.logged().lines().count() == lines).await;
    gateway.logged().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn answers_are_counted_and_logged_by_who_gave_them() {
    let origin = hello().await;
    let gateway = before(&origin, "[serve]\nlog = \"json\"").await;
    for _ in 0..2 {
        assert_eq!(gateway.complete("none", HELLO).await.status, 200);
    }
    assert_eq!(gateway.complete("none", &HELLO.replace("test/m-1", "nobody")).await.status, 404);
    let lines = logged(&gateway, 3).await;
    for line in &lines[..2] {
        assert_eq!((line["provider"].as_str(), line["model"].as_str()), (Some("test"), Some("m-1")), "{line}");
        assert_eq!(line["finish"], "stop");
        assert_eq!(line["tokens"], serde_json::json!({ "prompt": 3, "completion": 5 }));
    }
    assert!(lines[2]["provider"].is_null() && lines[2]["tokens"].is_null(), "{}", lines[2]);
    let figures = gateway.ask("GET", "/metrics", &[], "").await.body;
    for told in [
        "seaway_serve_completions_total{provider=\"test\",model=\"m-1\",finish=\"stop\"} 2",
        "seaway_serve_tokens_total{provider=\"test\",model=\"m-1\",kind=\"prompt\"} 6",
        "seaway_serve_tokens_total{provider=\"test\",model=\"m-1\",kind=\"completion\"} 10",
    ] {
        assert!(figures.lines().any(|line| line == told), "{told}: {figures}");
    }
    assert!(!figures.contains("nobody"), "{figures}");
}

#[tokio::test]
async fn a_stream_is_told_of_at_its_end_and_a_broken_one_has_none() {
    let gate = Gate::shut();
    gate.open(100);
    let origin = streaming(&gate).await;
    let gateway = before(&origin, "[serve]\nlog = \"json\"").await;
    assert!(gateway.complete("none", COUNTED).await.body.ends_with("data: [DONE]\n\n"));
    let line = logged(&gateway, 1).await.remove(0);
    assert_eq!((line["finish"].as_str(), line["tokens"]["completion"].as_u64()), (Some("stop"), Some(5)), "{line}");
    let gate = Gate::shut();
    gate.open(1);
    let origin = Origin::plain(move |_: &_| -> Answer { begun(&gate, &["one "]).then(Then::Drop) }).await;
    let gateway = before(&origin, "[serve]\nlog = \"json\"").await;
    assert!(gateway.complete("none", STREAM).await.body.contains("\"error\":"));
    let line = logged(&gateway, 1).await.remove(0);
    assert!(line["provider"] == "test" && line["finish"].is_null(), "{line}");
    let figures = gateway.ask("GET", "/metrics", &[], "").await.body;
    let told = "seaway_serve_completions_total{provider=\"test\",model=\"m-1\",finish=\"failed\"} 1";
    assert!(figures.lines().any(|line| line == told), "{figures}");
}

/// What went wrong is told in the line, and whom it was asked, but not in the provider's words; a denial with what would
/// allow it, on standard error too.
#[tokio::test]
async fn what_went_wrong_is_logged() {
    let gate = Gate::shut();
    gate.open(100);
    let origin = Origin::plain(move |request: &Request| {
        let of = |model: &str| String::from_utf8_lossy(&request.body).contains(model);
        match (of("m-html"), of("m-429"), of("m-clean")) {
            (true, ..) => Answer::whole("200 OK", &[("content-type", "text/html")], "<html>MARK"),
            (_, true, _) => error("429 Too Many Requests", &[], "MARK"),
            (.., true) => begun(&gate, &["MARK "]).write("0\r\n\r\n"),
            _ => begun(&gate, &["MARK "]).then(Then::Drop),
        }
    })
    .await;
    let url = origin.url("");
    let more = format!("[serve]\nlog = \"json\"\n[egress]\nallow = [\"{url}\"]");
    let gateway = before(&origin, &more).await;
    for (nth, (body, model, status, why)) in [
        (HELLO, "test/m-html", 502, "provider (200)"),
        (HELLO, "test/m-429", 429, "rate limit (429)"),
        (STREAM, "test/m-clean", 200, "connection"),
        (STREAM, "test/m-cut", 200, "body: "),
        (HELLO, "ollama/m-1", 403, "egress.allow = "),
        (HELLO, "nobody/m-1", 404, "not found"),
        ("{", "", 400, "bad request"),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = gateway.complete("none", &body.replace("test/m-1", model)).await;
        assert_eq!(reply.status, status, "{model}: {reply:?}");
        let line = logged(&gateway, nth + 1).await.remove(nth);
        let told = line["error"].as_str().unwrap_or_default();
        assert!(told.contains(why) && !told.contains("MARK"), "{model}: {line}");
        assert_eq!(line["finish"], serde_json::Value::Null);
        let asked = model.split_once('/').filter(|(provider, _)| status != 404 && !provider.is_empty());
        assert_eq!((line["provider"].as_str(), line["model"].as_str()), asked.unzip(), "{line}");
    }
    let denied = HELLO.replace("test/m-1", "ollama/m-2");
    assert_eq!(gateway.complete("none", &denied).await.status, 403);
    let said = gateway.said();
    assert_eq!(said.matches("denied: ").count(), 1, "{said}");
    assert!(said.contains("egress.allow = "), "{said}");
    let figures = gateway.ask("GET", "/metrics", &[], "").await.body;
    assert!(figures.contains("provider=\"ollama\",model=\"other\",finish=\"failed\""), "{figures}");
}

/// Not over HTTP/1.1, where a client may ask for trailers, and not over HTTP/2, where it need not.
#[tokio::test]
async fn what_the_component_tells_the_server_reaches_no_client() {
    let gate = Gate::shut();
    gate.open(100);
    let origin = either(&gate).await;
    let gateway = before(&origin, "[serve]\nlog = \"json\"").await;
    let mut wire = gateway.connect().await;
    wire.send("POST", "/v1/chat/completions", &[("te", "trailers"), ("connection", "te")], COUNTED).await;
    let head = wire.until("\r\n\r\n").await.unwrap();
    let body = wire.until("\r\n0\r\n").await.unwrap();
    // The last chunk ends at once, and the next answer begins there.
    assert_eq!(wire.until("\r\n").await.unwrap(), "\r\n");
    wire.send("GET", "/healthz", &[], "").await;
    assert!(wire.until("\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(!format!("{head}{body}").to_ascii_lowercase().contains("seaway-"), "{head}{body}");
    let url = gateway.url("/v1/chat/completions");
    for body in [COUNTED, HELLO] {
        let url = url.clone();
        let curl = tokio::task::spawn_blocking(move || {
            let flags = ["-sv", "--noproxy", "*", "--http2-prior-knowledge", "-m", "20", "-H", "te: trailers"];
            std::process::Command::new("curl").args(flags).args(["-d", body, &url]).output()
        });
        let Ok(said) = curl.await.unwrap() else {
            return seaway_tests::daemon::missing("curl is not installed (curl)");
        };
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).to_ascii_lowercase();
        assert!(said.contains("< http/2 200") && !said.contains("< seaway-"), "{said}");
    }
    let lines = logged(&gateway, 4).await;
    assert_eq!(lines.iter().filter(|line| line["provider"] == "test").count(), 3, "the server is told all the same");
}

#[tokio::test]
async fn times_are_told_to_whoever_asks() {
    let origin = hello().await;
    let gateway = Gateway::start(&super::file(&origin), &VARIABLES).await;
    assert_eq!(gateway.complete("none", HELLO).await.header("x-seaway-timing"), None);
    let timing = async |value: &str| {
        let reply = gateway.ask("POST", "/v1/chat/completions", &[("x-seaway-timing", value)], HELLO).await;
        reply.header("x-seaway-timing").map(str::to_owned)
    };
    assert_eq!(timing("").await, None);
    let told = timing("1").await.unwrap();
    let names: Vec<&str> = told.split(", ").map(|stage| stage.split_once(";dur=").unwrap().0).collect();
    assert!(names.starts_with(&["queue"]) && names.ends_with(&["body", "total"]), "{told}");
    assert!(names.contains(&"wire") && !told.contains("127.0.0.1"), "{told}");
    let (_, total) = told.rsplit_once("total;dur=").unwrap();
    assert!(total.parse::<f64>().unwrap() > 0.0, "{told}");
}
