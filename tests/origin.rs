//! `[origin."..."]`: what differs for one origin, from the first byte of TLS to the deadline.

use futures::future::join_all;
use seaway_session::{Kind, Stage};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::certificates::Authority;
use seaway_tests::client::Client;
use seaway_tests::error::assert_says;
use seaway_tests::origin::Origin;
use seaway_tests::soon;

async fn hello() -> Origin {
    Origin::plain(|_: &_| Answer::ok("hello")).await
}

/// Its own roots: one origin is believed through them, and another is not.
#[tokio::test]
async fn an_origin_has_its_own_roots() {
    let authority = Authority::new("corp");
    let server = || authority.leaf(&["localhost"]).server();
    let (corp, other) = (
        Origin::tls(server(), |_: &_| Answer::ok("hello")).await,
        Origin::tls(server(), |_: &_| Answer::ok("hello")).await,
    );
    let client =
        Client::under(&format!("[origin.\"{}\"]\ntls = {{ roots = \"none\", ca = [\"ca.pem\"] }}", corp.url("")));
    let client = client.to(&corp).to(&other).file("ca.pem", authority.pem()).build();
    assert_eq!(client.get(&corp.url("/")).await.unwrap().body, "hello");
    let refused = client.get(&other.url("/")).await.unwrap_err();
    assert_eq!((refused.stage(), refused.kind()), (Stage::Tls, Kind::Certificate));
    // Its file changes, and only its connections go.
    client.folder().write("ca.pem", Authority::new("another").pem());
    let url = corp.url("/");
    let refused = soon("the new roots", async {
        loop {
            if let Err(error) = client.get(&url).await {
                return error;
            }
        }
    });
    assert_eq!(refused.await.kind(), Kind::Certificate);
}

/// The same for an origin that a swap has added: it hears of a change by itself, whatever else reads the same file.
#[tokio::test]
async fn an_origin_that_a_swap_added_reads_its_files_again() {
    let authority = Authority::new("corp");
    let corp = Origin::tls(authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
    let policy = "pool.keepalive = \"10m\"\ntls = { roots = \"none\", ca = [\"ca.pem\"] }\n";
    let client = Client::under(policy).to(&corp).file("ca.pem", authority.pem()).build();
    let url = corp.url("/");
    client.get(&url).await.unwrap();
    client.swap(&format!("{policy}[origin.\"{}\"]\ntotal = \"20s\"", corp.url(""))).unwrap();
    client.get(&url).await.unwrap();
    client.folder().write("ca.pem", Authority::new("another").pem());
    let refused = soon("the new roots", async {
        loop {
            if let Err(error) = client.get(&url).await {
                return error;
            }
        }
    });
    assert_eq!(refused.await.kind(), Kind::Certificate);
}

/// Its own deadline, named in the error, and its own bound on connections.
#[tokio::test]
async fn an_origin_has_its_own_deadline_and_limit() {
    let gate = Gate::shut();
    let waits = gate.clone();
    let (slow, free) = (Origin::plain(move |_: &_| Answer::ok("hello").after(&waits)).await, hello().await);
    let policy = format!("total = \"60s\"\n[origin.\"{}\"]\ntotal = \"300ms\"\npool.limit_per_host = 2", slow.url(""));
    let client = Client::under(&policy).to(&slow).to(&free).build();
    let url = slow.url("/");
    let errors = join_all((0..6).map(|_| client.get(&url))).await;
    for error in errors {
        let error = error.unwrap_err();
        assert_says(&error, error.stage(), Kind::TotalTimeout, &["`total` of 300ms passed"]);
    }
    assert_eq!(slow.ledger().peak, 2);
    let url = free.url("/");
    assert!(join_all((0..6).map(|_| client.get(&url))).await.into_iter().all(|reply| reply.is_ok()));
}

/// Its own way: a proxy for all others is not its own.
#[tokio::test]
async fn an_origin_has_its_own_way() {
    let (near, far) = (hello().await, hello().await);
    let policy = format!(
        "[proxy]\nmode = \"explicit\"\nhttp = \"http://127.0.0.1:1\"\n[origin.\"{}\"]\nproxy.mode = \"off\"",
        near.url("")
    );
    let client = Client::under(&policy).to(&near).to(&far).build();
    assert_eq!(client.get(&near.url("/")).await.unwrap().body, "hello");
    let error = client.get(&far.url("/")).await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    assert_eq!(far.ledger().accepted, 0);
}

/// R6: a host that the operator wrote so may be private where a rule allows it, and is not thereby allowed.
#[tokio::test]
async fn an_origin_that_is_written_may_be_private_and_is_not_thereby_allowed() {
    let origin = hello().await;
    let url = origin.at("localhost", "/");
    let egress = "[egress]\nallow = [\"*.localhost\", \"127.0.0.0/8\"]\n";
    let written = format!("{egress}[origin.\"{}\"]\ntotal = \"9s\"", origin.at("a.localhost", ""));
    let hosts = "[dns]\nhosts = { \"a.localhost\" = [\"127.0.0.1\"] }\n";
    let named = origin.at("a.localhost", "/");
    let refused = Client::under(&format!("{hosts}{egress}")).build().get(&named).await.unwrap_err();
    assert!(matches!(refused.kind(), Kind::AddressDenied(_)), "{refused}");
    let client = Client::under(&format!("{hosts}{written}")).build();
    assert_eq!(client.get(&named).await.unwrap().body, "hello");
    assert_eq!(client.get(&url).await.unwrap_err().kind(), Kind::Denied);
}
