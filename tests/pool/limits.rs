//! Bounds on waiting and on a connection's life, and what is said when one of them is met.

use std::process::{Command, Stdio};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt as _, poll};
use seaway_session::{Kind, Stage};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::certificates::Authority;
use seaway_tests::client::{Client, address, get, piece};
use seaway_tests::error::assert_says;
use seaway_tests::log::Log;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;
use seaway_tests::soon;
use tokio::time::Instant;

use super::{gated, hello, limit};

/// P11: who waits for room longer than `pool.timeout` is told which limit is full, and leaves the queue.
#[tokio::test]
async fn a_wait_for_room_ends_at_pool_timeout() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let policy = format!("{}limit_per_host = 2\ntimeout = \"100ms\"", limit(3));
    let client = Client::under(&policy).to_hosts(&origin, 3).build();
    let urls: Vec<String> = [1, 1, 2].map(|host| origin.at(&address(host), "/")).to_vec();
    let busy = join_all(urls.iter().map(|url| client.get(url)));
    let late = async {
        origin.requests(3).await;
        let start = Instant::now();
        let (host, total) = (origin.at(&address(1), "/"), origin.at(&address(3), "/"));
        let waiting: Vec<_> = (0..20).map(|index| client.get(if index % 2 == 0 { &host } else { &total })).collect();
        for (index, result) in join_all(waiting).await.into_iter().enumerate() {
            let error = result.unwrap_err();
            let place = format!("`pool.limit_per_host` of 2 is full: 2 open to 127.0.0.1:{}", origin.port());
            let what =
                if index % 2 == 0 { place.as_str() } else { "`pool.limit` of 3 is full: 3 open, 0 of them idle" };
            let words = ["`pool.timeout` of 100ms passed", what, "hint: raise the limit that is full"];
            assert_says(&error, Stage::Pool, Kind::ConnectionLimit, &words);
            assert!(!error.request_sent());
        }
        assert!(start.elapsed() >= Duration::from_millis(100) && start.elapsed() < Duration::from_secs(5));
        assert_eq!(client.figures().waiting, 0);
        gate.open(10);
    };
    let (busy, ()) = tokio::join!(busy, late);
    assert!(busy.into_iter().all(|reply| reply.is_ok()));
    assert_eq!(client.get(&urls[0]).await.unwrap().body, "hello");
    assert_eq!(origin.ledger().requests.len(), 4);
}

/// P11: opening a connection is no wait for room, however long it takes.
#[tokio::test]
async fn opening_a_connection_is_not_bounded_by_pool_timeout() {
    let (authority, gate) = (Authority::new("CA"), Gate::shut());
    let origin = Origin::tls_after(&gate, authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
    // With HTTP/2 offered the others would wait to hear what the connection turns out to be.
    let tls = "[tls]\nroots = \"none\"\nca = [\"ca.pem\"]\nalpn = [\"http/1.1\"]";
    let policy = format!("[pool]\nlimit = 1\ntimeout = \"50ms\"\n{tls}");
    let client = Client::under(&policy).file("ca.pem", authority.pem()).to(&origin).build();
    let url = origin.url("/");
    let mut opening = Box::pin(client.get(&url));
    assert!(poll!(&mut opening).is_pending());
    // Four times the deadline passes, by the clock of requests that it does end.
    for _ in 0..4 {
        let both = async { tokio::join!(client.get(&url), async { poll!(&mut opening).is_pending() }) };
        let (late, pending) = both.await;
        assert_eq!(late.unwrap_err().kind(), Kind::ConnectionLimit);
        assert!(pending);
    }
    gate.open(1);
    assert_eq!(soon("the first", opening).await.unwrap().body, "hello");
    assert_eq!(origin.ledger().accepted, 1);
}

/// T11: ten thousand requests wait under three deadlines each, and cost no more apiece than a thousand.
#[tokio::test]
async fn many_deadlines_cost_what_each_of_them_costs() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let policy = format!("total = \"60s\"\nconnect = \"50s\"\n{}timeout = \"40s\"", limit(1));
    let client = Client::under(&policy).to(&origin).build();
    let url = origin.url("/");
    let run = |count: u32| {
        let start = Instant::now();
        let mut waiting = Vec::new();
        for _ in 0..count {
            let mut request = Box::pin(client.get(&url));
            assert!((&mut request).now_or_never().is_none());
            waiting.push(request);
        }
        assert_eq!(client.figures().waiting, usize::try_from(count).unwrap());
        drop(waiting);
        assert_eq!(client.figures().waiting, 0);
        start.elapsed() / count
    };
    // The best of three: a machine that does something else meanwhile proves nothing.
    let [few, many] = [1_000, 10_000].map(|count| (0..3).map(|_| run(count)).min().unwrap());
    // Were it linear, it would be ten times as much.
    assert!(many < few * 5, "{few:?} and {many:?} each");
}

/// `pool.wait_warn`: one request speaks for all that wait, and names the limit with its numbers.
#[tokio::test]
async fn a_long_wait_is_one_warning_that_names_the_full_limit() {
    let (log, _guard) = Log::listen();
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let url = origin.url("/");
    let run = async |policy: &str| {
        let client = Client::under(&format!("[pool]\nlimit = 1\ntimeout = \"300ms\"\n{policy}")).to(&origin).build();
        let before = origin.ledger().requests.len();
        let first = client.get(&url);
        let others = async {
            origin.requests(before + 1).await;
            for late in join_all((0..5).map(|_| client.get(&url))).await {
                assert_eq!(late.unwrap_err().kind(), Kind::ConnectionLimit);
            }
            gate.open(1);
        };
        tokio::join!(first, others).0.unwrap();
        log.warnings("a request waits for a connection")
    };
    assert_eq!(run("").await.len(), 0, "a second had not passed");
    assert_eq!(run("wait_warn = \"off\"").await.len(), 0);
    let warnings = run("wait_warn = \"200ms\"").await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let words = ["`pool.limit` of 1 is full: 1 open, 0 of them idle, 5 waiting", &origin.url(""), "waited="];
    assert!(words.iter().all(|word| warnings[0].contains(word)), "{warnings:?}");
}

/// P14: what runs on a connection is not cut when its life ends, and nothing more is sent on it.
#[tokio::test]
async fn a_connection_is_not_used_beyond_its_lifetime() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |request: &Request| match request.target.as_str() {
        "/stream" => Answer::events(&script, 2),
        _ => Answer::ok("hello"),
    });
    let origin = origin.await;
    let client = Client::under("[pool]\nmax_lifetime = \"1s\"\nkeepalive = \"60s\"").to(&origin).build();
    let start = Instant::now();
    client.get(&origin.url("/")).await.unwrap();
    let mut stream = client.open(get(&origin.url("/stream"))).await.unwrap().into_body();
    gate.open(1);
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: 0\n\n");
    // Its time passes on the clock of connections that are closed for it while they are idle.
    while start.elapsed() < Duration::from_millis(1500) {
        client.get(&origin.url("/")).await.unwrap();
        client.settles(1, 0).await;
    }
    gate.open(1);
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: 1\n\n");
    assert!(piece(&mut stream).await.is_none());
    client.settles(0, 0).await;
    client.get(&origin.url("/")).await.unwrap();
    let ledger = origin.ledger();
    assert_eq!(ledger.uses()[0], 2, "the first carried the stream, and nothing after it");
    assert!(ledger.uses()[1..].iter().all(|uses| *uses == 1) && ledger.accepted >= 3, "{:?}", ledger.uses());
}

/// `pool.max_requests`: so many exchanges, then another connection; a waiter is not handed one that is used up.
#[tokio::test]
async fn a_connection_carries_so_many_exchanges() {
    let origin = hello().await;
    let client = Client::under(&format!("{}max_requests = 3", limit(1))).to(&origin).build();
    let url = origin.url("/");
    for _ in 0..4 {
        assert_eq!(client.get(&url).await.unwrap().body, "hello");
    }
    assert!(join_all((0..5).map(|_| client.get(&url))).await.into_iter().all(|reply| reply.is_ok()));
    assert_eq!(origin.ledger().uses(), [3, 3, 3]);
    client.settles(0, 0).await;
}

/// Where the child of [`few_descriptors_clamp_the_limit`] finds its origin.
const ORIGIN: &str = "SEAWAY_TESTS_FEW_DESCRIPTORS";

/// L3: under `ulimit -n 256` a limit of 1000 means 128, which is said once, and no socket lacks a descriptor.
///
/// The test runs itself once more in a process with few descriptors; the origin stays outside of it.
#[tokio::test]
async fn few_descriptors_clamp_the_limit() {
    if let Some(url) = std::env::var_os(ORIGIN) {
        return with_few_descriptors(url.to_str().unwrap()).await;
    }
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new("sh");
    child.args(["-c", "ulimit -n 256 && exec \"$@\"", "sh"]).arg(program);
    child.args(["--exact", "pool::limits::few_descriptors_clamp_the_limit", "--nocapture"]);
    child.env(ORIGIN, origin.url("/")).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || child.output().unwrap());
    let middle = async {
        origin.requests(128).await;
        gate.open(400);
    };
    let (output, ()) = tokio::join!(output, middle);
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let ledger = origin.ledger();
    assert_eq!((ledger.requests.len(), ledger.peak, ledger.kernel_peak), (400, 128, 128));
}

async fn with_few_descriptors(url: &str) {
    let (log, _guard) = Log::listen();
    let client = Client::under(&limit(1000)).destination(url).build();
    let warnings = log.warnings("`pool.limit` of 1000 is clamped to 128");
    assert_eq!(warnings.len(), 1, "{}", log.text());
    assert!(warnings[0].contains("`pool.descriptors` allows 50% of the 256 files"), "{warnings:?}");
    for reply in join_all((0..400).map(|_| client.get(url))).await {
        assert_eq!(reply.unwrap().body, "hello");
    }
    assert_eq!((client.figures().opened, client.figures().open), (128, 128));
}
