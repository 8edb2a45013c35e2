//! Keep-alive: which connections are kept, for how long, and what is never sent over one that has gone.

use futures::future::join_all;
use seaway_session::{Kind, Stage};
use seaway_tests::answer::{Answer, Gate, Then};
use seaway_tests::certificates::Leaf;
use seaway_tests::client::{Client, get, piece, post};
use seaway_tests::error::assert_says;
use seaway_tests::ledger::End;
use seaway_tests::nginx::Nginx;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;
use seaway_tests::{eventually, kernel};

use super::hello;

/// K3: a server that closes after every third request loses none of them.
#[tokio::test]
async fn a_server_that_closes_every_third_request_loses_none() {
    let server = "listen 127.0.0.1:$PORT; keepalive_requests 3; location / { return 200 hello; }";
    let Some(nginx) = Nginx::start(server, &[]).await else { return };
    let url = format!("http://127.0.0.1:{}/", nginx.port());
    let client = Client::under("").destination(&url).build();
    for index in 0..100 {
        let reply = client.post(&url, "BODY-MARK").await.unwrap_or_else(|error| panic!("request {index}: {error}"));
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"hello"[..]));
    }
    assert_eq!(client.figures().opened, 34);
}

/// K4: a connection is given up a second before the server says that it will be, without traffic to notice it.
#[tokio::test]
async fn the_servers_keep_alive_is_obeyed_with_a_margin() {
    let origin = Origin::plain(|_: &_| Answer::whole("200 OK", &[("keep-alive", "timeout=2, max=100")], "")).await;
    let client = Client::to(&origin);
    let start = tokio::time::Instant::now();
    let reply = client.get(&origin.url("/")).await.unwrap();
    assert!(!reply.headers.contains_key("keep-alive"));
    client.settles(1, 1).await;
    assert_eq!(origin.until("it is closed", |ledger| ledger.open == 0).await.ends, [(0, End::Peer)]);
    assert!(start.elapsed() >= std::time::Duration::from_secs(1), "{:?}", start.elapsed());
    let no_margin = Origin::plain(|_: &_| Answer::whole("200 OK", &[("keep-alive", "timeout=1")], "")).await;
    let client = Client::to(&no_margin);
    client.get(&no_margin.url("/")).await.unwrap();
    client.settles(0, 0).await;
}

/// K4 with nginx, which closes after two seconds and says so: a request at any moment around it finds a connection that is
/// good, and none is sent on one whose time is over.
#[tokio::test]
async fn nginx_closing_idle_connections_loses_nothing() {
    let server = "listen 127.0.0.1:$PORT; keepalive_timeout 2s 2s; location / { return 200 $connection; }";
    let Some(nginx) = Nginx::start(server, &[]).await else { return };
    let url = format!("http://127.0.0.1:{}/", nginx.port());
    // Each client waits once, all at the same time; nginx's clock is the subject.
    let waits = [100_u64, 900, 1_100, 1_500, 1_900, 2_000, 2_100, 2_500].map(|wait| {
        let client = Client::under("").destination(&url).build();
        let url = url.clone();
        async move {
            let first = client.post(&url, "BODY-MARK").await.unwrap().body;
            tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
            let second =
                client.post(&url, "BODY-MARK").await.unwrap_or_else(|error| panic!("after {wait} ms: {error}"));
            (wait, first == second.body)
        }
    });
    for (wait, same) in join_all(waits).await {
        // A second of margin, before which the connection is kept; a loaded machine may be late, never early.
        assert!(!same || wait < 1_000, "after {wait} ms it was sent on the old connection");
        assert!(same || wait > 100, "after {wait} ms the connection had gone");
    }
}

/// K6: what says close, in a header or by its version, is not kept.
#[tokio::test]
async fn a_connection_that_says_close_is_not_kept() {
    let kept = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", false),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive, CLOSE\r\ncontent-length: 2\r\n\r\nok", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", true),
    ];
    for (answer, kept) in kept {
        let origin = Origin::plain(move |_: &_| Answer::raw(answer)).await;
        let client = Client::to(&origin);
        for _ in 0..2 {
            assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "ok");
        }
        let uses: &[usize] = if kept { &[2] } else { &[1, 1] };
        assert_eq!(origin.ledger().uses(), uses, "{answer:?}");
        let left = usize::from(kept);
        client.settles(left, left).await;
    }
}

/// K7: a connection that the server closes while it is idle is closed here too, at once and without traffic.
#[tokio::test]
async fn a_close_while_idle_frees_the_slot_without_traffic() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &_| Answer::ok("hello").wait(&script).then(Then::Close)).await;
    let client = Client::to(&origin);
    client.get(&origin.url("/")).await.unwrap();
    client.settles(1, 1).await;
    gate.open(1);
    client.settles(0, 0).await;
    assert_eq!((kernel::close_waits_to(origin.port()), kernel::sockets_to(origin.port())), (0, 0));
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
}

/// K8: one exchange a connection, and the server is told.
#[tokio::test]
async fn force_close_says_so_and_keeps_nothing() {
    let origin = hello().await;
    let client = Client::under("[pool]\nforce_close = true").to(&origin).build();
    for _ in 0..3 {
        client.get(&origin.url("/")).await.unwrap();
    }
    let ledger = origin.ledger();
    assert_eq!(ledger.uses(), [1, 1, 1]);
    assert!(ledger.requests.iter().all(|request| request.header("connection").as_deref() == Some("close")));
    client.settles(0, 0).await;
}

/// `pool.keepalive`: an idle connection is closed when its time is over, without traffic.
#[tokio::test]
async fn idle_connections_close_when_their_time_is_over() {
    let origin = hello().await;
    let client = Client::under("[pool]\nkeepalive = \"100ms\"").to(&origin).build();
    let url = origin.url("/");
    join_all((0..5).map(|_| client.get(&url))).await;
    client.settles(0, 0).await;
    let ends = origin.until("all are closed", |ledger| ledger.open == 0).await.ends;
    assert!(ends.iter().all(|(_, end)| *end == End::Peer), "{ends:?}");
    assert_eq!(client.figures().evicted, 0);
}

/// Reuse takes the newest idle connection, so that the others can age.
#[tokio::test]
async fn reuse_takes_the_newest_idle_connection() {
    let gates = [Gate::shut(), Gate::shut()];
    let script = gates.clone();
    let origin = Origin::plain(move |request: &Request| match request.target.as_str() {
        "/0" => Answer::ok("").after(&script[0]),
        "/1" => Answer::ok("").after(&script[1]),
        _ => Answer::ok(""),
    });
    let origin = origin.await;
    let client = Client::to(&origin);
    let urls = [origin.url("/0"), origin.url("/1")];
    let both = join_all(urls.iter().map(|url| client.get(url)));
    let release = async {
        origin.requests(2).await;
        gates[0].open(1);
        eventually("the first is idle", || client.figures().idle == 1).await;
        gates[1].open(1);
    };
    tokio::join!(both, release);
    client.settles(2, 2).await;
    client.get(&origin.url("/next")).await.unwrap();
    let ledger = origin.ledger();
    let connection = |target: &str| ledger.requests.iter().find(|request| request.target == target).unwrap().connection;
    assert_eq!(connection("/next"), connection("/1"));
}

/// K2: a reused connection that dies with the request on it fails the request, and it is never sent again.
#[tokio::test]
async fn a_request_that_was_written_is_never_sent_twice() {
    for then in [Then::Close, Then::Reset, Then::Drop] {
        let origin = Origin::plain(move |request: &Request| match request.nth {
            0 => Answer::ok("hello"),
            _ => Answer::none().then(then),
        });
        let origin = origin.await;
        let client = Client::to(&origin);
        client.post(&origin.url("/first"), "BODY-MARK").await.unwrap();
        let error = client.post(&origin.url("/second"), "BODY-MARK").await.unwrap_err();
        assert_says(&error, Stage::Wire, Kind::Terminated, &[&origin.url("")]);
        assert!(error.request_sent(), "{then:?}: {error}");
        assert_eq!(origin.ledger().targets(), ["/first", "/second"], "{then:?}");
        client.settles(0, 0).await;
    }
}

/// A request that finds its idle connection closed goes over a new one, unseen by the caller, whatever its method.
#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_used() {
    let origin = Origin::plain(|_: &_| Answer::ok("hello").then(Then::Close)).await;
    let client = Client::to(&origin);
    for index in 1..=50 {
        assert_eq!(client.read(post(&origin.url("/"), "BODY-MARK")).await.unwrap().body, "hello");
        // The close has arrived, though nothing of the session may have run since.
        origin.until("it is closed", |ledger| ledger.ends.len() == index).await;
    }
    assert_eq!(origin.ledger().uses(), vec![1; 50]);
}

/// Dropping the session closes what is idle; an answer that is being read runs on to its end.
#[tokio::test]
async fn the_end_of_a_session_closes_idle_and_spares_running() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |request: &Request| match request.target.as_str() {
        "/stream" => Answer::events(&script, 2),
        _ => Answer::ok("hello"),
    });
    let origin = origin.await;
    let client = Client::to(&origin);
    let mut body = client.open(get(&origin.url("/stream"))).await.unwrap().into_body();
    client.get(&origin.url("/")).await.unwrap();
    client.settles(2, 1).await;
    drop(client);
    origin.until("the idle one is closed", |ledger| ledger.open == 1).await;
    gate.open(2);
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 0\n\n");
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 1\n\n");
    assert!(piece(&mut body).await.is_none());
    origin.until("the other is closed too", |ledger| ledger.open == 0).await;
}

/// S7: a TLS server that answers no goodbye does not keep a descriptor.
#[tokio::test]
async fn a_peer_without_a_goodbye_keeps_no_descriptor() {
    let leaf = Leaf::self_signed(&["localhost"]);
    let origin = Origin::tls(leaf.server(), |_: &_| Answer::ok("hello").then(Then::Ignore)).await;
    let policy = "[pool]\nkeepalive = \"50ms\"\ncleanup_closed = true\n[tls]\nroots = \"none\"\nca = [\"ca.pem\"]";
    let client = Client::under(policy).file("ca.pem", leaf.pem()).to(&origin).build();
    client.get(&origin.url("/")).await.unwrap();
    client.settles(0, 0).await;
    assert_eq!(kernel::sockets_to(origin.port()), 0);
}
