//! `seaway serve`: the component as a gateway, as a process with clients.

mod keys;
mod limits;
mod life;
mod figures;
mod report;
mod tls;
mod admin;
mod egress_log;
#[cfg(feature = "otel")]
mod otel;
mod chain;
mod load;
mod rolling;

use seaway_tests::answer::{Answer, Gate};
use seaway_tests::gateway::{Gateway, Reply};
use seaway_tests::host::file;
use seaway_tests::origin::Origin;
use seaway_tests::provider::{error, streamed, whole};
use seaway_tests::request::Request;

/// The variables of [`file`].
const VARIABLES: [(&str, &str); 1] = [("TEST_KEY", "sk-upstream")];

/// A request for a completion, whole and streamed.
const HELLO: &str = r#"{"model": "test/m-1", "messages": [{"role": "user", "content": "hi"}]}"#;
const STREAM: &str = r#"{"model": "test/m-1", "stream": true, "messages": [{"role": "user", "content": "hi"}]}"#;

async fn hello() -> Origin {
    Origin::plain(|_: &Request| whole("hello")).await
}

/// An origin whose streams go on once the gate lets them.
async fn streaming(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::plain(move |_: &Request| streamed(&gate, &["one ", "two"])).await
}

/// An origin that streams to whoever asks for that.
async fn either(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::plain(move |request: &Request| match request.body.windows(13).any(|at| at == b"\"stream\":true") {
        true => streamed(&gate, &["one ", "two"]),
        false => whole("hello"),
    })
    .await
}

/// A server in front of an origin; `more` stands at the top of its file.
async fn before(origin: &Origin, more: &str) -> Gateway {
    Gateway::start(&format!("{more}\n{}", file(origin)), &VARIABLES).await
}

fn assert_error(reply: &Reply, status: u16, words: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let error = &reply.json()["error"];
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(words) && error["type"].is_string(), "{reply:?}");
}

#[tokio::test]
async fn a_completion_comes_whole_streamed_and_as_a_chat() {
    let gate = Gate::shut();
    gate.open(100);
    let origin = either(&gate).await;
    let gateway = before(&origin, "").await;
    let reply = gateway.complete("none", HELLO).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "hello");
    let reply = gateway.complete("none", STREAM).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(reply.body.contains("\"content\":\"one \"") && reply.body.ends_with("data: [DONE]\n\n"), "{reply:?}");
    let chat = r#"{"model": "test/m-1", "message": "hi"}"#;
    let reply = gateway.ask("POST", "/chat", &[], chat).await;
    assert_eq!((reply.status, &reply.json()["text"]), (200, &"hello".into()));
    assert_eq!(reply.json()["usage"]["total_tokens"], 8);
    let reply = gateway.ask("POST", "/chat", &[("accept", "text/event-stream")], chat).await;
    let begins = "data: {\"text\":\"one \"}\n\ndata: {\"text\":\"two\"}\n\ndata: {\"finish_reason\":\"stop\"";
    assert!(reply.body.starts_with(begins) && reply.body.ends_with("data: [DONE]\n\n"), "{reply:?}");
}

/// The provider sees its own key and nothing of the client's head.
#[tokio::test]
async fn what_a_client_sends_beside_its_body_stays_here() {
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    let headers = [("authorization", "Bearer sk-client"), ("cookie", "c=sk-client"), ("x-api-key", "sk-client")];
    assert_eq!(gateway.ask("POST", "/v1/chat/completions?key=sk-client", &headers, HELLO).await.status, 200);
    let head = origin.ledger().requests[0].head.clone();
    assert!(head.contains("sk-upstream") && !head.contains("sk-client"), "{head}");
}

#[tokio::test]
async fn models_are_listed_and_told() {
    let origin = hello().await;
    let gateway = before(&origin, "[models.fast]\nprovider = \"test\"\nmodel = \"m-1\"").await;
    let list = gateway.ask("GET", "/v1/models", &[], "").await.json();
    assert_eq!((list["data"][0]["id"].as_str(), list["data"][0]["owned_by"].as_str()), (Some("fast"), Some("test")));
    assert_eq!(gateway.ask("GET", "/v1/models/test%2Fm-1", &[], "").await.json()["id"], "test/m-1");
    assert_error(&gateway.ask("GET", "/v1/models/gone", &[], "").await, 404, "gone");
}

#[tokio::test]
async fn what_is_not_there_is_an_error_of_openai() {
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    for (method, path, body, status, words) in [
        ("GET", "/", "", 404, "nothing at /"),
        ("POST", "/v1/embeddings", "{}", 404, "/v1/embeddings"),
        ("GET", "/v1/chat/completions", "", 405, "POST"),
        ("POST", "/v1/models", "", 405, "GET"),
        ("POST", "/healthz", "", 405, "GET"),
        ("POST", "/v1/chat/completions", "{bad", 400, "cannot be read"),
        ("POST", "/v1/chat/completions", "", 400, "cannot be read"),
        (
            "POST",
            "/v1/chat/completions",
            "{\"model\": \"nobody/x\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
            404,
            "nobody",
        ),
    ] {
        assert_error(&gateway.ask(method, path, &[], body).await, status, words);
    }
    assert_eq!(gateway.ask("GET", "/v1/chat/completions", &[], "").await.header("allow"), Some("post"));
    assert_eq!(gateway.ask("PUT", "/v1/models", &[], "").await.header("allow"), Some("get"));
}

#[tokio::test]
async fn a_providers_refusal_keeps_its_status_and_its_retry_after() {
    let origin =
        Origin::plain(|_: &Request| error("429 Too Many Requests", &[("retry-after", "7")], "slow down")).await;
    let reply = before(&origin, "").await.complete("none", HELLO).await;
    assert_error(&reply, 429, "slow down");
    assert_eq!(reply.header("retry-after"), Some("7"));
}

/// Two requests on one connection, sent in one write.
#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    let mut wire = gateway.connect().await;
    wire.write(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\nGET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((wire.reply().await.body, wire.reply().await.body), ("ok\n".to_owned(), "ready\n".to_owned()));
    wire.send("POST", "/v1/chat/completions", &[], HELLO).await;
    assert_eq!(wire.reply().await.status, 200);
}

#[tokio::test]
async fn a_request_has_an_id() {
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    let told = gateway.ask("GET", "/healthz", &[("x-request-id", "mine-1")], "").await;
    assert_eq!(told.header("x-request-id"), Some("mine-1"));
    let made = |reply: Reply| reply.header("x-request-id").unwrap_or_default().to_owned();
    let one = made(gateway.ask("GET", "/healthz", &[], "").await);
    let other = made(gateway.ask("GET", "/healthz", &[("x-request-id", "two words")], "").await);
    assert!(one.len() == 17 && other.len() == 17 && one != other, "{one} {other}");
}

#[tokio::test]
async fn a_client_of_http2_is_served_too() {
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    let url = gateway.url("/v1/chat/completions");
    let curl = tokio::task::spawn_blocking(move || {
        let flags =
            ["-sS", "--noproxy", "*", "--http2-prior-knowledge", "-m", "20", "-w", " %{http_version} %{http_code}"];
        std::process::Command::new("curl").args(flags).args(["-d", HELLO, &url]).output()
    });
    let Ok(said) = curl.await.unwrap() else { return seaway_tests::daemon::missing("curl is not installed (curl)") };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("\"content\":\"hello\"") && said.ends_with(" 2 200"), "{said}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_a_place_to_listen() {
    use std::os::unix::net::UnixStream;
    let origin = hello().await;
    let mut gateway = Gateway::listening(&file(&origin), &VARIABLES, "unix:$DIR/s.sock").await;
    let path = gateway.folder().path().join("s.sock");
    let said = {
        use std::io::{Read as _, Write as _};
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).unwrap();
        said
    };
    assert!(said.starts_with("HTTP/1.0 200 OK") && said.ends_with("\r\n\r\nok\n"), "{said}");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, Some(0));
    assert!(!path.exists(), "the socket is removed");
}

/// A client that goes away cancels what it asked for, whether or not the answer has begun.
#[tokio::test]
async fn a_client_that_is_gone_cancels_its_upstream() {
    let gate = Gate::shut();
    let origin = streaming(&gate).await;
    let gateway = before(&origin, "").await;
    let mut wire = gateway.connect().await;
    wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
    origin.requests(1).await;
    gate.open(1);
    wire.until("one ").await.unwrap();
    drop(wire);
    origin.until("the stream is cancelled", |ledger| ledger.open == 0).await;
    let mut wire = gateway.connect().await;
    wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
    origin.requests(2).await;
    drop(wire);
    origin.until("the call is cancelled", |ledger| ledger.open == 0).await;
}

/// An upstream that dies in the middle is an error event, and no `[DONE]`.
#[tokio::test]
async fn a_stream_that_dies_says_so() {
    let gate = Gate::shut();
    gate.open(1);
    let origin = Origin::plain(move |_: &Request| -> Answer {
        seaway_tests::provider::begun(&gate, &["one "]).then(seaway_tests::answer::Then::Drop)
    })
    .await;
    let reply = before(&origin, "").await.complete("none", STREAM).await;
    assert!(reply.body.contains("\"error\":") && !reply.body.contains("[DONE]"), "{reply:?}");
}

/// `seaway serve` in front of `seaway serve` gives the same deltas.
#[tokio::test]
async fn one_behind_another_gives_the_same() {
    let gate = Gate::shut();
    gate.open(100);
    let origin = streaming(&gate).await;
    let inner =
        before(&origin, "[serve]\nkeys = [{ value = \"sk-inner\" }]\n[models.m]\nprovider = \"test\"\nmodel = \"m-1\"")
            .await;
    let base = inner.url("/v1");
    let file = format!(
        "[providers.inner]\ndialect = \"openai\"\nbase_url = \"{base}\"\n[credentials.inner]\nvalue = \"sk-inner\"\nurls = [\"{base}\"]"
    );
    let outer = Gateway::start(&file, &[]).await;
    let direct = inner.complete("sk-inner", &STREAM.replace("test/m-1", "m")).await;
    let through = outer.complete("none", &STREAM.replace("test/m-1", "inner/m")).await;
    assert_eq!((direct.status, &through.body), (200, &direct.body));
}
