//! The component over the session: what it answers, what it cannot reach, and whom it harms when it misbehaves: nobody.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use seaway::runtime::{CallError, CallRecord, Event, Source, types};
use seaway_session::{Kind, Stage};
use seaway_tests::answer::{Answer, Gate, Then};
use seaway_tests::error::SECRET;
use seaway_tests::folder::Folder;
use seaway_tests::host::{Host, prompt};
use seaway_tests::origin::Origin;
use seaway_tests::provider::{begun, error, streamed, whole};
use seaway_tests::request::Request;
use seaway_tests::{eventually, soon};

const MODEL: &str = "test/m-1";

async fn hello() -> Origin {
    Origin::plain(|_: &_| whole("hello")).await
}

fn text(completion: &types::Completion) -> String {
    let parts = completion.choices.iter().flat_map(|choice| &choice.message.parts);
    parts.map(|part| if let types::Part::Text(part) = part { part.text.as_str() } else { "" }).collect()
}

/// A call that has to fail.
async fn failure(host: &Host, model: &str) -> CallError {
    let failed = host.runtime.complete(prompt(model, "BODY-MARK"), &CallRecord::new()).await.unwrap_err();
    let line = failed.to_string();
    assert!(!line.contains(['\n', '\r']) && !line.contains("BODY-MARK") && !line.contains(SECRET), "{line:?}");
    failed
}

/// The word of the hostile component that does no harm.
async fn is_fine(host: &Host) -> bool {
    matches!(failure(host, "fine").await, CallError::Guest(error) if error.message == "fine")
}

/// The main job: the request leaves with the key that the guest never had, and the answer comes back.
#[tokio::test]
async fn a_completion_goes_through_the_component_and_the_session() {
    let origin = hello().await;
    let host = Host::of(&origin, "");
    let record = CallRecord::new();
    let answer = host.runtime.complete(prompt(MODEL, "Why is the sea salt?"), &record).await.unwrap();
    assert_eq!((text(&answer), answer.usage.unwrap().total_tokens), ("hello".to_owned(), 8));
    let seen: Request = origin.ledger().requests.pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {SECRET}")));
    assert!(!seen.head.contains("seaway-credential"), "{}", seen.head);
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(body["model"], "m-1");
    assert_eq!(body["messages"][0]["content"], "Why is the sea salt?");
    let exchanges = record.exchanges();
    assert_eq!((exchanges.len(), exchanges[0].status), (1, Some(200)));
}

/// Deltas come as the provider sends them, none held back, and the finish last.
#[tokio::test]
async fn deltas_come_one_by_one() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &_| streamed(&script, &["one ", "two ", "three"])).await;
    let host = Host::of(&origin, "");
    gate.open(1);
    let mut deltas = host.runtime.stream(prompt(MODEL, "count"), &CallRecord::new()).await.unwrap();
    for expected in ["one ", "two ", "three"] {
        // The next piece is not written before this one has been read.
        let said = loop {
            match soon("a delta", deltas.next()).await.unwrap().unwrap() {
                Event::Delta(types::Delta::Text(delta)) if !delta.text.is_empty() => break delta.text,
                Event::Delta(_) => {}
                Event::Finish(finish) => panic!("ended early: {finish:?}"),
            }
        };
        assert_eq!(said, expected);
        gate.open(1);
    }
    let mut last = None;
    while let Some(event) = deltas.next().await {
        last = Some(event.unwrap());
    }
    let Some(Event::Finish(finish)) = last else { panic!("no finish: {last:?}") };
    assert_eq!(finish.choices[0].reason, types::FinishReason::Stop);
    assert_eq!(finish.usage.unwrap().completion_tokens, 5);
}

/// An instance serves one call after the other, up to `runtime.reuse` of them.
#[tokio::test]
async fn instances_are_reused_up_to_their_bound() {
    let origin = hello().await;
    for (more, expected) in [("", [false, true, true, true]), ("[runtime]\nreuse = 2", [false, true, false, true])] {
        let host = Host::of(&origin, more);
        for reused in expected {
            let record = CallRecord::new();
            host.runtime.complete(prompt(MODEL, "x"), &record).await.unwrap();
            assert_eq!(record.reused(), reused, "{more:?}");
        }
    }
}

/// C3: dropping a stream, or a call that waits for its answer, closes the connection to the provider and nothing else.
#[tokio::test]
async fn dropping_a_call_closes_its_connection() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |request: &Request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if body.contains("silent") {
            Answer::none()
        } else if body.contains("\"stream\":true") {
            begun(&script, &["one", "two"]).wait(&script)
        } else {
            whole("hello")
        }
    });
    let origin = origin.await;
    let host = Host::of(&origin, "");
    gate.open(1);
    let mut deltas = host.runtime.stream(prompt(MODEL, "speak"), &CallRecord::new()).await.unwrap();
    assert!(deltas.next().await.unwrap().is_ok());
    drop(deltas);
    origin.until("the stream's connection is closed", |ledger| ledger.accepted == 1 && ledger.open == 0).await;
    let (request, record) = (prompt(MODEL, "silent"), CallRecord::new());
    let mut waiting = Box::pin(host.runtime.complete(request, &record));
    let sent = origin.requests(2);
    tokio::select! {
        answer = &mut waiting => panic!("there is no answer: {answer:?}"),
        _ = sent => {}
    }
    drop(waiting);
    origin.until("the waiting call's connection is closed", |ledger| ledger.accepted == 2 && ledger.open == 0).await;
    eventually("the session holds nothing", || host.session.figures().open == 0).await;
    assert_eq!(text(&host.runtime.complete(prompt(MODEL, "again"), &CallRecord::new()).await.unwrap()), "hello");
}

/// A stream that is cut is an error and never a finish, and what came before it is the caller's.
#[tokio::test]
async fn a_stream_that_is_cut_is_an_error() {
    for then in [Then::Close, Then::Reset] {
        let gate = Gate::shut();
        let script = gate.clone();
        let origin = Origin::plain(move |_: &_| begun(&script, &["half "]).wait(&script).then(then)).await;
        let host = Host::of(&origin, "");
        gate.open(1);
        let record = CallRecord::new();
        let mut deltas = host.runtime.stream(prompt(MODEL, "x"), &record).await.unwrap();
        let (mut said, mut failed) = (String::new(), None);
        while let Some(event) = soon("the cut", deltas.next()).await {
            match event {
                Ok(Event::Delta(types::Delta::Text(delta))) => {
                    said.push_str(&delta.text);
                    gate.open(1);
                }
                Ok(Event::Delta(_)) => {}
                Ok(Event::Finish(finish)) => panic!("a cut stream has no finish: {finish:?}"),
                Err(error) => failed = Some(error),
            }
        }
        assert_eq!(said, "half ");
        let Some(CallError::Session(error)) = failed else { panic!("not the session's error: {failed:?}") };
        assert_eq!((error.stage(), error.kind()), (Stage::Body, Kind::Incomplete));
        assert!(error.to_string().contains(&origin.url("")), "{error}");
    }
}

/// A stream whose bytes end well, and whose events do not.
#[tokio::test]
async fn a_stream_without_its_terminal_event_is_an_error() {
    let gate = Gate::shut();
    gate.open(1);
    let origin = Origin::plain(move |_: &_| begun(&gate, &["half "]).write("0\r\n\r\n")).await;
    let host = Host::of(&origin, "");
    let deltas = host.runtime.stream(prompt(MODEL, "x"), &CallRecord::new()).await.unwrap();
    let events: Vec<_> = deltas.collect().await;
    assert!(events.iter().all(|event| !matches!(event, Ok(Event::Finish(_)))), "{events:?}");
    assert!(matches!(events.last(), Some(Err(CallError::Guest(_)))), "{events:?}");
}

/// What a provider refuses comes back in its own words, with its status.
#[tokio::test]
async fn a_providers_error_keeps_its_words() {
    let origin = Origin::plain(|_: &_| error("429 Too Many Requests", &[("retry-after", "7")], "slow down")).await;
    let CallError::Guest(error) = failure(&Host::of(&origin, ""), MODEL).await else { panic!("not the provider's") };
    assert_eq!((error.kind, error.status), (types::ErrorKind::RateLimit, Some(429)));
    assert_eq!((error.message.as_str(), error.retry_after), ("slow down", Some(7_000_000_000)));
}

/// The session's own error reaches the caller; the component saw a code.
#[tokio::test]
async fn the_sessions_error_reaches_the_caller_whole() {
    let origin = Origin::plain(|_: &_| Answer::none()).await;
    let host = Host::of(&origin, "[wire]\ntimeout = \"150ms\"");
    let CallError::Session(error) = failure(&host, MODEL).await else { panic!("not the session's") };
    assert_eq!((error.stage(), error.kind()), (Stage::Wire, Kind::ReadTimeout));
    assert!(error.to_string().contains("`wire.timeout` of 150ms passed") && error.request_sent(), "{error}");
}

/// A client of the API learns that it was denied, not what the policy says.
#[tokio::test]
async fn policy_text_never_goes_to_an_api_client() {
    let origin = hello().await;
    let host = Host::of(
        &origin,
        "[models.elsewhere]\nprovider = \"openai\"\nmodel = \"x\"\n[egress]\nallow = [\"https://a.example\"]",
    );
    let body = serde_json::json!({ "model": "mistral/x", "messages": [{ "role": "user", "content": "BODY-MARK" }] });
    let request = http::Request::post("/v1/chat/completions").body(Bytes::from(body.to_string())).unwrap();
    let record = CallRecord::new();
    let answer = host.runtime.handle(request, &record).await.unwrap();
    assert!(!answer.status().is_success());
    let said = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("egress") && !said.contains("api.mistral.ai") && said.contains("\"error\""), "{said}");
    let kept = record.error().expect("the host's side keeps it");
    assert_eq!((kept.stage(), kept.kind()), (Stage::Egress, Kind::Denied));
}

/// The handler export: OpenAI's own shapes, whole and streamed, by the same way out.
#[tokio::test]
async fn the_handler_speaks_openais_api() {
    let gate = Gate::shut();
    gate.open(10);
    let origin = Origin::plain(move |request: &Request| {
        match String::from_utf8_lossy(&request.body).contains("\"stream\":true") {
            true => streamed(&gate, &["hel", "lo"]),
            false => whole("hello"),
        }
    });
    let origin = origin.await;
    let host = Host::of(&origin, "");
    for stream in [false, true] {
        let body =
            serde_json::json!({ "model": MODEL, "stream": stream, "messages": [{ "role": "user", "content": "x" }] });
        let request = http::Request::post("/v1/chat/completions").body(Bytes::from(body.to_string())).unwrap();
        let answer = host.runtime.handle(request, &CallRecord::new()).await.unwrap();
        assert_eq!(answer.status(), 200);
        let said = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let said = String::from_utf8_lossy(&said);
        match stream {
            true => assert!(
                said.contains("\"hel\"") && said.contains("\"lo\"") && said.ends_with("data: [DONE]\n\n"),
                "{said}"
            ),
            false => assert!(said.contains("\"content\":\"hello\""), "{said}"),
        }
    }
    assert!(
        origin
            .ledger()
            .requests
            .iter()
            .all(|request| request.header("authorization") == Some(format!("Bearer {SECRET}")))
    );
}

/// A guest that spins is stopped by its budget of processor time, and gives way to others until then.
#[tokio::test]
async fn a_guest_that_spins_is_stopped_and_harms_nobody() {
    let origin = hello().await;
    let host = Host::hostile(&origin, "[runtime]\ncpu = \"500ms\"");
    assert!(is_fine(&host).await);
    let spin = async {
        let error = failure(&host, "spin").await;
        assert!(matches!(error, CallError::Cpu { limit } if limit == Duration::from_millis(500)), "{error}");
        assert!(error.hint().unwrap().contains("runtime.cpu"));
        false
    };
    // On the one thread of this test the others are served while it spins.
    let others = async {
        for _ in 0..20 {
            assert!(is_fine(&host).await);
        }
        true
    };
    let mut spin = Box::pin(spin);
    tokio::select! {
        biased;
        first = &mut spin => assert!(first, "twenty calls took longer than the spinning one's budget"),
        first = others => assert!(first),
    }
    spin.await;
    assert!(is_fine(&host).await);
}

/// A guest that allocates without end meets `runtime.memory`, alone.
#[tokio::test]
async fn a_guest_that_allocates_without_end_is_stopped() {
    let host = Host::hostile(&hello().await, "[runtime]\nmemory = \"64MiB\"");
    let (error, others) = tokio::join!(failure(&host, "allocate"), join_all((0..10).map(|_| is_fine(&host))));
    assert!(matches!(error, CallError::Memory { limit, needed } if limit == 64 << 20 && needed > limit), "{error}");
    assert!(
        error.to_string().contains("64 MiB (`runtime.memory`)")
            && error.hint().unwrap().starts_with("runtime.memory = ")
    );
    assert!(others.into_iter().all(|fine| fine));
}

/// A guest that traps costs its own call, whole or in the middle of a stream, and its instance is thrown away.
#[tokio::test]
async fn a_trap_costs_its_own_call_only() {
    let host = Host::hostile(&hello().await, "");
    let (error, others) = tokio::join!(failure(&host, "trap"), join_all((0..10).map(|_| is_fine(&host))));
    assert!(matches!(error, CallError::Trapped(_)), "{error:?}");
    assert!(error.to_string().starts_with("the component failed: "), "{error}");
    assert!(others.into_iter().all(|fine| fine));
    let deltas = host.runtime.stream(prompt("trap", "x"), &CallRecord::new()).await.unwrap();
    let events: Vec<_> = soon("the trap", deltas.collect()).await;
    assert!(matches!(&events[0], Ok(Event::Delta(types::Delta::Text(delta))) if delta.text == "first"), "{events:?}");
    assert!(matches!(events.last(), Some(Err(CallError::Trapped(_)))), "{events:?}");
    assert!(is_fine(&host).await);
}

/// A stream that merely stops is an error.
#[tokio::test]
async fn a_guest_that_never_says_why_it_ended_broke_its_contract() {
    let host = Host::hostile(&hello().await, "");
    let deltas = host.runtime.stream(prompt("stop", "x"), &CallRecord::new()).await.unwrap();
    let events: Vec<_> = soon("the end", deltas.collect()).await;
    assert!(matches!(events.last(), Some(Err(CallError::Broken(what))) if what.contains("finish")), "{events:?}");
}

/// What a guest says in its last code is one line of ours.
#[tokio::test]
async fn a_guests_code_is_one_line() {
    let host = Host::hostile(&hello().await, "");
    let request = http::Request::post("/v1/chat/completions").body(Bytes::new()).unwrap();
    let error = host.runtime.handle(request, &CallRecord::new()).await.unwrap_err();
    assert!(matches!(error, CallError::Http(_)), "{error:?}");
    assert!(!error.to_string().contains(['\n', '\r']), "{error}");
}

/// The guest sees its tables: no key, no other variable, no file, no socket.
#[tokio::test]
async fn a_guest_sees_its_tables_and_nothing_else() {
    let origin = hello().await;
    let host = Host::hostile(&origin, "");
    let told = |error| {
        let CallError::Guest(error) = error else { panic!("not the guest's: {error:?}") };
        error.message.clone()
    };
    let environment = told(failure(&host, "environment").await);
    assert!(environment.starts_with("SEAWAY_MODELS=") && environment.lines().count() == 1, "{environment}");
    assert!(environment.contains("\"placeholder\""));
    assert_eq!(told(failure(&host, "files").await), "[false, false, false, false]");
    assert_eq!(told(failure(&host, &format!("sockets 127.0.0.1:{}", origin.port())).await), "false");
    assert_eq!(origin.ledger().accepted, 0);
}

/// V3: a guest that goes its own way goes through the session: refused elsewhere, its own keys taken out, the secret put
/// in where it may go, and never shown to it.
#[tokio::test]
async fn a_guest_goes_through_the_session_or_nowhere() {
    let (origin, other) = (hello().await, hello().await);
    let host = Host::hostile(&origin, "");
    let fetch = async |url: String| {
        let record = CallRecord::new();
        let error = host.runtime.complete(prompt(&format!("fetch {url}"), "x"), &record).await.unwrap_err();
        let CallError::Guest(error) = error else { panic!("not the guest's: {error:?}") };
        assert!(!error.message.contains(SECRET), "{}", error.message);
        (error.message.clone(), record.error().map(|error| (error.stage(), error.kind())))
    };
    let (said, _) = fetch(origin.url("/v1/models")).await;
    assert!(said.starts_with("200 "), "{said}");
    let seen = origin.ledger().requests.pop().unwrap();
    assert_eq!((seen.header("authorization"), seen.header("x-api-key")), (Some(format!("Bearer {SECRET}")), None));
    for (url, code, kind) in [
        (other.at("localhost", "/"), "HttpRequestDenied", (Stage::Egress, Kind::Denied)),
        (origin.url("/v2/files"), "HttpRequestDenied", (Stage::Credentials, Kind::CredentialDenied)),
        (
            "http://169.254.169.254/".to_owned(),
            "DestinationIpProhibited",
            (Stage::Egress, Kind::AddressDenied([169, 254, 169, 254].into())),
        ),
    ] {
        let (said, kept) = fetch(url.clone()).await;
        assert!(said.contains(code), "{url}: {said}");
        assert_eq!(kept, Some(kind), "{url}");
    }
    assert_eq!((other.ledger().accepted, origin.ledger().requests.len()), (0, 1));
}

/// `runtime.calls` at a time, `runtime.queue` waiting, first come first served; one more fails at once.
#[tokio::test]
async fn calls_are_bounded_and_queue() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &_| whole("hello").after(&script)).await;
    let host = Host::of(&origin, "[runtime]\ncalls = 1\nqueue = 2");
    let records: Vec<_> = (0..4).map(|_| CallRecord::new()).collect();
    let mut calls = join_all(records.iter().map(|record| host.runtime.complete(prompt(MODEL, "x"), record)));
    let mut open = Box::pin(async {
        origin.requests(1).await;
        gate.open(4);
    });
    let results = tokio::select! {
        results = &mut calls => results,
        () = &mut open => calls.await,
    };
    let failed: Vec<_> =
        results.iter().enumerate().filter(|(_, result)| result.is_err()).map(|(index, _)| index).collect();
    assert_eq!(failed, [3]);
    assert!(matches!(results[3], Err(CallError::QueueFull { queue: 2 })), "{:?}", results[3]);
    assert_eq!(origin.ledger().peak, 1);
}

/// A request that cannot fit is refused with both numbers before anything runs.
#[tokio::test]
async fn a_request_that_cannot_fit_is_refused_with_both_numbers() {
    let origin = hello().await;
    let host = Host::of(&origin, "[runtime]\nmemory = \"32MiB\"");
    let request = prompt(MODEL, &"x".repeat(40 << 20));
    let error = host.runtime.complete(request, &CallRecord::new()).await.unwrap_err();
    assert!(matches!(error, CallError::Memory { limit, needed } if limit == 32 << 20 && needed > limit), "{error}");
    assert_eq!(origin.ledger().accepted, 0);
}

/// What is no component, or not ours, is said at the start.
#[tokio::test]
async fn what_is_no_component_is_said_at_the_start() {
    let origin = hello().await;
    let folder = Folder::new();
    for (name, bytes, words) in [
        ("text.wasm", &b"#!/bin/sh\nexit 0\n"[..], &["text.wasm` is not WebAssembly"][..]),
        ("empty.wasm", b"", &["is not WebAssembly"]),
        ("module.wasm", b"\0asm\x01\0\0\0", &["is a core WebAssembly module and no component"]),
        ("cut.wasm", b"\0asm\x0d\0\x01\0\xff\xff", &["does not compile"]),
        ("foreign.wasm", b"\0asm\x0d\0\x01\0", &["is no completion component"]),
    ] {
        let source = Source::File(folder.write(name, bytes));
        let error = Host::running(&source, &origin, "").unwrap_err();
        let line = error.to_string();
        assert!(words.iter().all(|word| line.contains(word)) && !line.contains('\n'), "{name}: {line}");
    }
    let gone = Source::File(folder.path().join("gone.wasm"));
    assert!(Host::running(&gone, &origin, "").unwrap_err().to_string().contains("gone.wasm` cannot be read"));
}

/// P12: two guests over one session share no connection; the calls of each share its own.
#[tokio::test]
async fn two_guests_share_no_connection() {
    for (isolation, uses) in [("guest", vec![2, 2]), ("shared", vec![4])] {
        let origin = hello().await;
        let host = Host::of(&origin, &format!("pool.isolation = \"{isolation}\""));
        let sibling = host.sibling();
        for _ in 0..2 {
            for runtime in [&host.runtime, &sibling] {
                runtime.complete(prompt(MODEL, "hello"), &CallRecord::new()).await.unwrap();
            }
        }
        assert_eq!(origin.ledger().uses(), uses, "{isolation}");
    }
}
