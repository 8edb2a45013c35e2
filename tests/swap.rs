//! Swapping: a new policy under running exchanges.
//!
//! Exchanges end under the policy that they began with, limits hold for both together, and a connection is used again
//! only if the new policy would open it just so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use seaway_session::{Kind, Stage};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::certificates::Authority;
use seaway_tests::client::{Client, get, piece};
use seaway_tests::error::assert_says;
use seaway_tests::origin::Origin;
use seaway_tests::soon;
use tokio::task::JoinSet;

/// Idle connections outlast every wait of a test: where one goes, a swap closed it.
const KEPT: &str = "pool.keepalive = \"10m\"\n";

fn limit(limit: usize) -> String {
    format!("{KEPT}pool.limit = {limit}\n")
}

/// W1: three hundred swaps of limits, TLS and DNS under load: no exchange fails, and no more is open than any of the
/// limits allow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_fail_nothing() {
    let authority = Authority::new("swaps");
    let origin = Origin::tls(authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
    let policies = [
        "tls = { roots = \"none\", ca = [\"ca.pem\"] }\npool.limit = 20",
        "tls = { roots = \"none\", ca = [\"ca.pem\"] }\npool.limit = 8\ndns.ttl = \"off\"",
        "tls = { roots = \"none\", ca = [\"ca.pem\"], max = \"1.2\" }\npool.limit = 12",
        "tls = { roots = \"none\", ca = [\"ca.pem\"] }\npool = { limit = 20, limit_per_host = 5 }\ntcp.nodelay = false",
    ];
    let client = Client::under(policies[0]).to(&origin).file("ca.pem", authority.pem()).build();
    let (client, done, served) = (Arc::new(client), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..30 {
        let (client, done, served, url) =
            (Arc::clone(&client), Arc::clone(&done), Arc::clone(&served), origin.url("/"));
        callers.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(client.post(&url, "body").await.unwrap().body, "hello");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for turn in 0..300 {
        client.swap(policies[turn % policies.len()]).unwrap();
        // As many exchanges as there are callers, at least, are under each policy.
        let reached = served.load(Ordering::Relaxed) + 10;
        soon("exchanges under the policy", async {
            while served.load(Ordering::Relaxed) < reached {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    done.store(true, Ordering::Relaxed);
    callers.join_all().await;
    let ledger = origin.ledger();
    assert!(ledger.kernel_peak <= 20, "{} open at once", ledger.kernel_peak);
    assert_eq!(client.figures().swapped, 300);
}

/// W2: a policy that cannot be used changes nothing.
#[tokio::test]
async fn a_policy_that_cannot_be_used_leaves_the_old_one() {
    let origin = Origin::plain(|_: &_| Answer::ok("hello")).await;
    let client = Client::under(&limit(7)).to(&origin).build();
    client.get(&origin.url("/")).await.unwrap();
    for (policy, says) in [
        ("[pool\n", "seaway.toml:1"),
        ("[tls]\nca = [\"missing.pem\"]", "missing.pem"),
        ("[egress]\nprivate = [\"10.0.0.0/99\"]", "`10.0.0.0/99` is not an address range"),
        ("[pool]\nlimmit = 3", "nearest: `pool.limit`"),
    ] {
        let error = client.swap(policy).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!((client.session.policy().pool.limit, client.figures().swapped), (7, 0));
    client.get(&origin.url("/")).await.unwrap();
    assert_eq!(origin.ledger().accepted, 1);
}

/// W3: a lower limit closes what is idle now and what is in use as it ends; nothing in flight is hurt.
#[tokio::test]
async fn a_lowered_limit_is_reached_without_hurting_what_is_in_flight() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::plain(move |request: &seaway_tests::request::Request| match request.target.as_str() {
        "/held" => Answer::ok("held").after(&held),
        _ => Answer::ok("hello"),
    })
    .await;
    let client = Client::under(&limit(30)).to(&origin).build();
    let (held, quick) = (origin.url("/held"), origin.url("/"));
    let held = join_all((0..20).map(|_| client.get(&held)));
    let middle = async {
        origin.requests(20).await;
        assert!(join_all((0..10).map(|_| client.get(&quick))).await.into_iter().all(|reply| reply.is_ok()));
        client.settles(30, 10).await;
        client.swap(&limit(5)).unwrap();
        client.settles(20, 0).await;
        gate.open(20);
    };
    let (replies, ()) = tokio::join!(held, middle);
    assert!(replies.into_iter().all(|reply| reply.unwrap().body == "held"));
    client.settles(5, 5).await;
    assert!(join_all((0..40).map(|_| client.get(&quick))).await.into_iter().all(|reply| reply.is_ok()));
    client.settles(5, 5).await;
}

/// W4: a host that is denied while its answer streams is denied to the next; the stream ends as it began.
#[tokio::test]
async fn a_stream_ends_under_the_policy_that_it_began_with() {
    let gate = Gate::shut();
    let waits = gate.clone();
    let origin = Origin::plain(move |_: &_| {
        Answer::head_of_chunks(&[]).write("5\r\nfirst\r\n").wait(&waits).write("6\r\nsecond\r\n0\r\n\r\n")
    })
    .await;
    let client = Client::under("").to(&origin).build();
    let (_, mut body) = client.open(get(&origin.url("/"))).await.unwrap().into_parts();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "first");
    client.swap("[egress]\nmethods = [\"POST\"]").unwrap();
    let denied = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&denied, Stage::Egress, Kind::Denied, &["no rule allows the method GET"]);
    gate.open(1);
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "second");
    assert!(piece(&mut body).await.is_none());
    client.settles(1, 1).await;
}

/// Idle connections stay under a policy that says the same of them, and close at once under one that does not.
#[tokio::test]
async fn idle_connections_stay_if_their_route_is_unchanged() {
    let authority = Authority::new("swaps");
    let origin = Origin::tls(authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
    let policy = format!("{KEPT}tls = {{ roots = \"none\", ca = [\"ca.pem\"] }}\n");
    let client = Client::under(&policy).to(&origin).file("ca.pem", authority.pem()).build();
    let url = origin.url("/");
    client.get(&url).await.unwrap();
    client.swap(&format!("{policy}total = \"30s\"\npool.limit = 9")).unwrap();
    client.get(&url).await.unwrap();
    assert_eq!(origin.ledger().accepted, 1);
    client.swap(&format!("{policy}tcp.nodelay = false")).unwrap();
    client.settles(0, 0).await;
    client.get(&url).await.unwrap();
    assert_eq!(origin.ledger().accepted, 2);
}

/// R1, section 4: what egress no longer allows is not reached over a connection that was opened when it did.
#[tokio::test]
async fn a_connection_is_not_reused_for_a_host_that_is_no_longer_allowed() {
    let origin = Origin::plain(|_: &_| Answer::ok("hello")).await;
    let url = origin.url("/");
    let client = Client::under(&format!("{KEPT}[egress]\nallow = [\"{}\"]", origin.url(""))).build();
    client.get(&url).await.unwrap();
    client.settles(1, 1).await;
    client.swap(&format!("{KEPT}[egress]\nallow = [\"https://elsewhere.example\"]")).unwrap();
    client.settles(0, 0).await;
    assert_eq!(client.get(&url).await.unwrap_err().stage(), Stage::Egress);
}

/// Waiters are served by a raised limit at once.
#[tokio::test]
async fn a_raised_limit_serves_who_waits() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::plain(move |_: &_| Answer::ok("hello").after(&held)).await;
    let client = Client::under(&limit(1)).to(&origin).build();
    let url = origin.url("/");
    let middle = async {
        origin.requests(1).await;
        assert_eq!(client.figures().waiting, 9);
        client.swap(&limit(10)).unwrap();
        origin.requests(10).await;
        gate.open(10);
    };
    let (replies, ()) = tokio::join!(join_all((0..10).map(|_| client.get(&url))), middle);
    assert!(replies.into_iter().all(|reply| reply.is_ok()));
    assert_eq!(origin.ledger().peak, 10);
}

/// R1, section 4: the address behind an allowed name is judged again, though the route is what it was.
#[tokio::test]
async fn a_connection_to_an_address_that_is_no_longer_allowed_is_not_reused() {
    let origin = Origin::plain(|_: &_| Answer::ok("hello")).await;
    let url = origin.at("a.localhost", "/");
    let policy = |private: &str| {
        format!(
            "{KEPT}[dns]\nhosts = {{ \"a.localhost\" = [\"127.0.0.1\"] }}\n\
             [egress]\nallow = [\"http://*.localhost:{}\"]\nprivate = [{private}]",
            origin.port()
        )
    };
    let client = Client::under(&policy("\"127.0.0.0/8\"")).build();
    assert_eq!(client.get(&url).await.unwrap().body, "hello");
    client.settles(1, 1).await;
    client.swap(&policy("\"10.0.0.0/8\"")).unwrap();
    client.settles(0, 0).await;
    let refused = client.get(&url).await.unwrap_err();
    assert!(matches!(refused.kind(), Kind::AddressDenied(_)), "{refused}");
    assert_eq!(origin.ledger().accepted, 1);
}

/// A connection that was being opened when its policy went, for somebody who has left, is not kept.
#[tokio::test]
async fn a_connection_that_was_being_opened_under_the_old_policy_is_not_kept() {
    let authority = Authority::new("swaps");
    let gate = Gate::shut();
    let origin = Origin::tls_after(&gate, authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
    let policy = format!("{KEPT}tls = {{ roots = \"none\", ca = [\"ca.pem\"] }}\n");
    let client = Client::under(&policy).to(&origin).file("ca.pem", authority.pem()).build();
    let url = origin.url("/");
    tokio::select! {
        _ = client.get(&url) => panic!("the handshake waits at the gate"),
        _ = origin.until("a connection", |ledger| ledger.accepted == 1) => {}
    }
    client.swap(&format!("{policy}tcp.nodelay = false")).unwrap();
    gate.open(1);
    client.settles(0, 0).await;
}

/// W2: a file that has gone is missed, though the policy that names it is the same.
#[tokio::test]
async fn a_file_that_has_gone_is_missed_by_the_same_policy() {
    let authority = Authority::new("swaps");
    let policy = "tls = { roots = \"none\", ca = [\"ca.pem\"] }\n";
    let client = Client::under(policy).file("ca.pem", authority.pem()).build();
    client.swap(policy).unwrap();
    std::fs::remove_file(client.folder().path().join("ca.pem")).unwrap();
    let error = client.swap(policy).unwrap_err().to_string();
    assert!(error.contains("ca.pem"), "{error}");
}
