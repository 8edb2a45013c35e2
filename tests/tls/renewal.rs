//! What changes while a session runs: files on disk, and sessions that are resumed.

use std::path::Path;

use futures::future::join_all;
use seaway_session::Kind;
use seaway_tests::answer::Answer;
use seaway_tests::certificates::{Authority, Leaf};
use seaway_tests::client::Client;
use seaway_tests::log::Log;
use seaway_tests::nginx::Nginx;
use seaway_tests::origin::Origin;
use seaway_tests::{PATIENCE, eventually};
use tokio::time::Instant;

use super::believing;

/// Lays a certificate and its key into a folder of their own, and points the link `current` at it, as Kubernetes does.
fn mount(folder: &Path, name: &str, leaf: &Leaf) {
    let inner = folder.join(name);
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("client.pem"), leaf.pem()).unwrap();
    std::fs::write(inner.join("client.key"), leaf.key_pem()).unwrap();
    let next = folder.join("next");
    std::os::unix::fs::symlink(&inner, &next).unwrap();
    std::fs::rename(next, folder.join("current")).unwrap();
}

/// Requests, eight at a time, until `fact` holds; none of them may fail.
async fn load(client: &Client, url: &str, mut fact: impl FnMut() -> bool) {
    let start = Instant::now();
    while !fact() {
        for reply in join_all((0..8).map(|_| client.post(url, "BODY-MARK"))).await {
            assert_eq!(reply.unwrap().body, "hello");
        }
        assert!(start.elapsed() < PATIENCE, "never came to hold");
    }
}

/// Waits until every connection is idle, those too that were opened for a request which another one served.
async fn rests(client: &Client) {
    eventually("all connections are idle", || client.figures().open == client.figures().idle).await;
}

/// S2: a client certificate is rotated under load. No request fails, new handshakes show the new one and resume nothing,
/// and connections of the old one are closed.
#[tokio::test]
async fn a_rotated_client_certificate_is_used_without_a_failure() {
    let (authority, clients) = (Authority::new("Test CA"), Authority::new("Client CA"));
    let (first, second) = (clients.client("first"), clients.client("second"));
    let origin = Origin::tls(authority.leaf(&["localhost"]).server_asking(&clients), |_: &_| Answer::ok("hello")).await;
    let folder = seaway_tests::folder::Folder::new();
    mount(folder.path(), "one", &first);
    let current = folder.path().join("current");
    let both = format!(
        "client_cert = \"{0}/client.pem\"\nclient_key = \"{0}/client.key\"\n[pool]\nkeepalive = \"60s\"",
        current.display()
    );
    let client = believing(&authority, &both).to(&origin).build();
    let url = origin.url("/");
    load(&client, &url, || origin.ledger().requests.len() > 100).await;
    rests(&client).await;
    let before = origin.ledger().handshakes.len();
    assert!(origin.ledger().clients.iter().all(|client| client.as_deref() == Some(first.der())));
    mount(folder.path(), "two", &second);
    load(&client, &url, || origin.ledger().handshakes.len() > before).await;
    rests(&client).await;
    let ledger = origin.until("the old connections are closed", |ledger| ledger.ends.len() == before).await;
    let (old, new) = ledger.clients.split_at(before);
    assert!(old.iter().all(|client| client.as_deref() == Some(first.der())));
    assert!(!new.is_empty() && new.iter().all(|client| client.as_deref() == Some(second.der())), "{} new", new.len());
    assert!(!ledger.resumed[before], "the first handshake under the new certificate resumed an old session");
}

/// S2: files that cannot be used change nothing and are one warning; once they can, they are in force.
#[tokio::test]
async fn a_half_written_rotation_keeps_what_was_read_before() {
    let (log, _guard) = Log::listen();
    let (authority, clients) = (Authority::new("Test CA"), Authority::new("Client CA"));
    let (first, second) = (clients.client("first"), clients.client("second"));
    let origin = Origin::tls(authority.leaf(&["localhost"]).server_asking(&clients), |_: &_| Answer::ok("hello")).await;
    let both = "client_cert = \"client.pem\"\nclient_key = \"client.key\"\n[pool]\nforce_close = true";
    let client = believing(&authority, both).file("client.pem", first.pem()).file("client.key", first.key_pem());
    let client = client.to(&origin).build();
    let url = origin.url("/");
    let warned = || log.warnings("a file of [tls] has changed and cannot be used").len();
    // The new certificate is there, its key is not.
    client.folder().write("client.pem", second.pem());
    load(&client, &url, || warned() == 1).await;
    let seen = origin.ledger().accepted;
    load(&client, &url, || origin.ledger().accepted > seen + 50).await;
    assert_eq!(warned(), 1, "{}", log.text());
    assert!(origin.ledger().clients.iter().all(|client| client.as_deref() == Some(first.der())));
    client.folder().write("client.key", second.key_pem());
    load(&client, &url, || origin.ledger().clients.last().unwrap().as_deref() == Some(second.der())).await;
    assert!(!log.text().contains("PRIVATE KEY") && warned() == 1, "{}", log.text());
}

/// S2: an authority that is added to a file of `tls.ca` is believed, and one that is taken out is not any more.
#[tokio::test]
async fn a_changed_file_of_roots_is_in_force() {
    let (old, new) = (Authority::new("Old CA"), Authority::new("New CA"));
    let serve = async |authority: &Authority| {
        Origin::tls(authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await
    };
    let (before, after) = (serve(&old).await, serve(&new).await);
    let client = believing(&old, "").to(&before).to(&after).build();
    assert_eq!(client.get(&before.url("/")).await.unwrap().body, "hello");
    assert_eq!(client.get(&after.url("/")).await.unwrap_err().kind(), Kind::Certificate);
    client.folder().write("ca.pem", new.pem());
    let start = Instant::now();
    while client.get(&after.url("/")).await.is_err() {
        assert!(start.elapsed() < PATIENCE, "the new file was not read");
    }
    // Also over what was a good connection a moment ago.
    assert_eq!(client.get(&before.url("/")).await.unwrap_err().kind(), Kind::Certificate);
    before.until("its connection is closed", |ledger| ledger.open == 0).await;
}

/// S6: of 100 reconnections at least 95 resume, in either version, with our origin and with nginx.
#[tokio::test]
async fn reconnections_resume() {
    let authority = Authority::new("Test CA");
    let leaf = authority.leaf(&["localhost"]);
    let closing = "[pool]\nforce_close = true";
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let origin = Origin::tls(leaf.server_speaking(version), |_: &_| Answer::ok("hello")).await;
        let client = believing(&authority, closing).to(&origin).build();
        for _ in 0..100 {
            client.get(&origin.url("/")).await.unwrap();
        }
        let resumed = origin.ledger().resumed;
        let count = resumed.iter().filter(|resumed| **resumed).count();
        assert!(resumed.len() == 100 && count >= 95, "{version:?}: {count} of {}", resumed.len());
        // Another session of the same policy has nothing to resume.
        let stranger = believing(&authority, closing).to(&origin).build();
        stranger.get(&origin.url("/")).await.unwrap();
        assert_eq!(origin.ledger().resumed.last(), Some(&false));
    }
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let server = format!(
            "listen 127.0.0.1:$PORT ssl; ssl_certificate $DIR/leaf.pem; ssl_certificate_key $DIR/leaf.key;
             ssl_protocols {protocol}; location / {{ return 200 $ssl_session_reused; }}"
        );
        let files = [("leaf.pem", leaf.pem()), ("leaf.key", &leaf.key_pem())];
        let Some(nginx) = Nginx::start(&server, &files).await else { return };
        let url = format!("https://localhost:{}/", nginx.port());
        let client = believing(&authority, closing).destination(&url).build();
        let mut resumed = 0;
        for _ in 0..100 {
            resumed += usize::from(client.get(&url).await.unwrap().body == "r");
        }
        assert!(resumed >= 95, "nginx, {protocol}: {resumed} of 100");
    }
}
