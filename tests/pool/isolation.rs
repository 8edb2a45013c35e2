//! `pool.isolation`: who may share a connection, and what TLS has learnt.

use seaway_session::{Call, Domain};
use seaway_tests::answer::Answer;
use seaway_tests::certificates::Authority;
use seaway_tests::client::{Builder, Client, collect, get};
use seaway_tests::origin::Origin;

/// A client under this isolation that believes one authority.
fn isolating(isolation: &str, authority: &Authority, more: &str) -> Builder {
    let tls = "[tls]\nroots = \"none\"\nca = [\"ca.pem\"]";
    let policy = format!("[pool]\nisolation = \"{isolation}\"\n{more}\n{tls}");
    Client::under(&policy).file("ca.pem", authority.pem())
}

/// One request of a caller in this domain, read to its end.
async fn ask(client: &Client, url: &str, domain: Domain) {
    let call = Call { domain, ..Call::default() };
    let answer = client.call(get(url), call).await.unwrap();
    collect(answer.into_body()).await.unwrap();
}

/// P12, X15: guests in turn, to one origin: as many connections as isolation says, each used by who may.
#[tokio::test]
async fn a_connection_is_shared_within_its_domain_only() {
    let (one, two) = (Domain::unique(), Domain::unique());
    let turns = [one, two, one, two, Domain::default()];
    let authority = Authority::new("Test CA");
    for (isolation, uses) in [("shared", vec![5]), ("guest", vec![2, 2, 1]), ("call", vec![1; 5])] {
        let origin = Origin::tls(authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
        let client = isolating(isolation, &authority, "").to(&origin).build();
        for domain in turns {
            ask(&client, &origin.url("/"), domain).await;
        }
        assert_eq!(origin.ledger().uses(), uses, "{isolation}");
        // What nobody else may have is not kept.
        let kept = if isolation == "call" { 0 } else { uses.len() };
        client.settles(kept, kept).await;
    }
}

/// P12: a connection that was opened for all does not become a guest's own by a swap, nor the other way round.
#[tokio::test]
async fn a_swap_of_the_isolation_shares_nothing_across() {
    let origin = Origin::plain(|_: &_| Answer::ok("hello")).await;
    let guest = Domain::unique();
    let client = Client::under("pool.isolation = \"shared\"").to(&origin).build();
    ask(&client, &origin.url("/"), guest).await;
    for (number, isolation) in ["guest", "shared", "guest"].into_iter().enumerate() {
        client.swap(&format!("pool.isolation = \"{isolation}\"")).unwrap();
        client.settles(0, 0).await;
        ask(&client, &origin.url("/"), guest).await;
        assert_eq!(origin.ledger().accepted, number + 2);
    }
}

/// S6: of 100 reconnections of one guest at least 95 resume; the first of each other guest never does, and under `call`
/// none.
#[tokio::test]
async fn a_tls_session_is_resumed_within_its_domain_only() {
    let authority = Authority::new("Test CA");
    let leaf = authority.leaf(&["localhost"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let origin = Origin::tls(leaf.server_speaking(version), |_: &_| Answer::ok("hello")).await;
        let client = isolating("guest", &authority, "force_close = true").to(&origin).build();
        let guest = Domain::unique();
        for _ in 0..100 {
            ask(&client, &origin.url("/"), guest).await;
        }
        let resumed = origin.ledger().resumed.iter().filter(|resumed| **resumed).count();
        assert!(resumed >= 95, "{version:?}: {resumed} of 100");
        for _ in 0..20 {
            ask(&client, &origin.url("/"), Domain::unique()).await;
        }
        assert_eq!(origin.ledger().resumed[100..], [false; 20], "{version:?}");
        let client = isolating("call", &authority, "").to(&origin).build();
        for _ in 0..10 {
            ask(&client, &origin.url("/"), guest).await;
        }
        assert_eq!(origin.ledger().resumed[120..], [false; 10], "{version:?}");
    }
}
