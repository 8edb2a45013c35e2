//! `tls`: whom we believe, who we are, and what a handshake says that fails.

mod choices;
mod renewal;

use std::time::Duration;

use seaway_session::{Error, Kind, Stage};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::certificates::{Authority, Leaf};
use seaway_tests::client::{Builder, Client};
use seaway_tests::error::assert_says;
use seaway_tests::nginx::Nginx;
use seaway_tests::origin::Origin;
use tokio::time::Instant;

const TRUST: &str = "[tls]\nroots = \"none\"\nca = [\"ca.pem\"]\n";

/// A client that believes one authority.
fn believing(authority: &Authority, more: &str) -> Builder {
    Client::under(&format!("{TRUST}{more}")).file("ca.pem", authority.pem())
}

async fn serving(leaf: &Leaf) -> Origin {
    Origin::tls(leaf.server(), |_: &_| Answer::ok("hello")).await
}

/// A good certificate, by name, by wildcard and by address; the name is asked for, an address is not.
#[tokio::test]
async fn a_good_certificate_is_believed() {
    let authority = Authority::new("Test CA");
    for (names, host, asked) in [
        (&["localhost"][..], "localhost", Some("localhost".to_owned())),
        (&["127.0.0.1"][..], "127.0.0.1", None),
        (&["other.example", "localhost"][..], "localhost", Some("localhost".to_owned())),
    ] {
        let origin = serving(&authority.leaf(names)).await;
        let client = believing(&authority, "").to(&origin).build();
        assert_eq!(client.get(&origin.at(host, "/")).await.unwrap().body, "hello");
        assert_eq!(origin.ledger().handshakes, [asked]);
    }
}

/// S4: the wildcard, and `tls.server_name`, which is both asked for and checked.
#[tokio::test]
async fn server_name_takes_the_place_of_the_hosts() {
    let authority = Authority::new("Test CA");
    let origin = serving(&authority.leaf(&["*.corp.example"])).await;
    let client = believing(&authority, "server_name = \"llm.corp.example\"").to(&origin).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    assert_eq!(origin.ledger().handshakes, [Some("llm.corp.example".to_owned())]);
    assert_eq!(origin.ledger().requests[0].header("host"), Some(format!("localhost:{}", origin.port())));
    // A wildcard is for one label.
    let client = believing(&authority, "server_name = \"a.b.corp.example\"").to(&origin).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap_err().kind(), Kind::Certificate);
}

async fn refused(leaf: &Leaf, trusted: &Authority) -> Error {
    let origin = serving(leaf).await;
    let client = believing(trusted, "").to(&origin).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert!(!error.request_sent());
    client.settles(0, 0).await;
    assert_eq!(origin.ledger().requests.len(), 0);
    assert!(error.to_string().contains(&origin.url("")), "{error}");
    error
}

/// S4, X17: each bad certificate says whose it is, who vouches for it, whom we believe, and what would change it.
#[tokio::test]
async fn a_bad_certificate_says_what_is_wrong_and_what_would_change_it() {
    let (trusted, other) = (Authority::new("Trusted CA"), Authority::new("Corporate Inspection CA"));
    let (stage, kind) = (Stage::Tls, Kind::Certificate);
    let error = refused(&other.leaf(&["localhost"]), &trusted).await;
    let words = [
        "issuer is not known",
        "subject `CN=test leaf`",
        "issuer `CN=Corporate Inspection CA`",
        "in use: 1 of",
        "ca.pem",
    ];
    assert_says(&error, stage, kind, &words);
    assert_says(&error, stage, kind, &["hint: tls.ca = ["]);
    assert_says(
        &refused(&trusted.expired(&["localhost"]), &trusted).await,
        stage,
        kind,
        &["expired on Jan  2 00:00:00 2020", "new certificate"],
    );
    let error = refused(&trusted.leaf(&["wrong.example"]), &trusted).await;
    assert_says(&error, stage, kind, &["is not for `localhost`", "tls.server_name"]);
    let error = refused(&Leaf::self_signed(&["localhost"]), &trusted).await;
    assert_says(&error, stage, kind, &["issuer is not known", "tls.ca"]);
}

/// S4: a revocation list in a file of `tls.ca` is obeyed; an issuer without one revokes nothing.
#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let authority = Authority::new("Test CA");
    let (good, bad) = (authority.leaf(&["localhost"]), authority.leaf(&["localhost"]));
    let list = authority.revoking(&bad);
    let believing = |leaf: &Leaf, ca: &str, more: &str| {
        let (config, policy) = (leaf.server(), format!("[tls]\nroots = \"none\"\nca = {ca}"));
        let builder =
            Client::under(&policy).file("ca.pem", format!("{}{more}", authority.pem())).file("crl.pem", &list);
        async move {
            let origin = Origin::tls(config, |_: &_| Answer::ok("hello")).await;
            builder.to(&origin).build().get(&origin.url("/")).await
        }
    };
    let both = "[\"ca.pem\", \"crl.pem\"]";
    assert_eq!(believing(&good, both, "").await.unwrap().body, "hello");
    assert_eq!(believing(&bad, "[\"ca.pem\"]", "").await.unwrap().body, "hello");
    for (ca, more) in [(both, ""), ("[\"ca.pem\"]", list.as_str())] {
        let error = believing(&bad, ca, more).await.unwrap_err();
        assert_says(&error, Stage::Tls, Kind::Certificate, &["revoked by its issuer", "subject `CN=test leaf`"]);
    }
}

/// The line that an unknown issuer advises is the line that trusts it.
#[tokio::test]
async fn the_advised_root_trusts_the_issuer() {
    let (trusted, other) = (Authority::new("Trusted CA"), Authority::new("Other CA"));
    let origin = serving(&other.leaf(&["localhost"])).await;
    let advised = believing(&trusted, "").to(&origin).build().get(&origin.url("/")).await.unwrap_err();
    assert!(advised.hint().unwrap().starts_with("tls.ca = [\"issuer.pem\"]"), "{advised}");
    let policy = "tls.roots = \"none\"\ntls.ca = [\"issuer.pem\"]";
    let client = Client::under(policy).file("issuer.pem", other.pem()).to(&origin).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
}

/// The environment's own file of roots adds to the platform's.
#[tokio::test]
async fn ssl_cert_file_extends_the_platform() {
    let authority = Authority::new("Test CA");
    let origin = serving(&authority.leaf(&["localhost"])).await;
    let builder = Client::under("[tls]\nroots = \"platform\"\ntimeout = \"9s\"").to(&origin);
    let client = builder.build();
    let file = client.folder().write("roots.pem", authority.pem());
    assert_eq!(client.get(&origin.url("/")).await.unwrap_err().kind(), Kind::Certificate);
    let builder = Client::under("[tls]\nroots = \"platform\"\ntimeout = \"9s\"").to(&origin);
    let client = builder.variable("SSL_CERT_FILE", file.to_str().unwrap()).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
}

/// S1: a server that asks for a certificate gets ours; without one its refusal is told, with the keys that present one.
#[tokio::test]
async fn a_client_certificate_is_presented() {
    let (authority, clients) = (Authority::new("Test CA"), Authority::new("Client CA"));
    let leaf = authority.leaf(&["localhost"]);
    let origin = Origin::tls(leaf.server_asking(&clients), |_: &_| Answer::ok("hello")).await;
    let ours = clients.client("seaway");
    let both = "client_cert = \"client.pem\"\nclient_key = \"client.key\"";
    let client = believing(&authority, both).file("client.pem", ours.pem()).file("client.key", ours.key_pem());
    assert_eq!(client.to(&origin).build().get(&origin.url("/")).await.unwrap().body, "hello");
    let client = believing(&authority, "").to(&origin).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::TlsAlert(116)), "{error}");
    assert_says(
        &error,
        Stage::Tls,
        error.kind(),
        &["CertificateRequired", "tls.client_cert and tls.client_key", &origin.url("")],
    );
    client.settles(0, 0).await;
    let strangers = Authority::new("Other CA").client("stranger");
    let client =
        believing(&authority, both).file("client.pem", strangers.pem()).file("client.key", strangers.key_pem());
    let error = client.to(&origin).build().get(&origin.url("/")).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::TlsAlert(_)), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("tls.client_cert")), "{error}");
}

/// S1 with nginx, which answers a missing certificate in HTTP.
#[tokio::test]
async fn nginx_takes_our_client_certificate() {
    let (authority, clients) = (Authority::new("Test CA"), Authority::new("Client CA"));
    let (leaf, ours) = (authority.leaf(&["localhost"]), clients.client("seaway"));
    let server = "listen 127.0.0.1:$PORT ssl; ssl_certificate $DIR/leaf.pem; ssl_certificate_key $DIR/leaf.key;
        ssl_client_certificate $DIR/clients.pem; ssl_verify_client on;
        location / { return 200 $ssl_client_s_dn; }";
    let files = [("leaf.pem", leaf.pem()), ("leaf.key", &leaf.key_pem()), ("clients.pem", &clients.pem())];
    let Some(nginx) = Nginx::start(server, &files).await else { return };
    let url = format!("https://localhost:{}/", nginx.port());
    let both = "client_cert = \"client.pem\"\nclient_key = \"client.key\"";
    let client = believing(&authority, both).file("client.pem", ours.pem()).file("client.key", ours.key_pem());
    let reply = client.destination(&url).build().get(&url).await.unwrap();
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"CN=seaway"[..]));
    let reply = believing(&authority, "").destination(&url).build().get(&url).await.unwrap();
    assert_eq!(reply.status, 400);
}

/// S3: either version by itself, ours and nginx's.
#[tokio::test]
async fn both_versions_are_spoken() {
    let authority = Authority::new("Test CA");
    let leaf = authority.leaf(&["localhost"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let origin = Origin::tls(leaf.server_speaking(version), |_: &_| Answer::ok("hello")).await;
        let client = believing(&authority, "").to(&origin).build();
        for _ in 0..2 {
            assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
        }
        assert_eq!(origin.ledger().accepted, 1);
    }
    for (protocol, name) in [("TLSv1.2", "TLSv1.2"), ("TLSv1.3", "TLSv1.3")] {
        let server = format!(
            "listen 127.0.0.1:$PORT ssl; ssl_certificate $DIR/leaf.pem; ssl_certificate_key $DIR/leaf.key;
             ssl_protocols {protocol}; location / {{ return 200 $ssl_protocol; }}"
        );
        let files = [("leaf.pem", leaf.pem()), ("leaf.key", &leaf.key_pem())];
        let Some(nginx) = Nginx::start(&server, &files).await else { return };
        let url = format!("https://localhost:{}/", nginx.port());
        let client = believing(&authority, "").destination(&url).build();
        assert_eq!(client.get(&url).await.unwrap().body, name);
    }
}

/// S3: a server that speaks only what we do not.
#[tokio::test]
async fn a_version_that_is_too_old_is_an_alert() {
    let authority = Authority::new("Test CA");
    let leaf = authority.leaf(&["localhost"]);
    let server = "listen 127.0.0.1:$PORT ssl; ssl_certificate $DIR/leaf.pem; ssl_certificate_key $DIR/leaf.key;
        ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;";
    let files = [("leaf.pem", leaf.pem()), ("leaf.key", &leaf.key_pem())];
    let Some(nginx) = Nginx::start(server, &files).await else { return };
    let url = format!("https://localhost:{}/", nginx.port());
    let error = believing(&authority, "").destination(&url).build().get(&url).await.unwrap_err();
    assert_says(&error, Stage::Tls, Kind::TlsAlert(70), &["ProtocolVersion", "during the handshake"]);
}

/// S9: session tickets that arrive on an idle connection do not spoil it.
#[tokio::test]
async fn tickets_on_an_idle_connection_do_not_spoil_it() {
    let authority = Authority::new("Test CA");
    let mut config = authority.leaf(&["localhost"]).server_speaking(&rustls::version::TLS13);
    config.send_tls13_tickets = 4;
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    let origin = Origin::tls(config, |_: &_| Answer::ok("hello")).await;
    let client = believing(&authority, "").to(&origin).build();
    for _ in 0..20 {
        client.post(&origin.url("/"), "BODY-MARK").await.unwrap();
    }
    assert_eq!(origin.ledger().uses(), [20]);
}

/// T2: a peer that takes the connection and never answers the hello.
#[tokio::test]
async fn a_handshake_that_is_never_answered_times_out() {
    let (authority, gate) = (Authority::new("Test CA"), Gate::shut());
    let origin = Origin::tls_after(&gate, authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
    let client = believing(&authority, "timeout = \"300ms\"").to(&origin).build();
    let start = Instant::now();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&error, Stage::Tls, Kind::ConnectTimeout, &["`tls.timeout` of 300ms passed", &origin.url("")]);
    assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < Duration::from_secs(10));
    client.settles(0, 0).await;
}

/// https:// to a port that speaks plain HTTP.
#[tokio::test]
async fn a_plain_port_says_that_it_does_not_speak_tls() {
    let server = "listen 127.0.0.1:$PORT; location / { return 200 hello; }";
    let Some(nginx) = Nginx::start(server, &[]).await else { return };
    let url = format!("https://127.0.0.1:{}/", nginx.port());
    let client = believing(&Authority::new("Test CA"), "").destination(&url).build();
    let error = client.get(&url).await.unwrap_err();
    assert_says(
        &error,
        Stage::Tls,
        Kind::TlsProtocol,
        &["does not answer in TLS", "hint: if the port speaks plain HTTP", "http://"],
    );
}

/// http:// to a port that speaks TLS.
#[tokio::test]
async fn a_tls_port_does_not_answer_plain_http() {
    let authority = Authority::new("Test CA");
    let origin = serving(&authority.leaf(&["localhost"])).await;
    let url = format!("http://127.0.0.1:{}/?q=QUERY-MARK", origin.port());
    let error = Client::under("").destination(&url).build().get(&url).await.unwrap_err();
    assert_eq!(error.stage(), Stage::Wire, "{error}");
    assert!(matches!(error.kind(), Kind::Protocol | Kind::Terminated), "{error}");
}

/// A connection that was made under one set of TLS settings is not lent to another: two sessions never share.
#[tokio::test]
async fn clients_with_other_certificates_have_other_connections() {
    let (authority, clients) = (Authority::new("Test CA"), Authority::new("Client CA"));
    let origin = Origin::tls(authority.leaf(&["localhost"]).server_asking(&clients), |_: &_| Answer::ok("hello")).await;
    let both = "client_cert = \"client.pem\"\nclient_key = \"client.key\"";
    for name in ["one", "two"] {
        let ours = clients.client(name);
        let client = believing(&authority, both).file("client.pem", ours.pem()).file("client.key", ours.key_pem());
        client.to(&origin).build().get(&origin.url("/")).await.unwrap();
    }
    assert_eq!(origin.ledger().uses(), [1, 1]);
}

/// Files that cannot be used are refused before anything connects, each by its key and with the way out.
#[tokio::test]
async fn files_that_cannot_be_used_are_refused_at_load() {
    let ours = Authority::new("Client CA").client("seaway");
    let other = Leaf::self_signed(&["x.example"]);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let both = "[tls]\nclient_cert = \"client.pem\"\nclient_key = \"client.key\"";
    for (policy, key, words) in [
        ("[tls]\nca = [\"missing.pem\"]", String::new(), &["`tls.ca`", "missing.pem", "cannot be read"][..]),
        ("[tls]\nca = [\"client.key\"]", ours.key_pem(), &["`tls.ca`", "no certificate in PEM"]),
        ("[tls]\nclient_cert = \"client.pem\"", String::new(), &["`tls.client_cert`", "client_key"]),
        (both, "nonsense".to_owned(), &["`tls.client_key`", "holds no private key"]),
        (both, encrypted.to_owned(), &["`tls.client_key`", "is encrypted", "openssl pkey"]),
        (both, other.key_pem(), &["`tls.client_key`", "does not fit"]),
        ("[tls]\nroots = \"none\"", String::new(), &["`tls.roots`", "believes nobody"]),
    ] {
        let builder = Client::under(policy).file("client.pem", ours.pem()).file("client.key", key);
        let line = builder.attempt().unwrap_err().to_string();
        assert!(words.iter().all(|word| line.contains(word)) && !line.contains('\n'), "{words:?}: {line}");
    }
}
