//! `body`: an answer is read to its end, or it is an error; and how long, how silent and how large it may be.

use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;
use seaway_session::RequestBody;
use seaway_session::{Kind, Stage, Timeouts};
use seaway_tests::answer::{Answer, Gate, Then, chunk};
use seaway_tests::client::{Client, collect, get, piece, request};
use seaway_tests::error::assert_says;
use seaway_tests::eventually;
use seaway_tests::ledger::End;
use seaway_tests::origin::Origin;
use tokio::time::Instant;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// B8, and the invariant: whatever way an answer is cut, it is an error, and what came before is there.
#[tokio::test]
async fn a_truncated_answer_is_an_error() {
    let cut = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello".to_owned(), Then::Close),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello".to_owned(), Then::Reset),
        (format!("{CHUNKED}5\r\nhello\r\n"), Then::Close),
        (format!("{CHUNKED}5\r\nhello\r\n"), Then::Drop),
        (format!("{CHUNKED}5\r\nhello\r\n0\r\n"), Then::Close),
        (format!("{CHUNKED}9\r\nhello"), Then::Close),
        (format!("{CHUNKED}5\r\nhello\r\n0"), Then::Close),
        (format!("{CHUNKED}5\r\nhelloXX0\r\n\r\n"), Then::Close),
        (format!("{CHUNKED}5\r\nhello\r\nxyz\r\n"), Then::Close),
        (format!("{CHUNKED}5\r\nhello\r\nFFFFFFFFFFFFFFFFF\r\n"), Then::Close),
        (format!("{CHUNKED}5\r\nhello\r\n-1\r\n"), Then::Close),
    ];
    for (answer, then) in cut {
        // The cut waits until what came before has been read: a reset throws away what was not.
        let gate = Gate::shut();
        let (script, text) = (gate.clone(), answer.clone());
        let origin = Origin::plain(move |_: &_| Answer::raw(text.clone()).wait(&script).then(then)).await;
        let client = Client::to(&origin);
        let mut body = client.open(get(&origin.url("/?q=QUERY-MARK"))).await.unwrap().into_body();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "hello", "{answer:?}");
        gate.open(1);
        let error = piece(&mut body).await.expect("a cut is not an end").unwrap_err();
        assert_says(&error, Stage::Body, Kind::Incomplete, &["cut before its end", &origin.url("")]);
        assert!(error.request_sent());
        assert!(piece(&mut body).await.is_none(), "nothing follows an error");
        client.settles(0, 0).await;
    }
}

/// An answer without a length ends where the connection does, as RFC 9112, section 6.3 has it.
#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let origin = Origin::plain(|_: &_| Answer::raw("HTTP/1.1 200 OK\r\n\r\nhello").then(Then::Close)).await;
    let client = Client::to(&origin);
    let start = Instant::now();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    client.settles(0, 0).await;
    // Not when `pool.keepalive` is over.
    assert!(start.elapsed() < Duration::from_secs(10), "a closed connection was booked as idle");
}

/// B8: extensions of chunks are skipped, sizes are read whatever their case, and the connection is kept.
#[tokio::test]
async fn odd_but_right_chunks_are_read() {
    let body = format!("{CHUNKED}5;name=\"v\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n");
    let origin = Origin::plain(move |_: &_| Answer::raw(body.clone())).await;
    let client = Client::to(&origin);
    for _ in 0..3 {
        assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello0123456789");
    }
    assert_eq!(origin.ledger().accepted, 1);
}

/// B7: answers that have no body whatever their head says end at once, and their connection is kept.
#[tokio::test]
async fn answers_without_a_body_end_at_once() {
    let origin = Origin::plain(|request: &seaway_tests::request::Request| match request.target.as_str() {
        "/204" => Answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        "/204-bogus" => Answer::raw("HTTP/1.1 204 No Content\r\ncontent-length: 500\r\n\r\n"),
        "/304-bogus" => Answer::raw("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n"),
        "/304" => Answer::raw("HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n"),
        "/0" => Answer::ok(""),
        _ => Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"),
    });
    let origin = origin.await;
    let client = Client::under("[egress]\nmethods = [\"GET\", \"HEAD\"]").to(&origin).build();
    let all = ["/204", "/204-bogus", "/304", "/304-bogus", "/0"].map(|path| ("GET", path));
    for (method, path) in all.into_iter().chain([("HEAD", "/head"), ("HEAD", "/head")]) {
        let answer = client.open(request(method, &origin.url(path), &[], RequestBody::empty())).await.unwrap();
        assert!(answer.body().is_end_stream(), "{method} {path}");
        // Given back before anybody looks at the body.
        client.settles(1, 1).await;
        assert_eq!(collect(answer.into_body()).await.unwrap().0, "");
    }
    assert_eq!(origin.ledger().uses(), [7]);
}

/// B5: trailers reach the guest.
#[tokio::test]
async fn trailers_reach_the_guest() {
    let answer = format!("{CHUNKED}5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n");
    let origin = Origin::plain(move |_: &_| Answer::raw(answer.clone())).await;
    let client = Client::to(&origin);
    let reply = client.get(&origin.url("/")).await.unwrap();
    assert_eq!((&reply.body[..], reply.trailers.unwrap()["x-sum"].to_str().unwrap()), (&b"hello"[..], "42"));
    client.settles(1, 1).await;
}

/// B6: an answer that is dropped unread is closed, and the next request goes over a new connection.
#[tokio::test]
async fn an_unread_answer_is_closed() {
    let origin = Origin::plain(|_: &_| Answer::ok(&"x".repeat(4_000_000))).await;
    let client = Client::to(&origin);
    drop(client.open(get(&origin.url("/"))).await.unwrap());
    origin.until("it is closed", |ledger| ledger.open == 0).await;
    client.settles(0, 0).await;
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body.len(), 4_000_000);
    assert_eq!(origin.ledger().uses(), [1, 1]);
}

/// B6: what is left of an unread answer is read to its end where it is short and there, and closed where it is neither.
#[tokio::test]
async fn a_short_rest_is_drained_and_its_connection_kept() {
    let origin = Origin::plain(|request: &seaway_tests::request::Request| {
        let rest = match request.target.as_str() {
            "/short" => "x".repeat(1024),
            "/late" => return Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").then(Then::Hang),
            _ => "x".repeat(65 * 1024),
        };
        Answer::ok(&rest)
    });
    let origin = origin.await;
    let client = Client::to(&origin);
    for _ in 0..10 {
        drop(client.open(get(&origin.url("/short"))).await.unwrap());
        client.settles(1, 1).await;
    }
    assert_eq!(origin.ledger().uses(), [10]);
    for path in ["/late", "/long"] {
        let start = Instant::now();
        drop(client.open(get(&origin.url(path))).await.unwrap());
        client.settles(0, 0).await;
        assert!(start.elapsed() < Duration::from_secs(5), "{path}");
    }
    origin.until("both are closed", |ledger| ledger.open == 0).await;
}

/// B1: a reader that does not read stops the sender, after what sockets and windows hold; then a GiB goes through in
/// pieces, none of which is large.
#[tokio::test]
async fn a_large_answer_is_not_held_in_memory() {
    const PIECES: usize = 1024;
    let origin = Origin::plain(|_: &_| {
        let block = bytes::Bytes::from(vec![b'x'; 1 << 20]);
        let head = Answer::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PIECES << 20));
        (0..PIECES).fold(head, |answer, _| answer.write(block.clone()))
    });
    let origin = origin.await;
    let client = Client::to(&origin);
    let mut body = client.open(get(&origin.url("/"))).await.unwrap().into_body();
    // A hundred looks without a change: nobody reads, so nothing moves any more.
    let (mut written, mut still) = (0, 0);
    eventually("the sender stands still", || {
        let now = origin.ledger().written;
        still = if now == written { still + 1 } else { 0 };
        written = now;
        still > 100
    })
    .await;
    assert!(written < 32 << 20, "{written} bytes went out though nobody read");
    let (mut read, mut largest) = (0, 0);
    while let Some(frame) = body.frame().await {
        let length = frame.unwrap().data_ref().map_or(0, bytes::Bytes::len);
        (read, largest) = (read + length, largest.max(length));
    }
    assert_eq!(read, PIECES << 20);
    assert!(largest <= 1 << 20, "a piece of {largest} bytes");
}

/// L2: the cap, where the length is announced and where it shows on the way.
#[tokio::test]
async fn an_answer_over_the_cap_is_cut_off() {
    let origin = Origin::plain(|request: &seaway_tests::request::Request| match request.target.as_str() {
        "/length" => Answer::ok(&"x".repeat(1001)),
        "/chunks" => Answer::chunked(&[], &["x".repeat(600).as_str(), "x".repeat(600).as_str()]).then(Then::Hang),
        _ => Answer::ok(&"x".repeat(1000)),
    });
    let origin = origin.await;
    let client = Client::under("[body]\nmax_response = \"1kB\"").to(&origin).build();
    let words = ["`body.max_response` of 1000 bytes", "hint: raise `body.max_response`", &origin.url("")];
    let error = client.get(&origin.url("/length")).await.unwrap_err();
    assert_says(&error, Stage::Body, Kind::ResponseTooLarge(1001), &words);
    assert!(error.request_sent(), "{error:?}");
    let error = client.get(&origin.url("/chunks")).await.unwrap_err();
    assert_says(&error, Stage::Body, Kind::ResponseTooLarge(1200), &words);
    client.settles(0, 0).await;
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body.len(), 1000);
}

/// `body.timeout`: a body that falls silent while it is read.
#[tokio::test]
async fn a_silent_body_times_out() {
    let origin = Origin::plain(|_: &_| Answer::head_of_chunks(&[]).write(chunk("hello")).then(Then::Hang)).await;
    for (policy, caller, word) in [
        ("200ms", None, "`body.timeout` of 200ms"),
        ("20s", Some(200), "`between-bytes-timeout` of 200ms"),
        ("200ms", Some(20_000), "`body.timeout` of 200ms"),
        ("off", Some(200), "`between-bytes-timeout` of 200ms"),
    ] {
        let client = Client::under(&format!("[body]\ntimeout = \"{policy}\"")).to(&origin).build();
        let timeouts = Timeouts { between_bytes: caller.map(Duration::from_millis), ..Timeouts::default() };
        let mut body = client.within(get(&origin.url("/")), timeouts).await.unwrap().into_body();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "hello");
        let start = Instant::now();
        let error = piece(&mut body).await.unwrap().unwrap_err();
        assert_says(&error, Stage::Body, Kind::ReadTimeout, &[word, &origin.url("")]);
        assert!(start.elapsed() >= Duration::from_millis(190));
        // Though the caller still holds the body.
        client.settles(0, 0).await;
        assert!(start.elapsed() < Duration::from_secs(9), "an answer that had failed kept its connection");
    }
}

/// T7: a reader that does not read does not trip it, however long; `total` goes on counting.
#[tokio::test]
async fn a_reader_that_does_not_read_is_no_silence() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin =
        Origin::plain(move |_: &_| Answer::head_of_chunks(&[]).wait(&script).write(chunk("hello")).then(Then::Hang));
    let origin = origin.await;
    // Where `total` is long, the body is read on; where it is short, it has passed meanwhile.
    for (total, passes) in [("60s", false), ("300ms", true)] {
        let policy = format!("total = \"{total}\"\n[body]\ntimeout = \"150ms\"");
        let client = Client::under(&policy).to(&origin).build();
        let mut body = client.open(get(&origin.url("/"))).await.unwrap().into_body();
        // Three times the silence passes while nobody reads, on the clock of exchanges that it ends.
        let short = Client::under("[body]\ntimeout = \"150ms\"").to(&origin).build();
        for _ in 0..3 {
            let mut other = short.open(get(&origin.url("/other"))).await.unwrap().into_body();
            assert_eq!(piece(&mut other).await.unwrap().unwrap_err().kind(), Kind::ReadTimeout);
        }
        gate.open(1);
        match piece(&mut body).await.unwrap() {
            Ok(text) => assert!(text == "hello" && !passes, "{total}"),
            Err(error) => assert!(error.kind() == Kind::TotalTimeout && passes, "{total}: {error}"),
        }
    }
}

/// T10: `total` ends a body, counted from the request's arrival.
#[tokio::test]
async fn total_ends_a_body() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &_| {
        (0..1000).fold(Answer::head_of_chunks(&[]), |answer, _| answer.wait(&script).write(chunk("x")))
    });
    let origin = origin.await;
    let client = Client::under("total = \"400ms\"").to(&origin).build();
    let start = Instant::now();
    let mut body = client.open(get(&origin.url("/"))).await.unwrap().into_body();
    let mut read = 0;
    let error = loop {
        gate.open(1);
        match piece(&mut body).await.expect("total comes before the end") {
            Ok(text) => read += text.len(),
            Err(error) => break error,
        }
        if read == 900 {
            // Enough to show that traffic does not hold it off; now the body is silent.
            assert_eq!(piece(&mut body).await.unwrap().unwrap_err().kind(), Kind::TotalTimeout);
            return;
        }
    };
    assert_says(&error, Stage::Body, Kind::TotalTimeout, &["`total` of 400ms passed", &origin.url("")]);
    assert!(start.elapsed() >= Duration::from_millis(400) && start.elapsed() < Duration::from_secs(10));
    client.settles(0, 0).await;
}

/// T5: a stream that keeps talking outlives `total`, and not `stream_total`, whichever media type announces it.
#[tokio::test]
async fn a_stream_outlives_total_but_not_stream_total() {
    let script = Gate::shut();
    let gate = script.clone();
    let origin = Origin::plain(move |request: &seaway_tests::request::Request| {
        let kind = request.header("accept").unwrap();
        let head = Answer::head_of_chunks(&[("content-type", &kind)]).write(chunk("data: 1\n\n"));
        head.wait(&script).write(chunk("data: 2\n\n")).write("0\r\n\r\n")
    });
    let origin = origin.await;
    let ask = |kind| request("GET", &origin.url("/"), &[("accept", kind)], RequestBody::empty());
    for kind in [
        "text/event-stream",
        "Text/Event-Stream; charset=utf-8",
        "application/x-ndjson",
        "application/vnd.amazon.eventstream",
    ] {
        let client = Client::under("total = \"150ms\"").to(&origin).build();
        let mut stream = client.open(ask(kind)).await.unwrap().into_body();
        assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: 1\n\n");
        // `total` passes, on the clock of an exchange that it does end.
        let mut bounded = client.open(ask("application/json")).await.unwrap().into_body();
        assert_eq!(piece(&mut bounded).await.unwrap().unwrap(), "data: 1\n\n");
        assert_eq!(piece(&mut bounded).await.unwrap().unwrap_err().kind(), Kind::TotalTimeout);
        gate.open(1);
        assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: 2\n\n", "{kind}");
        assert!(piece(&mut stream).await.is_none());
    }
    let client = Client::under("stream_total = \"150ms\"").to(&origin).build();
    let mut stream = client.open(ask("text/event-stream")).await.unwrap().into_body();
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: 1\n\n");
    let error = piece(&mut stream).await.unwrap().unwrap_err();
    assert_says(&error, Stage::Body, Kind::TotalTimeout, &["`stream_total` of 150ms passed"]);
}

/// Comments keep a dead stream open at the proxy, not here.
#[tokio::test]
async fn comments_do_not_hold_off_the_silence() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &_| {
        let head = Answer::head_of_chunks(&[("content-type", "text/event-stream")]).write(chunk("data: 1\n\n"));
        (0..10_000).fold(head, |answer, _| answer.wait(&script).write(chunk(": ping\n\n")))
    });
    let origin = origin.await;
    let client = Client::under("[body]\ntimeout = \"300ms\"").to(&origin).build();
    let mut body = client.open(get(&origin.url("/"))).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 1\n\n");
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let start = Instant::now();
    let error = loop {
        ticks.tick().await;
        gate.open(1);
        match piece(&mut body).await.expect("the stream goes on") {
            Ok(text) => assert!(text.starts_with(": ping"), "{text:?}"),
            Err(error) => break error,
        }
        assert!(start.elapsed() < Duration::from_secs(10), "comments hold off `body.timeout`");
    };
    assert_says(&error, Stage::Body, Kind::ReadTimeout, &["`body.timeout` of 300ms passed"]);
}

/// The end of a streamed answer gives the connection back, for each of many in turn.
#[tokio::test]
async fn streams_share_one_connection_in_turn() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &_| Answer::events(&script, 3)).await;
    let client = Client::to(&origin);
    gate.open(30);
    for _ in 0..10 {
        assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
    }
    assert_eq!(origin.ledger().uses(), [10]);
    drop(client);
    assert_eq!(origin.until("closed", |ledger| ledger.open == 0).await.ends, [(0, End::Peer)]);
}
