//! `wire`: what leaves on the wire, and what is made of an answer that is none.

mod early;
mod http2;

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use seaway_session::{BoxError, Kind, RequestBody, Stage, Timeouts};
use seaway_tests::answer::{Answer, Gate, Script, Then};
use seaway_tests::client::{Client, collect, get, post, request};
use seaway_tests::error::assert_says;
use seaway_tests::nginx::Nginx;
use seaway_tests::origin::Origin;
use tokio::time::Instant;

async fn hello() -> Origin {
    Origin::plain(|_: &_| Answer::ok("hello")).await
}

fn pieces(pieces: Vec<Result<Bytes, BoxError>>) -> RequestBody {
    RequestBody::stream(StreamBody::new(stream::iter(pieces.into_iter().map(|piece| piece.map(Frame::data)))))
}

/// G1: a short request, byte for byte.
#[tokio::test]
async fn a_request_leaves_with_one_host_and_one_framing() {
    let origin = hello().await;
    let client = Client::to(&origin);
    let request = request("POST", &origin.url("/v1/chat?x=1"), &[("host", "other.example")], RequestBody::full("{}"));
    client.read(request).await.unwrap();
    let expected = format!(
        "POST /v1/chat?x=1 HTTP/1.1\r\nx-mark: HEADER-MARK\r\nhost: 127.0.0.1:{}\r\ncontent-length: 2\r\n\r\n",
        origin.port()
    );
    let seen = origin.ledger().requests.pop().unwrap();
    assert_eq!((seen.head, &seen.body[..]), (expected, &b"{}"[..]));
}

/// G1, G2: what belongs to another hop, or is nominated by `Connection`, stays here.
#[tokio::test]
async fn hop_by_hop_fields_do_not_leave() {
    let origin = hello().await;
    let client = Client::to(&origin);
    let headers = [
        ("connection", "x-foo, keep-alive, HTTP2-Settings"),
        ("x-foo", "secret"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("keep-alive", "timeout=600"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authenticate", "Basic"),
        ("te", "trailers"),
        ("trailer", "x-bar"),
        ("transfer-encoding", "chunked"),
        ("x-stays", "yes"),
    ];
    client.read(request("POST", &origin.url("/"), &headers, RequestBody::full("BODY-MARK"))).await.unwrap();
    let seen = origin.ledger().requests.pop().unwrap();
    let names: Vec<_> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-mark", "x-stays", "host", "content-length"]);
    assert_eq!(seen.body, "BODY-MARK");
}

/// G1: what has no honest reading is refused before anything is sent.
#[tokio::test]
async fn dishonest_requests_are_refused() {
    let origin = hello().await;
    let client = Client::to(&origin);
    for headers in [
        &[("upgrade", "websocket"), ("connection", "upgrade")][..],
        &[("content-length", "9"), ("content-length", "2")],
        &[("content-length", "2, 2")],
        &[("content-length", "+9")],
        &[("content-length", "0x9")],
    ] {
        let error =
            client.read(request("POST", &origin.url("/"), headers, RequestBody::full("BODY-MARK"))).await.unwrap_err();
        assert_eq!((error.stage(), error.kind()), (Stage::Wire, Kind::RequestInvalid), "{headers:?}: {error}");
        assert!(!error.request_sent());
    }
    assert_eq!(origin.ledger().accepted, 0);
    // Twice the same length says one thing.
    let headers = [("content-length", "9"), ("content-length", "9")];
    client.read(request("POST", &origin.url("/"), &headers, RequestBody::full("BODY-MARK"))).await.unwrap();
    assert_eq!(origin.ledger().requests[0].header("content-length").as_deref(), Some("9"));
}

/// G1: what the types of a request already refuse: nothing of it can be sent by anybody.
#[test]
fn a_line_break_is_in_no_name_value_or_path() {
    for text in ["a\r\nx: y", "a\nb", "a\rb", "a\0b"] {
        assert!(http::HeaderValue::from_str(text).is_err() && text.parse::<http::HeaderName>().is_err(), "{text:?}");
        assert!(format!("http://a.example/{text}").parse::<http::Uri>().is_err(), "{text:?}");
    }
    assert!("transfer-encoding ".parse::<http::HeaderName>().is_err());
}

/// G1: a guest's own framing, whatever it says, is not what leaves.
#[tokio::test]
async fn a_guests_framing_does_not_leave() {
    let origin = hello().await;
    let client = Client::to(&origin);
    for codings in [&["chunked"][..], &["identity"], &["gzip, chunked"], &["chunked", "x"], &["\u{b}chunked"]] {
        let mut headers: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
        headers.extend([("content-length", "9"), ("connection", "content-length, host")]);
        let request = http::Request::post(origin.url("/"));
        let request = headers.iter().try_fold(request, |request, (name, value)| {
            http::HeaderValue::from_str(value).map(|value| request.header(*name, value))
        });
        let Ok(request) = request else { continue };
        client.read(request.body(RequestBody::full("BODY-MARK")).unwrap()).await.unwrap();
        // The origin complains of two framings, or none where there is a body.
        let seen = origin.ledger().requests.pop().unwrap();
        assert_eq!((seen.all("content-length"), &seen.body[..]), (vec!["9".to_owned()], &b"BODY-MARK"[..]));
        assert!(seen.all("transfer-encoding").is_empty(), "{}", seen.head);
    }
}

/// B4: a body that is not as long as its head says never reaches the next request's place.
#[tokio::test]
async fn a_body_of_another_length_is_an_error() {
    let origin = hello().await;
    let client = Client::to(&origin);
    let whole = || RequestBody::full("BODY-MARK");
    let short = || pieces(vec![Ok(Bytes::from_static(b"BODY")), Ok(Bytes::from_static(b"-MARK"))]);
    for (length, body) in [("8", whole()), ("10", whole()), ("8", short()), ("10", short())] {
        let error =
            client.read(request("POST", &origin.url("/"), &[("content-length", length)], body)).await.unwrap_err();
        assert_says(
            &error,
            Stage::Wire,
            Kind::RequestTooLarge(Some(9)),
            &["9 bytes", &format!("its head says {length}")],
        );
    }
    assert_eq!(origin.ledger().accepted, 0);
    // Beyond what is collected beforehand the connection is closed in the middle, and the origin never sees a whole request.
    for length in ["1500000", "3000000"] {
        let long = pieces(vec![Ok(Bytes::from(vec![b'x'; 2_000_000]))]);
        let error =
            client.read(request("POST", &origin.url("/"), &[("content-length", length)], long)).await.unwrap_err();
        assert_says(&error, Stage::Wire, Kind::RequestTooLarge(Some(2_000_000)), &["2000000 bytes"]);
    }
    origin.until("both are closed", |ledger| ledger.accepted == 2 && ledger.open == 0).await;
    assert_eq!(origin.ledger().requests.len(), 0);
    client.settles(0, 0).await;
}

/// A body that fails in the middle is the caller's error, with its cause, and its connection is closed.
#[tokio::test]
async fn a_body_that_fails_ends_the_exchange() {
    let origin = hello().await;
    let client = Client::to(&origin);
    for first in [1, 2_000_000] {
        let body = pieces(vec![Ok(Bytes::from(vec![b'x'; first])), Err("the guest gave up".into())]);
        let error = client.read(request("POST", &origin.url("/"), &[], body)).await.unwrap_err();
        assert_says(&error, Stage::Wire, Kind::RequestBody, &["the request's body failed", "the guest gave up"]);
    }
    client.settles(0, 0).await;
    assert_eq!(origin.ledger().requests.len(), 0);
}

/// Long bodies arrive whole, with a length where it was promised and in chunks where not.
#[tokio::test]
async fn long_bodies_are_streamed_whole() {
    let origin = hello().await;
    let client = Client::to(&origin);
    let long = || pieces((0..30).map(|_| Ok(Bytes::from(vec![b'x'; 100_000]))).collect());
    client.read(request("POST", &origin.url("/"), &[], long())).await.unwrap();
    client.read(request("POST", &origin.url("/"), &[("content-length", "3000000")], long())).await.unwrap();
    client.read(post(&origin.url("/"), vec![b'x'; 3_000_000])).await.unwrap();
    let ledger = origin.ledger();
    assert!(ledger.requests.iter().all(|request| request.body.len() == 3_000_000));
    let framings: Vec<_> = ledger.requests.iter().map(|request| request.header("content-length")).collect();
    assert_eq!(framings, [None, Some("3000000".to_owned()), Some("3000000".to_owned())]);
    assert_eq!(ledger.uses(), [3]);
}

/// B5: trailers of a request are announced and follow its body, whether it is short or long; a length excludes them, and
/// what belongs to this hop or to the framing is left out.
#[tokio::test]
async fn trailers_of_a_request_reach_the_origin() {
    let origin = hello().await;
    let client = Client::to(&origin);
    let trailers = [("x-sum", "42"), ("connection", "close"), ("content-length", "7"), ("x-other", "1")];
    let trailed = |length: usize| {
        let fields = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let fields = http::HeaderMap::from_iter(fields);
        let frames = [Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b'x'; length]))), Ok(Frame::trailers(fields))];
        RequestBody::stream(StreamBody::new(stream::iter(frames)))
    };
    let nominated = [("trailer", "x-sum, X-Other")];
    client.read(request("POST", &origin.url("/short"), &[], trailed(9))).await.unwrap();
    client.read(request("POST", &origin.url("/long"), &nominated, trailed(2_000_000))).await.unwrap();
    client.read(request("POST", &origin.url("/length"), &[("content-length", "9")], trailed(9))).await.unwrap();
    for (seen, length) in origin.ledger().requests.iter().zip([9, 2_000_000, 9]) {
        assert_eq!(seen.body.len(), length, "{}", seen.target);
        let expected: &[&str] = if seen.target == "/length" { &[] } else { &["x-sum: 42", "x-other: 1"] };
        assert_eq!(seen.trailers, expected, "{}", seen.target);
        let announced: &[&str] = match seen.target.as_str() {
            "/short" => &["x-sum", "x-other"],
            "/long" => &["x-sum, X-Other"],
            _ => &[],
        };
        assert_eq!(seen.all("trailer"), announced, "{}", seen.head);
    }
    assert_eq!(origin.ledger().uses(), [3]);
}

/// `body.max_request`: refused before a connection where the size is known, closed where it shows late.
#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let origin = hello().await;
    let client = Client::under("[body]\nmax_request = \"1500kB\"").to(&origin).build();
    let words = ["`body.max_request` of 1500000 bytes", "hint: raise `body.max_request`"];
    let error = client.post(&origin.url("/"), vec![b'x'; 1_500_001]).await.unwrap_err();
    assert_says(&error, Stage::Wire, Kind::RequestTooLarge(Some(1_500_001)), &words);
    assert_eq!(origin.ledger().accepted, 0);
    let long = pieces((0..40).map(|_| Ok(Bytes::from(vec![b'x'; 100_000]))).collect());
    let error = client.read(request("POST", &origin.url("/"), &[], long)).await.unwrap_err();
    assert_says(&error, Stage::Wire, Kind::RequestTooLarge(None), &words);
    client.settles(0, 0).await;
    assert_eq!(origin.ledger().requests.len(), 0);
}

/// T4: no answer at all.
#[tokio::test]
async fn an_answer_that_never_begins_times_out() {
    let origin = Origin::plain(|_: &_| Answer::none()).await;
    let client = Client::under("[wire]\ntimeout = \"200ms\"").to(&origin).build();
    let start = Instant::now();
    let error = client.post(&origin.url("/"), "BODY-MARK").await.unwrap_err();
    assert_says(&error, Stage::Wire, Kind::ReadTimeout, &["`wire.timeout` of 200ms passed", &origin.url("")]);
    assert!(error.request_sent());
    assert!(start.elapsed() >= Duration::from_millis(200) && start.elapsed() < Duration::from_secs(10));
    client.settles(0, 0).await;
    origin.until("the origin sees the close", |ledger| ledger.open == 0).await;
}

/// T9: the guest's own deadline of the first byte wins where it is shorter, and loses where it is longer.
#[tokio::test]
async fn the_shorter_first_byte_deadline_wins() {
    let origin = Origin::plain(|_: &_| Answer::none()).await;
    for (policy, caller, word) in [
        ("timeout = \"20s\"", 100, "`first-byte-timeout` of 100ms"),
        ("", 100, "`first-byte-timeout` of 100ms"),
        ("timeout = \"100ms\"", 20_000, "`wire.timeout` of 100ms"),
    ] {
        let client = Client::under(&format!("[wire]\n{policy}")).to(&origin).build();
        let timeouts = Timeouts { first_byte: Some(Duration::from_millis(caller)), ..Timeouts::default() };
        let error = client.within(get(&origin.url("/")), timeouts).await.unwrap_err();
        assert_says(&error, Stage::Wire, Kind::ReadTimeout, &[word]);
    }
}

/// T6: a head that comes byte by byte does not hold off `total`.
#[tokio::test]
async fn a_trickling_head_ends_at_total() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &_| {
        let head = "HTTP/1.1 200 OK\r\nx-long: ".bytes();
        head.fold(Answer::none(), |answer, byte| answer.write(vec![byte]).wait(&script))
    });
    let origin = origin.await;
    let client = Client::under("total = \"300ms\"\n[body]\ntimeout = \"20s\"").to(&origin).build();
    gate.open(20);
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&error, Stage::Wire, Kind::TotalTimeout, &["`total` of 300ms passed", &origin.url("")]);
    assert!(error.request_sent(), "the request had left: {error:?}");
    client.settles(0, 0).await;
}

/// What closes, resets or talks something else before an answer, on a fresh connection: an error, and no second try.
#[tokio::test]
async fn no_answer_is_an_error_and_not_tried_again() {
    for then in [Then::Close, Then::Drop, Then::Reset] {
        let origin = Origin::plain(move |_: &_| Answer::none().then(then)).await;
        let error = Client::to(&origin).post(&origin.url("/"), "BODY-MARK").await.unwrap_err();
        assert_says(&error, Stage::Wire, Kind::Terminated, &["before an answer", &origin.url("")]);
        assert!(error.request_sent());
        assert_eq!(origin.ledger().requests.len(), 1, "{then:?}");
    }
}

/// K9: nginx closes without an answer.
#[tokio::test]
async fn nginx_444_is_an_error_and_not_tried_again() {
    let server = "listen 127.0.0.1:$PORT; location /fine { return 200 hello; } location / { return 444; }";
    let Some(nginx) = Nginx::start(server, &[]).await else { return };
    let url = format!("http://127.0.0.1:{}", nginx.port());
    let client = Client::under("").destination(&url).build();
    for _ in 0..3 {
        let error = client.post(&url, "BODY-MARK").await.unwrap_err();
        assert_says(&error, Stage::Wire, Kind::Terminated, &[&url]);
    }
    assert_eq!(client.figures().opened, 3);
    assert_eq!(client.get(&format!("{url}/fine")).await.unwrap().body, "hello");
}

/// What is not HTTP/1 says so.
#[tokio::test]
async fn an_answer_that_is_not_http_says_so() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        "220 mail.example ESMTP\r\n",
        "<html><body>no</body></html>",
        "HTTP/1.1 BODY-MARK\r\n\r\n",
        "HTTP/3.7 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        // A folded line (RFC 9112, section 5.2).
        "HTTP/1.1 200 OK\r\nx-folded: one\r\n two\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    ] {
        let origin = Origin::plain(move |_: &_| Answer::raw(answer).then(Then::Close)).await;
        let client = Client::to(&origin);
        let error = client.get(&origin.url("/")).await.expect_err(answer);
        assert_says(&error, Stage::Wire, Kind::Protocol, &["does not answer in HTTP", &origin.url("")]);
        client.settles(0, 0).await;
    }
}

/// H7's mirror: a server that begins with HTTP/2's preface.
#[tokio::test]
async fn http2_that_was_not_agreed_on_says_so() {
    // A SETTINGS frame (RFC 9113, section 6.5).
    let origin =
        Origin::plain(|_: &_| Answer::raw(&b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"[..]).then(Then::Close)).await;
    let error = Client::to(&origin).get(&origin.url("/")).await.unwrap_err();
    assert_eq!((error.stage(), error.kind()), (Stage::Wire, Kind::Protocol), "{error}");
}

/// L1: more fields, or a longer head, than the policy takes.
#[tokio::test]
async fn a_head_that_is_too_large_is_an_error() {
    let origin = Origin::plain(|request: &seaway_tests::request::Request| {
        let (count, length): (usize, usize) = match request.target.as_str() {
            // With the length, one more than the default allows.
            "/many" => (100, 1),
            "/long" => (1, 65 * 1024),
            _ => (90, 100),
        };
        let fields: String = (0..count).map(|index| format!("x-{index}: {}\r\n", "v".repeat(length))).collect();
        Answer::raw(format!("HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nok"))
    });
    let origin = origin.await;
    let client = Client::to(&origin);
    for path in ["/many", "/long"] {
        let error = client.get(&origin.url(path)).await.expect_err(path);
        assert_says(&error, Stage::Wire, Kind::HeadersTooLarge, &["wire.max_headers", "wire.max_header_bytes"]);
        assert!(error.request_sent());
    }
    assert_eq!(client.get(&origin.url("/within")).await.unwrap().body, "ok");
    let client = Client::under("[wire]\nmax_headers = 200\nmax_header_bytes = \"128KiB\"").to(&origin).build();
    for path in ["/many", "/long"] {
        assert_eq!(client.get(&origin.url(path)).await.unwrap().body, "ok");
    }
}

/// Interim answers are not the answer.
#[tokio::test]
async fn interim_answers_are_skipped() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let origin =
        Origin::plain(move |_: &_| Answer::raw(format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")));
    let origin = origin.await;
    let client = Client::to(&origin);
    for _ in 0..2 {
        let reply = client.get(&origin.url("/")).await.unwrap();
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"hello"[..]));
        assert!(!reply.headers.contains_key("link"));
    }
    assert_eq!(origin.ledger().accepted, 1);
}

/// B2: an answer that comes before the request has left is the answer, and its connection is not used again.
#[tokio::test]
async fn an_early_413_reaches_the_guest() {
    let origin = Origin::plain(Script::at_head(|request| match request.method.as_str() {
        "POST" => Answer::whole("413 Content Too Large", &[("connection", "close")], "too large").then(Then::Close),
        _ => Answer::ok("hello"),
    }));
    let origin = origin.await;
    let client = Client::to(&origin);
    let long = pieces((0..250).map(|_| Ok(Bytes::from(vec![b'x'; 100_000]))).collect());
    let reply = client.read(request("POST", &origin.url("/"), &[], long)).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (413, &b"too large"[..]));
    client.settles(0, 0).await;
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    assert_eq!(origin.ledger().accepted, 2);
}

/// G3: what a server says without being asked is never taken for an answer.
#[tokio::test]
async fn bytes_beyond_an_answer_are_never_an_answer() {
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfineHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let origin = Origin::plain(move |request: &seaway_tests::request::Request| match request.target.as_str() {
        "/smuggle" => Answer::raw(smuggled),
        _ => Answer::ok("hello"),
    });
    let origin = origin.await;
    let client = Client::to(&origin);
    for _ in 0..20 {
        assert_eq!(client.get(&origin.url("/smuggle")).await.unwrap().body, "fine");
        assert_eq!(client.get(&origin.url("/next")).await.unwrap().body, "hello");
    }
}

/// The head that the guest sees: nothing of this hop, everything else as it came.
#[tokio::test]
async fn the_guest_sees_the_head_without_this_hop() {
    let headers =
        [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "timeout=60"), ("set-cookie", "a=b"), ("x-y", "1")];
    let origin = Origin::plain(move |_: &_| Answer::whole("200 OK", &headers, "")).await;
    let answer = Client::to(&origin).open(get(&origin.url("/"))).await.unwrap();
    let mut names: Vec<_> = answer.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "set-cookie", "x-y"]);
    collect(answer.into_body()).await.unwrap();
}
