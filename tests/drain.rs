//! `drain`: the end of a session that others still use.

use std::time::Duration;

use futures::future::join_all;
use seaway_session::{Drained, Kind, Stage};
use seaway_tests::answer::{Answer, Gate, chunk};
use seaway_tests::certificates::Leaf;
use seaway_tests::client::{Client, get, piece};
use seaway_tests::error::assert_says;
use seaway_tests::ledger::End;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;
use seaway_tests::{eventually, kernel, soon};

/// An origin over TLS whose streams begin at once and go on once the gate lets them, and a client that believes it.
async fn streaming(policy: &str, gate: &Gate) -> (Origin, Client) {
    let leaf = Leaf::self_signed(&["localhost"]);
    let script = gate.clone();
    let origin = Origin::tls(leaf.server(), move |_: &Request| {
        let head = Answer::head_of_chunks(&[("content-type", "text/event-stream")]).write(chunk("data: 0\n\n"));
        head.wait(&script).write(chunk("data: 1\n\n")).write("0\r\n\r\n")
    })
    .await;
    let policy = format!("tls = {{ roots = \"none\", ca = [\"ca.pem\"] }}\n{policy}");
    let client = Client::under(&policy).file("ca.pem", leaf.pem()).to(&origin).build();
    (origin, client)
}

/// Z1: a hundred streams end within the grace, five hundred that wait are refused at once, and nothing is left open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_and_the_queue_is_refused_at_once() {
    let gate = Gate::shut();
    let (origin, client) = streaming("[pool]\nlimit = 100\n[drain]\ngrace = \"20s\"", &gate).await;
    let url = origin.url("/");
    let mut streams = Vec::new();
    for answer in join_all((0..100).map(|_| client.open(get(&url)))).await {
        let mut body = answer.unwrap().into_body();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 0\n\n");
        streams.push(body);
    }
    let queued = join_all((0..500).map(|_| client.get(&url)));
    let drained = async {
        eventually("all wait", || client.figures().waiting == 500).await;
        let drain = client.session.drain();
        let end = async {
            eventually("the queue is empty", || client.figures().waiting == 0).await;
            assert_eq!(client.figures().open, 100, "the streams go on");
            gate.open(100);
            for body in &mut streams {
                assert_eq!(piece(body).await.unwrap().unwrap(), "data: 1\n\n");
                assert!(piece(body).await.is_none());
            }
        };
        tokio::join!(drain, end).0
    };
    let (queued, drained) = soon("it is drained", Box::pin(async { tokio::join!(queued, drained) })).await;
    assert_eq!(drained, Drained { refused: 500, cut: 0 });
    for refused in queued {
        let error = refused.unwrap_err();
        assert_says(&error, Stage::Pool, Kind::Draining, &["draining", &origin.url("")]);
        assert!(!error.request_sent());
    }
    assert_eq!(kernel::sockets_to(origin.port()), 0);
    let ends = origin.until("all are closed", |ledger| ledger.open == 0).await.ends;
    assert!(ends.iter().all(|(_, end)| *end == End::Peer), "{ends:?}");
    let late = client.get(&url).await.unwrap_err();
    assert_eq!(late.kind(), Kind::Draining);
}

/// Z1: what the grace does not suffice for is cut, says so, and still ends with a goodbye.
#[tokio::test]
async fn what_outlives_the_grace_is_cut_with_a_goodbye() {
    let gate = Gate::shut();
    let (origin, client) = streaming("drain.grace = \"300ms\"", &gate).await;
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let mut body = client.open(get(&origin.url("/"))).await.unwrap().into_body();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 0\n\n");
        bodies.push(body);
    }
    let begun = tokio::time::Instant::now();
    let drained = soon("it is drained", client.session.drain()).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(drained, Drained { refused: 0, cut: 2 });
    for body in &mut bodies {
        let error = piece(body).await.unwrap().unwrap_err();
        assert_says(&error, Stage::Body, Kind::Draining, &["drain.grace"]);
        assert!(error.request_sent());
    }
    assert_eq!((kernel::sockets_to(origin.port()), client.figures().open), (0, 0));
    let ends = origin.until("both are closed", |ledger| ledger.open == 0).await.ends;
    assert!(ends.iter().all(|(_, end)| *end == End::Peer), "{ends:?}");
}

/// Z2: whoever does not want to wait any longer closes at once.
#[tokio::test]
async fn a_second_word_ends_it_at_once() {
    let gate = Gate::shut();
    let (origin, client) = streaming("[pool]\nlimit = 1\n[drain]\ngrace = \"off\"\nqueued = \"finish\"", &gate).await;
    let mut body = client.open(get(&origin.url("/"))).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 0\n\n");
    let url = origin.url("/");
    let queued = client.get(&url);
    let end = async {
        eventually("it waits", || client.figures().waiting == 1).await;
        let drain = tokio::time::timeout(Duration::from_millis(200), client.session.drain()).await;
        assert!(drain.is_err(), "it waits without an end: {drain:?}");
        client.session.close().await
    };
    let (queued, closed) = soon("it is closed", Box::pin(async { tokio::join!(queued, end) })).await;
    assert_eq!(closed, Drained { refused: 1, cut: 1 });
    assert_eq!(queued.unwrap_err().kind(), Kind::Draining);
    assert_eq!(piece(&mut body).await.unwrap().unwrap_err().kind(), Kind::Draining);
    assert_eq!(kernel::sockets_to(origin.port()), 0);
}

/// `drain.queued = "finish"`: who waits is served within the grace, and nobody who comes later.
#[tokio::test]
async fn the_queue_may_be_served_within_the_grace() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &Request| Answer::ok("hello").after(&script)).await;
    let client = Client::under("[pool]\nlimit = 2\n[drain]\nqueued = \"finish\"").to(&origin).build();
    let url = origin.url("/");
    let all = join_all((0..6).map(|_| client.get(&url)));
    let drained = async {
        origin.requests(2).await;
        let drain = client.session.drain();
        let release = async {
            assert_eq!(client.get(&url).await.unwrap_err().kind(), Kind::Draining);
            gate.open(6);
        };
        tokio::join!(drain, release).0
    };
    let (all, drained) = soon("it is drained", Box::pin(async { tokio::join!(all, drained) })).await;
    assert!(all.into_iter().all(|reply| reply.unwrap().body == "hello"));
    assert_eq!((drained, kernel::sockets_to(origin.port())), (Drained::default(), 0));
}
