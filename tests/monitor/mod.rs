//! Monitoring: signals, what the log tells of them, records, and figures for Prometheus.

mod metrics;
mod buffered;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{FutureExt as _, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use seaway_session::monitor::{About, Closed, Eviction};
use seaway_session::{BoxError, Call, Lookup, Record, RequestBody, Signal, Stage, tls};
use seaway_tests::answer::{Answer, Gate, Then};
use seaway_tests::certificates::Authority;
use seaway_tests::client::{Client, collect, get, piece, request};
use seaway_tests::error::{MARKS, SECRET};
use seaway_tests::log::Log;
use seaway_tests::origin::Origin;
use seaway_tests::proxies::{Squid, USER, Ways};
use seaway_tests::request::Request;
use seaway_tests::{eventually, soon};
use tokio::task::JoinSet;

/// A signal with what it is about: exchange, connection, origin.
type Told = (Option<u64>, Option<u64>, Option<String>, Signal);

/// A monitor that keeps what it hears.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Told>>>);

impl Heard {
    /// What is to be heard of a session from now on.
    fn of(client: &Client) -> Self {
        let heard = Self::default();
        let kept = heard.clone();
        drop(client.session.clone().monitored(move |about: &About<'_>, signal: &Signal| {
            let told = (about.exchange, about.connection, about.origin.map(ToString::to_string), *signal);
            kept.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        }));
        heard
    }

    fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The words of what was told of an exchange itself, or of a connection's opening and end.
    fn words(&self, of_connections: bool) -> Vec<&'static str> {
        let connections = ["opening", "dns_", "tcp", "proxy", "tls", "opened", "evicted", "closed"];
        let words = self.all().into_iter().map(|told| told.3.word());
        words.filter(|word| connections.iter().any(|start| word.starts_with(start)) == of_connections).collect()
    }

    fn closed(&self) -> Vec<Closed> {
        let all = self.all().into_iter();
        all.filter_map(|told| if let Signal::Closed { reason } = told.3 { Some(reason) } else { None }).collect()
    }

    fn has(&self, wanted: impl Fn(&Signal) -> bool) -> bool {
        self.all().iter().any(|told| wanted(&told.3))
    }
}

async fn hello() -> Origin {
    Origin::plain(|_: &_| Answer::ok("hello")).await
}

/// Every stage of a first and a second exchange over TLS is told, in the order of the path, with its facts, and the record
/// knows them too. The connection's signals name the exchange that it was opened for.
#[tokio::test]
async fn exchanges_and_connections_are_told_in_the_order_of_the_path() {
    let authority = Authority::new("Test CA");
    let origin = Origin::tls(authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
    let client = Client::under("[tls]\nroots = \"none\"\nca = [\"ca.pem\"]").file("ca.pem", authority.pem());
    let client = client.to(&origin).build();
    let (heard, record) = (Heard::of(&client), Record::new());
    let call = Call { record: record.clone(), ..Call::default() };
    let answer =
        client.call(request("POST", &origin.url("/"), &[], RequestBody::full("BODY-MARK")), call).await.unwrap();
    collect(answer.into_body()).await.unwrap();
    client.get(&origin.url("/")).await.unwrap();
    let once = ["request_head", "request_end", "first_byte", "body_chunk", "body_end"];
    assert_eq!(heard.words(false), [&["began"][..], &once, &["began", "reused"], &once].concat());
    assert_eq!(heard.words(true), ["opening", "dns_miss", "dns_start", "dns_end", "tcp", "tls", "opened"]);

    let all = heard.all();
    let first = all[0].0.unwrap();
    let second = all.last().unwrap().0.unwrap();
    assert_ne!(first, second);
    for (exchange, connection, place, signal) in &all {
        if *signal == Signal::Began {
            assert_eq!((connection, place), (&None, &None));
            continue;
        }
        assert!([Some(first), Some(second)].contains(exchange), "{signal}");
        assert_eq!(place.as_deref(), Some(&origin.url("")[..]), "{signal}");
        assert!(connection.is_some(), "{signal}");
    }
    for wanted in [Signal::RequestEnd { bytes: 9 }, Signal::BodyEnd { bytes: 5, whole: true }] {
        assert!(all.iter().any(|told| (told.0, told.3) == (Some(first), wanted)), "{wanted}");
    }
    let timings = record.timings().unwrap();
    let handshake = timings.handshake.unwrap();
    let agreed = (handshake.version, handshake.alpn, handshake.resumed);
    assert_eq!(agreed, (tls::Version::Tls13, Some("http/1.1"), false));
    assert!(heard.has(|signal| matches!(signal, Signal::Tls { handshake: told, .. } if *told == handshake)));
    let found = (timings.lookup, timings.attempts, timings.queued, timings.status, timings.received);
    assert_eq!(found, (Some(Lookup::Miss), 1, None, Some(200), 5));
    assert!(timings.first_byte.unwrap() >= timings.span(Stage::Wire).unwrap().end);
}

/// A name that is known is a hit, and an address is neither; a protocol that is not agreed on is none, and a session that
/// is resumed is told as one.
#[tokio::test]
async fn what_is_known_already_is_told_as_known() {
    let authority = Authority::new("Test CA");
    let mut server = authority.leaf(&["localhost", "127.0.0.1"]).server();
    server.alpn_protocols.clear();
    let origin = Origin::tls(server, |_: &_| Answer::ok("hello")).await;
    let policy = "[pool]\nforce_close = true\n[tls]\nroots = \"none\"\nca = [\"ca.pem\"]";
    let client = Client::under(policy).file("ca.pem", authority.pem()).to(&origin).build();
    let mut found = Vec::new();
    for host in ["localhost", "localhost", "127.0.0.1"] {
        let record = Record::new();
        let call = Call { record: record.clone(), ..Call::default() };
        collect(client.call(get(&origin.at(host, "/")), call).await.unwrap().into_body()).await.unwrap();
        let timings = record.timings().unwrap();
        let handshake = timings.handshake.unwrap();
        found.push((timings.lookup, handshake.alpn, handshake.resumed));
    }
    assert_eq!(found, [(Some(Lookup::Miss), None, false), (Some(Lookup::Hit), None, true), (None, None, false)]);
}

/// A wait for room is told when it begins and when it ends, and recorded; who finds room has none. Who gives up has ended
/// its wait, too.
#[tokio::test]
async fn a_wait_for_room_is_told_with_its_length() {
    let gate = Gate::shut();
    let waits = gate.clone();
    let origin = Origin::plain(move |_: &_| Answer::ok("hello").after(&waits)).await;
    let client = Client::under("[pool]\nlimit = 1").to(&origin).build();
    let heard = Heard::of(&client);
    let ask = |record: &Record| {
        let (session, call) = (client.session.clone(), Call { record: record.clone(), ..Call::default() });
        let request = get(&origin.url("/"));
        async move { collect(session.send(request, call).await.unwrap().into_body()).await.unwrap() }
    };
    let mut tasks = JoinSet::new();
    let queued = async |count: usize| {
        let starts = || heard.all().iter().filter(|told| told.3 == Signal::QueueStart).count();
        eventually("so many wait", || starts() == count).await;
    };
    let records = [Record::new(), Record::new(), Record::new()];
    tasks.spawn(ask(&records[0]));
    origin.requests(1).await;
    tasks.spawn(ask(&records[1]));
    queued(1).await;
    let third = tasks.spawn(ask(&records[2]));
    queued(2).await;
    third.abort();
    assert!(tasks.join_next().await.unwrap().is_err());
    gate.open(2);
    while let Some(answer) = tasks.join_next().await {
        assert_eq!(answer.unwrap().0, "hello");
    }
    let words: Vec<_> =
        heard.all().iter().filter(|told| told.3.word().starts_with("queue")).map(|told| told.0).collect();
    // The third's two, one after the other, then the second's end.
    let (second, third) = (words[0], words[1]);
    assert_eq!(words, [second, third, third, second]);
    assert!(heard.has(|signal| *signal == Signal::Cancelled));
    let waits = records.map(|record| record.timings().unwrap().queued);
    assert!(waits[0].is_none() && waits[1].is_some(), "{waits:?}");
    let mut ends = heard.all().into_iter().filter(|told| told.0 == second);
    let told = ends.find_map(|told| if let Signal::QueueEnd { waited } = told.3 { Some(waited) } else { None });
    assert_eq!(waits[1], told);
}

/// Each way in which a connection ends is told by its reason, and counted by it.
#[tokio::test]
async fn a_connection_ends_for_a_reason() {
    let origin = Origin::everywhere(|request: &Request| match request.target.as_str() {
        "/close" => Answer::ok("hello").then(Then::Close),
        "/says-close" => Answer::whole("200 OK", &[("connection", "close")], "hello").then(Then::Hang),
        "/cut" => Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").then(Then::Close),
        "/reset" => Answer::none().then(Then::Reset),
        "/long" => Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\nhalf").then(Then::Hang),
        _ => Answer::ok("hello"),
    });
    let origin = origin.await;
    let idle = "[pool]\nkeepalive = \"50ms\"";
    for (policy, path, reason) in [
        (idle, "/", Closed::Idle),
        ("[pool]\nmax_lifetime = \"50ms\"", "/", Closed::Lifetime),
        ("[pool]\nmax_requests = 1", "/", Closed::Requests),
        ("[pool]\nforce_close = true", "/", Closed::Policy),
        ("[pool]\nisolation = \"call\"", "/", Closed::Policy),
        ("", "/close", Closed::Peer),
        ("", "/says-close", Closed::Peer),
        ("", "/cut", Closed::Error),
        ("", "/reset", Closed::Error),
        ("", "/long", Closed::Dropped),
    ] {
        let client = Client::under(policy).to_hosts(&origin, 1).build();
        let heard = Heard::of(&client);
        match client.open(get(&origin.at("127.0.0.1", path))).await {
            Ok(answer) if path == "/long" => drop(answer),
            Ok(answer) => drop(collect(answer.into_body()).await),
            Err(_) => assert_eq!(path, "/reset"),
        }
        client.settles(0, 0).await;
        assert_eq!(heard.closed(), [reason], "{policy} {path}");
        assert_eq!(client.figures().closed(reason), 1, "{policy} {path}");
    }
    let client = Client::under("[pool]\nlimit = 1").to_hosts(&origin, 2).build();
    let heard = Heard::of(&client);
    let urls = [origin.at("127.0.0.1", "/"), origin.at("127.0.0.2", "/")];
    client.get(&urls[0]).await.unwrap();
    client.get(&urls[1]).await.unwrap();
    assert!(heard.has(|signal| *signal == Signal::Evicted { reason: Eviction::Room }));
    client.swap("[wire]\nmax_headers = 50").unwrap();
    assert!(heard.has(|signal| *signal == Signal::Swapped { generation: 1 }));
    client.get(&urls[0]).await.unwrap();
    client.get(&urls[1]).await.unwrap();
    client.swap("[wire]\nmax_headers = 50\n[pool]\nlimit = 1").unwrap();
    client.settles(1, 1).await;
    drop(client);
    let limit = Closed::Evicted(Eviction::Limit);
    assert_eq!(heard.closed(), [Closed::Evicted(Eviction::Room), Closed::Swap, limit, Closed::Ended]);
}

/// What does not end well is told with its stage and its kind: a refusal, a connection that is refused, an answer that is
/// cut; and what its caller gave up, as that.
#[tokio::test]
async fn failures_are_told_with_stage_and_kind() {
    let gate = Gate::shut();
    let origin = Origin::plain({
        let gate = gate.clone();
        move |request: &Request| match request.target.as_str() {
            "/cut" => Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").then(Then::Close),
            "/never" => Answer::ok("hello").after(&gate),
            _ => Answer::ok("hello"),
        }
    });
    let origin = origin.await;
    let closed = {
        let gone = hello().await;
        gone.port()
    };
    let nobody = format!("http://127.0.0.1:{closed}");
    let client = Client::under("").to(&origin).destination(&nobody).build();
    let heard = Heard::of(&client);
    assert!(client.get("https://denied.example/?q=QUERY-MARK").await.is_err());
    assert!(client.read(request("PUT", &origin.url("/"), &[], RequestBody::empty())).await.is_err());
    assert!(client.get(&nobody).await.is_err());
    assert!(client.get("ftp://a.example").await.is_err());
    assert!(client.get(&origin.url("/cut")).await.is_err());
    let mut given_up = Box::pin(client.open(get(&origin.url("/never"))));
    assert!((&mut given_up).now_or_never().is_none());
    tokio::select! {
        _ = &mut given_up => panic!("the gate is shut"),
        _ = origin.until("it has come", |ledger| ledger.targets().contains(&"/never")) => drop(given_up),
    }
    let told: Vec<String> = heard.all().iter().map(|told| told.3.to_string()).collect();
    let failures = |word: &str| -> Vec<&str> {
        told.iter().filter_map(|line| line.strip_prefix(word)?.split(" took=").next()).collect()
    };
    assert_eq!(failures("denied "), ["rule=egress.allow enforced=true", "rule=egress.methods enforced=true"]);
    assert_eq!(failures("opening_failed "), ["stage=tcp kind=connection_refused"]);
    assert_eq!(
        failures("failed "),
        [
            "stage=egress kind=denied request_sent=false",
            "stage=egress kind=denied request_sent=false",
            "stage=tcp kind=connection_refused request_sent=false",
            "stage=egress kind=request_invalid request_sent=false",
            "stage=body kind=incomplete request_sent=true",
        ]
    );
    assert_eq!(told.iter().filter(|line| *line == "cancelled").count(), 1);
    let figures = client.figures();
    let counted: Vec<_> = figures.failures().collect();
    let expected = [
        (Stage::Egress, "denied", 2),
        (Stage::Egress, "request_invalid", 1),
        (Stage::Tcp, "connection_refused", 1),
        (Stage::Body, "incomplete", 1),
    ];
    assert_eq!(counted, expected);
    // Whatever began has ended, once.
    let begun = told.iter().filter(|line| *line == "began").count();
    let ends = |line: &&String| ["failed ", "cancelled", "body_end "].iter().any(|word| line.starts_with(word));
    assert_eq!((begun, told.iter().filter(ends).count()), (6, 6), "{told:?}");
}

/// A request body that is streamed is told piece by piece, and an answer that its caller lets go of as not whole.
#[tokio::test]
async fn bodies_are_told_piece_by_piece() {
    let gate = Gate::shut();
    let waits = gate.clone();
    let origin = Origin::plain(move |_: &_| Answer::events(&waits, 3)).await;
    let client = Client::to(&origin);
    let heard = Heard::of(&client);
    let half = Bytes::from(vec![b'x'; 700_000]);
    let frames = [half.clone(), half.clone(), half].map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
    let body = RequestBody::stream(StreamBody::new(stream::iter(frames)));
    let answer = client.open(request("POST", &origin.url("/"), &[], body)).await.unwrap();
    assert!(heard.has(|signal| *signal == Signal::RequestEnd { bytes: 2_100_000 }));
    let all = heard.all().into_iter();
    let chunks = all.filter_map(|told| if let Signal::RequestChunk { bytes } = told.3 { Some(bytes) } else { None });
    assert_eq!(chunks.sum::<u64>(), 2_100_000);
    gate.open(1);
    let mut body = answer.into_body();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 0\n\n");
    drop(body);
    assert!(heard.has(|signal| *signal == Signal::BodyChunk { bytes: 9 }));
    assert!(heard.has(|signal| *signal == Signal::BodyEnd { bytes: 9, whole: false }));
}

/// The status of a real proxy is told, of the tunnel that it opens and of the one that it refuses.
#[tokio::test]
async fn a_proxys_status_is_told() {
    let Some(squid) = Squid::start(Ways { password: Some(SECRET), ..Ways::default() }).await else { return };
    let authority = Authority::new("Test CA");
    let origin = Origin::tls(authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
    for (login, status) in [(format!("{USER}:{SECRET}"), 200), (format!("{USER}:wrong"), 407)] {
        let proxy = format!("http://{login}@127.0.0.1:{}", squid.port());
        let client = Client::under("[tls]\nroots = \"none\"\nca = [\"ca.pem\"]").file("ca.pem", authority.pem());
        let client = client.to(&origin).variable("HTTPS_PROXY", &proxy).build();
        let heard = Heard::of(&client);
        assert_eq!(client.get(&origin.url("/")).await.is_ok(), status == 200);
        let told = |signal: &Signal| matches!(signal, Signal::Proxy { status: Some(told), .. } if *told == status);
        assert!(heard.has(told), "{status}");
        assert!(!format!("{:?}", heard.all()).contains(SECRET));
    }
}

/// `monitor.signals`: off, errors (the default) or all of them are events of the log, with no secret in them.
#[tokio::test]
async fn the_log_hears_what_the_policy_says() {
    let origin = hello().await;
    for (policy, all, errors) in [
        ("[monitor]\nsignals = \"off\"", false, false),
        ("", false, true),
        ("[monitor]\nsignals = \"all\"", true, true),
    ] {
        let (log, _guard) = Log::listen();
        let client = Client::under(policy).to(&origin).build();
        let answer = client.read(request("POST", &origin.url("/?q=QUERY-MARK"), &[], RequestBody::full("BODY-MARK")));
        answer.await.unwrap();
        assert!(client.get("https://denied.example/?q=QUERY-MARK").await.is_err());
        let text = log.text();
        assert_eq!(text.contains("first_byte status=200"), all, "{policy}: {text}");
        assert_eq!(text.contains("denied rule=egress.allow"), errors, "{policy}: {text}");
        assert!(text.contains(&format!("origin={}", origin.url(""))), "{policy}: {text}");
        for mark in MARKS {
            assert!(!text.contains(mark), "{policy}: `{mark}` shows in {text}");
        }
    }
}

/// A swap changes at once what the log hears, also for what runs.
#[tokio::test]
async fn a_swap_changes_what_the_log_hears() {
    let gate = Gate::shut();
    let waits = gate.clone();
    let origin = Origin::plain(move |_: &_| Answer::ok("hello").after(&waits)).await;
    let (log, _guard) = Log::listen();
    let client = Client::to(&origin);
    let url = origin.url("/");
    let (answer, ()) = tokio::join!(client.get(&url), async {
        origin.requests(1).await;
        client.swap("[monitor]\nsignals = \"all\"").unwrap();
        gate.open(1);
    });
    assert_eq!(answer.unwrap().body, "hello");
    let text = log.text();
    assert!(text.contains("swapped generation=1") && text.contains("body_end bytes=5 whole=true"), "{text}");
    assert!(!text.contains("request_head"), "{text}");
}

/// Spans are stages: each says where, which attempt, how long, and the body how much.
#[tokio::test]
async fn a_span_says_where_and_how_long() {
    let origin = hello().await;
    let (log, _guard) = Log::listen();
    let client = Client::to(&origin);
    client.get(&origin.url("/")).await.unwrap();
    client.get(&origin.url("/")).await.unwrap();
    let text = log.text();
    let place = origin.url("");
    let closes = |stage: &str, more: &str| {
        let begins = format!(" {stage}{{origin={place} attempt=1 ");
        let mut lines = text.lines().filter(|line| line.contains(&begins) && line.contains("close"));
        lines.any(|line| line.contains(more) && line.contains("elapsed="))
    };
    for (stage, more) in [
        ("pool", "reused=false"),
        ("tcp", "reused=false"),
        ("wire", "reused=false"),
        ("wire", "reused=true"),
        ("body", "bytes=5"),
    ] {
        assert!(closes(stage, more), "{stage} {more}: {text}");
    }
}

/// A monitor that panics at every signal changes nothing: answers are answers, the books balance, other monitors hear all.
#[tokio::test]
async fn a_monitor_that_panics_breaks_nothing() {
    let origin = hello().await;
    let (log, _guard) = Log::listen();
    let client = Client::under("[pool]\nlimit = 1").to(&origin).build();
    drop(client.session.clone().monitored(|_: &About<'_>, _: &Signal| panic!("a monitor's own")));
    let heard = Heard::of(&client);
    for _ in 0..3 {
        assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    }
    client.settles(1, 1).await;
    assert_eq!(heard.words(false).len(), 3 + 2 + 3 * 5);
    assert_eq!(log.warnings("a monitor of the session panicked").len(), 1);
    // It may ask for figures: no lock is held while it is told.
    let session = client.session.clone();
    drop(client.session.clone().monitored(move |_: &About<'_>, _: &Signal| drop(session.metrics().to_string())));
    let answer = soon("an answer", client.get(&origin.url("/"))).await;
    assert_eq!(answer.unwrap().body, "hello");
}
