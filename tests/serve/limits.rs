//! How much a client may send, how slowly, and how many at a time.

use std::time::Duration;

use seaway_tests::answer::Gate;
use seaway_tests::gateway::Gateway;
use seaway_tests::origin::Origin;
use seaway_tests::provider::{streamed, whole};
use seaway_tests::request::Request;
use seaway_tests::{eventually, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{HELLO, STREAM, assert_error, before, hello};

/// An origin whose answers wait at the gate.
async fn slow(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::plain(move |_: &Request| whole("hello").after(&gate)).await
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_and_costs_nothing() {
    let origin = hello().await;
    let gateway = before(&origin, "[serve]\nmax_body = \"1KiB\"\nmax_head = \"8KiB\"").await;
    let mut wire = gateway.connect().await;
    wire.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n\r\n").await;
    let reply = wire.reply().await;
    assert_error(&reply, 413, "1024 bytes");
    assert!(reply.header("connection") == Some("close") && wire.is_closed().await, "{reply:?}");
    let mut wire = gateway.connect().await;
    wire.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    wire.write(format!("3e8\r\n{}\r\n", "x".repeat(1000)).repeat(2)).await;
    assert_error(&wire.reply().await, 413, "1024 bytes");
    let mut wire = gateway.connect().await;
    wire.write(format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx-large: {}\r\n\r\n", "x".repeat(9000))).await;
    assert!(wire.until("\r\n").await.is_some_and(|line| line.contains(" 431 ")));
    let reply = gateway.ask("POST", "/v1/chat/completions", &[("content-encoding", "gzip")], HELLO).await;
    assert_error(&reply, 415, "without `content-encoding`");
    assert_eq!(origin.ledger().accepted, 0);
    assert_eq!(gateway.complete("none", HELLO).await.status, 200);
}

/// Slowloris: a head that drips, one that never begins, and a body that stands still.
#[tokio::test]
async fn a_client_that_drips_is_not_waited_for() {
    let origin = hello().await;
    let gateway = before(&origin, "[serve]\nhead_timeout = \"300ms\"\nbody_timeout = \"300ms\"").await;
    let (mut silent, mut drips, mut stands) =
        (gateway.connect().await, gateway.connect().await, gateway.connect().await);
    drips.write(b"GET /healthz HTTP/1.1\r\nhost").await;
    stands.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{").await;
    assert!(silent.is_closed().await);
    drop(drips.until("never").await);
    assert_error(&stands.reply().await, 408, "nothing of the request's body came for 300ms");
    assert!(stands.is_closed().await);
}

/// Requests that come all at once are answered one after the other, in their order.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    let mut wire = gateway.connect().await;
    for (path, body) in [("/v1/chat/completions", HELLO), ("/nowhere", ""), ("/v1/chat/completions", HELLO)] {
        wire.send("POST", path, &[], body).await;
    }
    let statuses = [wire.reply().await.status, wire.reply().await.status, wire.reply().await.status];
    assert_eq!((statuses, origin.ledger().requests.len()), ([200, 404, 200], 2));
}

/// A connection of HTTP/2 on which nothing is asked any more is closed, but none on which an answer runs.
#[tokio::test]
async fn a_quiet_connection_of_http2_is_closed_and_no_other() {
    const PATIENCE: Duration = Duration::from_millis(200);
    let gate = Gate::shut();
    let origin = slow(&gate).await;
    let gateway = before(&origin, "[serve]\nhead_timeout = \"200ms\"").await;
    let socket = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let (mut sender, driver) = h2::client::handshake(socket).await.unwrap();
    let mut connection = JoinSet::new();
    connection.spawn(driver);
    let request = http::Request::post(gateway.url("/v1/chat/completions")).body(()).unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(HELLO.into(), true).unwrap();
    origin.requests(1).await;
    tokio::time::sleep(3 * PATIENCE).await;
    assert!(connection.try_join_next().is_none());
    gate.open(1);
    let mut answer = answer.await.unwrap();
    while let Some(piece) = answer.body_mut().data().await {
        answer.body_mut().flow_control().release_capacity(piece.unwrap().len()).unwrap();
    }
    let quiet = Instant::now();
    soon("the connection closes", connection.join_next()).await.unwrap().unwrap().unwrap();
    assert!(quiet.elapsed() >= PATIENCE, "{:?}", quiet.elapsed());
}

/// Nor is a client waited for that does not go when told.
#[tokio::test]
async fn a_silent_connection_of_http2_is_closed() {
    let origin = hello().await;
    let gateway = before(&origin, "[serve]\nhead_timeout = \"200ms\"").await;
    let mut wire = gateway.connect().await;
    wire.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // SETTINGS, and GET /healthz as the first stream (RFC 9113, sections 6.5 and 6.2; RFC 7541, appendix A).
    wire.write(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
    wire.write(b"\x00\x00\x0f\x01\x05\x00\x00\x00\x01\x82\x86\x04\x08/healthz\x01\x01a").await;
    drop(soon("the connection closes", wire.until("never")).await);
    // It was spoken to as it should be, and answered.
    let logged = gateway.logged();
    assert!(logged.contains("/healthz") && logged.contains(" 200 "), "{logged}");
}

/// A client's connection of HTTP/2, all of whose streams but one may be left unread.
async fn connect(gateway: &Gateway) -> (h2::client::SendRequest<bytes::Bytes>, JoinSet<()>) {
    let socket = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (sender, driver) = builder.initial_connection_window_size(1 << 20).handshake(socket).await.unwrap();
    let mut connection = JoinSet::new();
    connection.spawn(async move { drop(driver.await) });
    (sender, connection)
}

/// An answer, nothing of which has been taken.
async fn asked(
    sender: &h2::client::SendRequest<bytes::Bytes>,
    gateway: &Gateway,
    body: &'static str,
) -> h2::RecvStream {
    let request = http::Request::post(gateway.url("/v1/chat/completions")).body(()).unwrap();
    let (answer, mut call) = sender.clone().send_request(request, false).unwrap();
    call.send_data(body.into(), true).unwrap();
    answer.await.unwrap().into_body()
}

/// The length of what is taken, 16 KiB in each step.
async fn read(answer: &mut h2::RecvStream, step: Duration) -> Result<usize, h2::Error> {
    let (mut length, mut released) = (0, 0);
    while let Some(piece) = answer.data().await {
        length += piece?.len();
        if length - released >= 16 << 10 {
            tokio::time::sleep(step).await;
            answer.flow_control().release_capacity(length - released)?;
            released = length;
        }
    }
    Ok(length)
}

/// A client that takes its answer slowly, or later, has all of it.
#[tokio::test]
async fn a_slow_reader_has_its_whole_answer() {
    const STEP: Duration = Duration::from_millis(100);
    let origin = Origin::plain(|_: &Request| whole(&"x".repeat(300 << 10))).await;
    for (timeouts, wait, step) in [
        ("head_timeout = \"200ms\"", 10 * STEP, Duration::ZERO),
        ("head_timeout = \"200ms\"\nsend_timeout = \"500ms\"", Duration::ZERO, STEP),
    ] {
        let gateway = before(&origin, &format!("[serve]\n{timeouts}")).await;
        let (sender, _connection) = connect(&gateway).await;
        let mut answer = asked(&sender, &gateway, HELLO).await;
        tokio::time::sleep(wait).await;
        let length = read(&mut answer, step).await.unwrap_or_else(|error| panic!("{timeouts}: {error}"));
        assert!(length > 300 << 10, "{timeouts}: {length}");
    }
}

/// Over HTTP/1.1 too, though its answer leaves as one large frame, and though it was fast at first.
#[tokio::test]
async fn a_slow_reader_of_http1_has_its_whole_answer() {
    const LENGTH: usize = 12 << 20;
    const STEP: Duration = Duration::from_millis(50);
    let origin = Origin::plain(|_: &Request| whole(&"x".repeat(LENGTH))).await;
    let gateway = before(&origin, "[serve]\nsend_timeout = \"1500ms\"").await;
    let mut wire = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    ask(&mut wire, HELLO).await;
    let (mut length, mut piece, begun) = (0, vec![0; 32 << 10], Instant::now());
    while length < LENGTH {
        match wire.read(&mut piece).await.unwrap() {
            0 => panic!("closed after {length} bytes"),
            more => length += more,
        }
        if length > LENGTH / 8 && begun.elapsed() < 160 * STEP {
            tokio::time::sleep(STEP).await;
        }
    }
}

async fn ask(wire: &mut tokio::net::TcpStream, body: &str) {
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    wire.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

/// An origin with long streams.
async fn long() -> Origin {
    let gate = Gate::shut();
    gate.open(1000);
    Origin::plain(move |_: &Request| streamed(&gate, &["x".repeat(64 << 10).as_str(); 100])).await
}

/// A client that takes nothing of its answer keeps neither its connection nor its call.
#[tokio::test]
async fn a_client_that_takes_nothing_is_not_waited_for() {
    let origin = long().await;
    let gateway = before(&origin, "[serve]\nsend_timeout = \"200ms\"").await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut wire = socket.connect(gateway.address()).await.unwrap();
    ask(&mut wire, STREAM).await;
    origin.requests(1).await;
    origin.until("the call of HTTP/1.1 is cancelled", |ledger| ledger.open == 0).await;
    let (sender, mut connection) = connect(&gateway).await;
    let answer = asked(&sender, &gateway, STREAM).await;
    origin.requests(2).await;
    origin.until("the call of HTTP/2 is cancelled", |ledger| ledger.open == 0).await;
    soon("the connection closes", connection.join_next()).await;
    drop((answer, wire));
    eventually("both are told", || gateway.logged().lines().count() == 2).await;
}

/// Where it takes another answer of the same connection, that goes on.
#[tokio::test]
async fn an_answer_of_which_nothing_is_taken_ends_alone() {
    let origin = long().await;
    let gateway = before(&origin, "[serve]\nsend_timeout = \"1s\"").await;
    let (sender, mut connection) = connect(&gateway).await;
    let mut unread = asked(&sender, &gateway, STREAM).await;
    let mut taken = asked(&sender, &gateway, STREAM).await;
    origin.requests(2).await;
    let reading = read(&mut taken, Duration::from_millis(10));
    let cancelled = origin.until("the unread call is cancelled", |ledger| ledger.open == 1);
    let (length, _) = tokio::join!(reading, cancelled);
    assert!(length.unwrap() > 100 * (64 << 10));
    let error = soon("the stream is reset", read(&mut unread, Duration::ZERO)).await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    assert!(connection.try_join_next().is_none());
}

/// A body that ends before its length, and one whose chunks are none: nothing is sent.
#[tokio::test]
async fn a_request_that_breaks_off_is_never_sent() {
    let origin = hello().await;
    let gateway = before(&origin, "").await;
    let mut wire = gateway.connect().await;
    wire.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n").await;
    drop(wire.until("never").await);
    let mut wire = gateway.connect().await;
    wire.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{}").await;
    drop(wire);
    eventually("both are told", || gateway.logged().lines().count() == 2).await;
    assert_eq!(origin.ledger().accepted, 0);
}

/// `serve.calls` at a time, `serve.queue` waiting, first come first served; one more is refused at once.
#[tokio::test]
async fn calls_beyond_the_limit_wait_and_beyond_the_queue_are_refused() {
    let gate = Gate::shut();
    let origin = slow(&gate).await;
    let gateway = before(&origin, "[serve]\ncalls = 1\nqueue = 1\nqueue_timeout = \"off\"").await;
    let (mut first, mut second) = (gateway.connect().await, gateway.connect().await);
    first.send("POST", "/v1/chat/completions", &[], HELLO).await;
    origin.requests(1).await;
    second.send("POST", "/v1/chat/completions", &[], HELLO).await;
    let waits = async || gateway.ask("GET", "/metrics", &[], "").await.body.contains("seaway_serve_waiting 1");
    gateway.until("one waits", waits).await;
    let third = gateway.complete("none", HELLO).await;
    assert_error(&third, 503, "as may be");
    assert_eq!(third.header("retry-after"), Some("1"));
    gate.open(2);
    assert_eq!((first.reply().await.status, second.reply().await.status), (200, 200));
}

#[tokio::test]
async fn a_call_waits_no_longer_than_it_may() {
    let gate = Gate::shut();
    let origin = slow(&gate).await;
    let gateway = before(&origin, "[serve]\ncalls = 1\nqueue_timeout = \"50ms\"").await;
    let mut first = gateway.connect().await;
    first.send("POST", "/v1/chat/completions", &[], HELLO).await;
    origin.requests(1).await;
    assert_error(&gateway.complete("none", HELLO).await, 503, "50ms");
}

#[tokio::test]
async fn a_key_has_a_limit_of_its_own() {
    let gate = Gate::shut();
    let origin = slow(&gate).await;
    let gateway = before(&origin, "[serve]\nkeys = [{ value = \"sk-few\", calls = 1 }, { value = \"sk-many\" }]").await;
    let mut first = gateway.connect().await;
    first.send("POST", "/v1/chat/completions", &[("api-key", "sk-few")], HELLO).await;
    origin.requests(1).await;
    let refused = gateway.complete("sk-few", HELLO).await;
    assert_error(&refused, 429, "this key");
    assert_eq!(refused.header("retry-after"), Some("1"));
    gate.open(2);
    assert_eq!(gateway.complete("sk-many", HELLO).await.status, 200);
    assert_eq!(first.reply().await.status, 200);
}
