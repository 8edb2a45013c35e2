//! Connections that end under a request: which requests go over another one, and which fail.
//!
//! Where the close must go unheard, the test's own runtime has one thread, which stands still until the origin has closed: so
//! the request is handed over before anything of the session can hear of it.

use std::time::Duration;

use futures::poll;
use seaway_session::{Call, Kind, Record, RequestBody, Stage};
use seaway_tests::answer::{Answer, Gate, Then};
use seaway_tests::certificates::Leaf;
use seaway_tests::client::{Client, collect, get, request};
use seaway_tests::error::assert_says;
use seaway_tests::log::Log;
use seaway_tests::nginx::Nginx;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;
use seaway_tests::valve::Valve;
use seaway_tests::{eventually, kernel};
use tokio::runtime::Builder;

use super::{elsewhere, plain, repeated};

/// Runs a test on one thread.
fn alone<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made").block_on(work)
}

/// Stands still until so many of the origin's connections have ended.
fn stand_still(origin: &Origin, ends: usize) {
    while origin.ledger().ends.len() < ends {
        std::thread::yield_now();
    }
}

/// POSTs so many times to an origin that closes each connection after its first answer; what became of each. A look at a
/// connection that was used a moment ago is left out, so most are handed to one that is closed.
fn meet(client: &Client, origin: &Origin, times: usize) -> Vec<Result<(), Kind>> {
    alone(async {
        let mut results = Vec::new();
        for index in 0..times {
            let reply = client.post(&origin.url(&format!("/{index}")), "BODY-MARK").await;
            results.push(reply.map(drop).map_err(|error| error.kind()));
            stand_still(origin, origin.ledger().accepted);
        }
        results
    })
}

/// K1, made sure of: a request that is handed to a connection which the peer has closed, unheard, goes over another one,
/// and the peer reads it once. So it is in plain text and over TLS, with and without a goodbye.
#[test]
fn a_request_for_a_connection_that_was_closed_unheard_goes_over_another() {
    let leaf = Leaf::self_signed(&["localhost"]);
    for (tls, then) in [(false, Then::Drop), (true, Then::Drop), (true, Then::Close)] {
        let runtime = elsewhere();
        let script = move |_: &Request| Answer::ok("hello").then(then);
        let origin = match tls {
            true => runtime.block_on(Origin::tls(leaf.server(), script)),
            false => plain(&runtime, script),
        };
        for stale in ["attested", "idempotent", "off"] {
            let policy = format!("[tls]\nroots = \"none\"\nca = [\"ca.pem\"]\n[retry]\nstale = \"{stale}\"");
            let client = Client::under(&policy).file("ca.pem", leaf.pem()).to(&origin).build();
            let before = origin.ledger().requests.len();
            let results = meet(&client, &origin, 100);
            let failed = results.iter().filter(|result| result.is_err()).count();
            let all = format!("{stale} tls={tls} {then:?}: {results:?}");
            // Without repeats it depends on how fast this machine is: what has rested is looked at first.
            assert!(failed == 0 || stale == "off", "{all}");
            let ledger = origin.ledger();
            assert_eq!(ledger.requests.len() - before, results.len() - failed, "{all}");
            assert!(ledger.requests.iter().all(|request| request.body == "BODY-MARK"), "{all}");
        }
    }
}

/// An origin that reads the second request of each connection, and closes it without a word.
async fn closing_at_the_second() -> Origin {
    Origin::plain(|request: &Request| match request.nth {
        0 => Answer::ok("hello"),
        _ => Answer::none().then(Then::Drop),
    })
    .await
}

/// Where the peer may have read the request, the method decides, and `retry.stale` whether it may.
#[tokio::test]
async fn only_idempotent_requests_are_sent_again_once_they_were_read() {
    for (stale, method, again) in [
        ("attested", "POST", false),
        ("attested", "GET", true),
        ("idempotent", "POST", false),
        ("idempotent", "PATCH", false),
        ("idempotent", "GET", true),
        ("idempotent", "PUT", true),
        ("off", "POST", false),
        ("off", "GET", false),
    ] {
        let origin = closing_at_the_second().await;
        let methods = "[egress]\nmethods = [\"GET\", \"POST\", \"PUT\", \"PATCH\"]";
        let client = Client::under(&format!("{methods}\n[retry]\nstale = \"{stale}\"")).to(&origin).build();
        client.post(&origin.url("/first"), "BODY-MARK").await.unwrap();
        let body = RequestBody::full("BODY-MARK");
        let reply = client.read(request(method, &origin.url("/second"), &[], body)).await;
        assert_eq!(reply.is_ok(), again, "{stale} {method}");
        let twice: &[_] = if again { &[("/second", 2)] } else { &[] };
        assert_eq!(repeated(&origin.ledger()), twice, "{stale} {method}");
        assert_eq!(client.figures().retried, u64::from(again), "{stale} {method}");
    }
}

/// What is longer than `retry.max_body` is not held, so it cannot be sent again.
#[tokio::test]
async fn a_body_that_is_not_held_is_sent_once() {
    for (max_body, again) in [("9B", true), ("8B", false)] {
        let origin = closing_at_the_second().await;
        let client = Client::under(&format!("[retry]\nmax_body = \"{max_body}\"")).to(&origin).build();
        client.post(&origin.url("/first"), "BODY-MARK").await.unwrap();
        let body = RequestBody::full("BODY-MARK");
        let reply = client.read(request("GET", &origin.url("/second"), &[], body)).await;
        assert_eq!((reply.is_ok(), client.figures().retried), (again, u64::from(again)), "{max_body}");
    }
}

/// A repeat shows in the figures, in the exchange's record and in the log.
#[tokio::test]
async fn no_repeat_is_silent() {
    let origin = closing_at_the_second().await;
    let client = Client::to(&origin);
    let (log, _guard) = Log::listen();
    for (retried, attempts) in [(0, 1), (1, 2)] {
        let call = Call { record: Record::new(), ..Call::default() };
        let record = call.record.clone();
        let answer = client.call(get(&origin.url("/")), call).await.unwrap();
        collect(answer.into_body()).await.unwrap();
        assert_eq!((client.figures().retried, record.timings().unwrap().attempts), (retried, attempts));
    }
    let text = log.text();
    let line = text.lines().find(|line| line.contains("the request is sent again")).unwrap();
    for word in ["DEBUG", "attested=false", "attempt=2", "origin=http://127.0.0.1:"] {
        assert!(line.contains(word), "{line}");
    }
}

/// What the origin does with a second request, once it has read it.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Fin,
    Rst,
    RstLater,
    HalfClose,
}

/// K2: four ways in which a server ends a connection whose request it has read: none is answered by sending it again, in
/// plain text and over TLS.
#[tokio::test]
async fn a_request_that_was_read_is_never_sent_again() {
    let leaf = Leaf::self_signed(&["localhost"]);
    for tls in [false, true] {
        for mode in [Mode::Fin, Mode::Rst, Mode::RstLater, Mode::HalfClose] {
            let gate = Gate::shut();
            let later = gate.clone();
            let script = move |request: &Request| match (request.nth, mode) {
                (0, _) => Answer::ok("hello"),
                (_, Mode::Fin) => Answer::none().then(Then::Drop),
                (_, Mode::Rst) => Answer::none().then(Then::Reset),
                (_, Mode::RstLater) => Answer::none().after(&later).then(Then::Reset),
                (_, Mode::HalfClose) => Answer::none().then(Then::HalfCloseIn(Duration::from_millis(1))),
            };
            let origin = match tls {
                true => Origin::tls(leaf.server(), script).await,
                false => Origin::plain(script).await,
            };
            let policy = "[tls]\nroots = \"none\"\nca = [\"ca.pem\"]";
            let client = Client::under(policy).file("ca.pem", leaf.pem()).to(&origin).build();
            client.post(&origin.url("/first"), "BODY-MARK").await.unwrap();
            let reset = async {
                origin.requests(2).await;
                // Past the kernel's delayed acknowledgement, which is what the mode is about.
                tokio::time::sleep(Duration::from_millis(60)).await;
                gate.open(1);
            };
            let url = origin.url("/second");
            let (reply, ()) = tokio::join!(client.post(&url, "BODY-MARK"), reset);
            let error = reply.unwrap_err();
            assert_says(&error, Stage::Wire, Kind::Terminated, &[&origin.url("")]);
            assert!(error.request_sent(), "{mode:?}: {error}");
            assert_eq!(origin.ledger().targets(), ["/first", "/second"], "{mode:?} tls={tls}");
            assert_eq!(client.figures().retried, 0, "{mode:?} tls={tls}");
            client.settles(0, 0).await;
        }
    }
}

/// K2: a server that has closed its own half cannot answer any more: nothing is written to it, so it reads nothing twice,
/// whatever it does then.
#[test]
fn a_half_closed_connection_is_not_written_to() {
    for then in [Then::Drop, Then::Reset, Then::Hang] {
        let runtime = elsewhere();
        let origin = plain(&runtime, move |request: &Request| match request.nth {
            0 => Answer::ok("hello").then(Then::HalfCloseIn(Duration::ZERO)),
            _ => Answer::none().then(then),
        });
        let client = Client::to(&origin);
        alone(async {
            for index in 0..100 {
                client.post(&origin.url(&format!("/{index}")), "BODY-MARK").await.unwrap();
                // Unless the session has heard of the close already, and has closed its own side.
                while kernel::close_waits_to(origin.port()) == 0 && client.figures().open > 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        let ledger = origin.ledger();
        assert_eq!((ledger.requests.len(), repeated(&ledger), client.figures().retried), (100, vec![], 0), "{then:?}");
    }
}

/// K9: nginx closes without a word. A POST is not sent again: not from a new connection, and not from one that was used.
#[tokio::test]
async fn a_connection_that_is_closed_without_a_word_fails_a_post() {
    let server = "listen 127.0.0.1:$PORT; location /ok { return 200 ok; } location / { return 444; }";
    let Some(nginx) = Nginx::start(server, &[]).await else { return };
    let url = |path| format!("http://127.0.0.1:{}{path}", nginx.port());
    let client = Client::under("").destination(&url("/")).build();
    for used in [false, true] {
        if used {
            client.post(&url("/ok"), "BODY-MARK").await.unwrap();
        }
        let opened = client.figures().opened;
        let error = client.post(&url("/"), "BODY-MARK").await.unwrap_err();
        assert_says(&error, Stage::Wire, Kind::Terminated, &[]);
        assert!(error.request_sent());
        assert_eq!((client.figures().retried, client.figures().opened - opened), (0, u64::from(!used)));
    }
    // A GET is sent again from a used one, and from a new one no more.
    client.get(&url("/ok")).await.unwrap();
    assert_says(&client.get(&url("/")).await.unwrap_err(), Stage::Wire, Kind::Terminated, &[]);
    assert_eq!(client.figures().retried, 1);
}

/// S9: a ticket that comes while a TLS 1.3 connection is idle is read, and the connection is used.
#[tokio::test]
async fn a_ticket_on_an_idle_connection_does_not_cost_it() {
    let leaf = Leaf::self_signed(&["localhost"]);
    let origin = Origin::tls(leaf.server_speaking(&rustls::version::TLS13), |_: &_| Answer::ok("hello")).await;
    let gate = Gate::shut();
    let valve = Valve::before(origin.port(), &gate).await;
    let url = format!("https://localhost:{}/", valve.port());
    let policy = "[tls]\nroots = \"none\"\nca = [\"ca.pem\"]";
    let client = Client::under(policy).file("ca.pem", leaf.pem()).destination(&url).build();
    // The handshake is done for a request that goes away; the tickets behind it wait at the gate.
    let mut first = Box::pin(client.get(&url));
    assert!(poll!(&mut first).is_pending());
    drop(first);
    client.settles(1, 1).await;
    valve.holds(1).await;
    gate.open(1_000);
    eventually("the tickets have come, or have been read", || kernel::sockets_to(valve.port()) == 1).await;
    for _ in 0..3 {
        assert_eq!(client.get(&url).await.unwrap().body, "hello");
    }
    assert_eq!((origin.ledger().accepted, client.figures().opened), (1, 1));
}

/// In plain text nothing may come unasked: the connection is not used.
#[tokio::test]
async fn bytes_on_an_idle_plain_connection_cost_it() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &_| Answer::ok("hello").wait(&script).write("HTTP/1.1 200 OK\r\n\r\n")).await;
    let client = Client::to(&origin);
    client.get(&origin.url("/")).await.unwrap();
    gate.open(1);
    client.settles(0, 0).await;
    gate.open(1);
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    assert_eq!(origin.ledger().uses(), [1, 1]);
}
