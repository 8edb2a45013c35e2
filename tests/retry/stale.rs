//! Connections that end under a request: which requests go over another one, and which fail.
//!
//! The test's own runtime has one thread, which stands still until the origin has closed: so the request is written before
//! anything of the session can hear of the close, each time.

use std::time::Duration;

use futures::poll;
use seaway_session::{Call, Kind, Record, RequestBody, Stage};
use seaway_tests::answer::{Answer, Gate, Then};
use seaway_tests::certificates::Leaf;
use seaway_tests::client::{Client, collect, post, request};
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

/// Sends requests of one method over connections that the origin closes unread after each first answer, until so many have
/// met a closed one; what became of each. A look at a connection that was used a moment ago is left out, so most do.
fn meet(client: &Client, origin: &Origin, method: &str, wanted: u64) -> Vec<Result<(), Kind>> {
    let mut results: Vec<Result<(), Kind>> = Vec::new();
    alone(async {
        while client.figures().retried + results.iter().filter(|result| result.is_err()).count() as u64 <= wanted {
            assert!(results.len() < 2_000, "hardly a request meets a closed connection: {:?}", client.figures());
            let url = origin.url(&format!("/{}", results.len()));
            let reply = client.read(request(method, &url, &[], RequestBody::full("BODY-MARK"))).await;
            results.push(reply.map(drop).map_err(|error| error.kind()));
            stand_still(origin, origin.ledger().accepted);
        }
    });
    results
}

/// K1, made sure of: a request that was written to a connection which the peer had closed goes over another one, whatever
/// its method, and the peer has read it once.
#[test]
fn a_request_of_which_the_peer_took_nothing_goes_over_another_connection() {
    let runtime = elsewhere();
    let origin = plain(&runtime, |_: &_| Answer::ok("hello").then(Then::Drop));
    let client = Client::to(&origin);
    let results = meet(&client, &origin, "POST", 20);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let ledger = origin.ledger();
    assert_eq!((repeated(&ledger), ledger.requests.len()), (vec![], results.len()));
    assert!(ledger.requests.iter().all(|request| request.body == "BODY-MARK"));
}

/// The same over TLS, with and without a goodbye.
#[test]
fn tls_hides_nothing_of_what_the_peer_took() {
    for then in [Then::Drop, Then::Close] {
        let runtime = elsewhere();
        let leaf = Leaf::self_signed(&["localhost"]);
        let origin = runtime.block_on(Origin::tls(leaf.server(), move |_: &_| Answer::ok("hello").then(then)));
        let policy = "[tls]\nroots = \"none\"\nca = [\"ca.pem\"]";
        let client = Client::under(policy).file("ca.pem", leaf.pem()).to(&origin).build();
        let results = meet(&client, &origin, "POST", 10);
        assert!(results.iter().all(Result::is_ok), "{then:?}: {results:?}");
        let ledger = origin.ledger();
        assert_eq!((repeated(&ledger), ledger.requests.len()), (vec![], results.len()), "{then:?}");
    }
}

/// `retry.stale` says which: with `idempotent` the method decides alone, with `off` nothing is sent twice.
#[test]
fn the_policy_says_which_requests_are_sent_again() {
    for (stale, method, again) in [
        ("attested", "GET", true),
        ("idempotent", "POST", false),
        ("idempotent", "PATCH", false),
        ("idempotent", "GET", true),
        ("idempotent", "PUT", true),
        ("off", "POST", false),
        ("off", "GET", false),
    ] {
        let runtime = elsewhere();
        let origin = plain(&runtime, |_: &_| Answer::ok("hello").then(Then::Drop));
        let methods = "[egress]\nmethods = [\"GET\", \"POST\", \"PUT\", \"PATCH\"]";
        let client = Client::under(&format!("{methods}\n[retry]\nstale = \"{stale}\"")).to(&origin).build();
        let results = meet(&client, &origin, method, 3);
        let failed: Vec<_> = results.iter().filter_map(|result| result.err()).collect();
        assert_eq!(failed.is_empty(), again, "{stale} {method}: {failed:?}");
        assert!(failed.iter().all(|kind| *kind == Kind::Terminated), "{stale} {method}: {failed:?}");
        assert_eq!(client.figures().retried > 0, again, "{stale} {method}");
        assert_eq!(repeated(&origin.ledger()), [], "{stale} {method}");
    }
}

/// What is longer than `retry.max_body`, or comes with trailers, is not held, so it is not sent again.
#[test]
fn a_body_that_is_not_held_is_sent_once() {
    let runtime = elsewhere();
    let origin = plain(&runtime, |_: &_| Answer::ok("hello").then(Then::Drop));
    let client = Client::under("[retry]\nmax_body = \"8B\"").to(&origin).build();
    let results = meet(&client, &origin, "POST", 3);
    assert!(results.iter().any(Result::is_err) && client.figures().retried == 0, "{results:?}");
}

/// A repeat shows in the figures, in the exchange's record and in the log.
#[test]
fn no_repeat_is_silent() {
    let runtime = elsewhere();
    let origin = plain(&runtime, |_: &_| Answer::ok("hello").then(Then::Drop));
    let client = Client::to(&origin);
    let (log, _guard) = Log::listen();
    alone(async {
        for index in 0.. {
            let call = Call { record: Record::new(), ..Call::default() };
            let record = call.record.clone();
            let before = client.figures().retried;
            let answer = client.call(post(&origin.url("/"), "BODY-MARK"), call).await.unwrap();
            collect(answer.into_body()).await.unwrap();
            let again = client.figures().retried - before;
            assert_eq!(u64::from(record.timings().unwrap().attempts), 1 + again);
            if again > 0 {
                break;
            }
            assert!(index < 1_000, "no request meets a closed connection");
            stand_still(&origin, origin.ledger().accepted);
        }
    });
    let text = log.text();
    let line = text.lines().find(|line| line.contains("the request is sent again")).unwrap();
    for word in ["DEBUG", "attested=true", "attempt=2", "origin=http://127.0.0.1:"] {
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

/// K2: a server that has closed its own half reads on: what it reads it acknowledges, so a POST is not sent again; a GET is.
#[test]
fn what_a_half_closed_server_reads_is_not_sent_again() {
    for (method, again) in [("POST", false), ("GET", true)] {
        let runtime = elsewhere();
        let origin = plain(&runtime, |request: &Request| match request.nth {
            0 => Answer::ok("hello").then(Then::HalfCloseIn(Duration::ZERO)),
            _ => Answer::none().then(Then::Hang),
        });
        let client = Client::to(&origin);
        let met = alone(async {
            for index in 0..1_000 {
                let url = origin.url(&format!("/{index}"));
                let reply = client.read(request(method, &url, &[], RequestBody::full("BODY-MARK"))).await;
                let read = origin.ledger().requests.iter().any(|request| request.nth == 1);
                if read {
                    return reply;
                }
                while kernel::close_waits_to(origin.port()) == 0 {
                    std::thread::yield_now();
                }
            }
            panic!("no request meets a closed connection");
        });
        assert_eq!(met.is_ok(), again, "{method}: {met:?}");
        assert_eq!(repeated(&origin.ledger()).len(), usize::from(again), "{method}");
        assert_eq!(client.figures().retried, u64::from(again), "{method}");
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
