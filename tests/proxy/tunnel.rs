//! https origins behind HTTP proxies: CONNECT, TLS to the proxy, and what a proxy may refuse.

use std::time::Duration;

use seaway_session::{Call, Kind, Record, Stage};
use seaway_tests::answer::{Answer, Then};
use seaway_tests::certificates::Authority;
use seaway_tests::chaos::{Chaos, Peer};
use seaway_tests::client::{Client, collect, get};
use seaway_tests::error::{SECRET, assert_says};
use seaway_tests::log::Log;
use seaway_tests::origin::Origin;
use seaway_tests::proxies::{Squid, USER, Ways, mitmproxy, tinyproxy};
use seaway_tests::{eventually, kernel, soon};
use tokio::time::Instant;

use super::secure;

/// What came of a GET, and what the record says of the proxy: its URL, its status, its schemes.
async fn through(client: &Client, url: &str) -> (Result<String, seaway_session::Error>, (String, Option<u16>, String)) {
    let record = Record::new();
    let call = Call { record: record.clone(), ..Call::default() };
    let body = match client.call(get(url), call).await {
        Ok(answer) => collect(answer.into_body()).await.map(|(body, _)| String::from_utf8_lossy(&body).into_owned()),
        Err(error) => Err(error),
    };
    let via = record.timings().unwrap().via.unwrap();
    (body, (via.proxy, via.status, via.schemes.join(" ")))
}

/// X1: squid opens a tunnel for whom it knows, and for nobody else; what it said is in the record, and the password nowhere.
#[tokio::test]
async fn squid_lets_through_whom_it_knows() {
    let Some(squid) = Squid::start(Ways { password: Some(SECRET), ..Ways::default() }).await else { return };
    let (log, _listening) = Log::listen();
    let at = format!("127.0.0.1:{}", squid.port());
    let url = format!("http://{at}");
    for (login, hint) in [
        (format!("{USER}:{SECRET}@"), ""),
        (format!("{USER}:no@"), "the user or the password of `HTTPS_PROXY` is not the proxy's"),
        (String::new(), "HTTPS_PROXY=http://USER:PASSWORD@127.0.0.1:"),
    ] {
        let (origin, client) = secure("").await;
        let client = client.variable("HTTPS_PROXY", &format!("http://{login}{at}")).build();
        let (result, via) = through(&client, &origin.url("/")).await;
        if hint.is_empty() {
            assert_eq!((result.unwrap(), via), ("hello".to_owned(), (url.clone(), Some(200), String::new())));
            // The tunnel is kept, and nothing is asked of the proxy again.
            let (result, via) = through(&client, &origin.url("/")).await;
            assert_eq!((result.unwrap(), via), ("hello".to_owned(), (url.clone(), None, String::new())));
            assert_eq!((client.figures().opened, origin.ledger().accepted), (1, 1));
            assert_eq!(origin.ledger().requests[0].header("proxy-authorization"), None);
        } else {
            let error = result.unwrap_err();
            let words = [&url[..], "of `HTTPS_PROXY` answered 407 Proxy Authentication Required", "takes Basic", hint];
            assert_says(&error, Stage::Proxy, Kind::Unavailable, &words);
            assert_eq!(via, (url.clone(), Some(407), "Basic".to_owned()));
            assert_eq!(origin.ledger().accepted, 0);
        }
        let shown = format!("{:?}", client.session);
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let text = log.text();
    assert!(!text.contains(SECRET), "{}", text.lines().filter(|line| line.contains(SECRET)).collect::<String>());
    assert!(text.contains("proxy"), "the log was not listened to: {text}");
}

/// X1: a proxy that takes no login that we can give names the helpers that can.
#[tokio::test]
async fn a_proxy_that_takes_only_ntlm_or_negotiate_says_so() {
    let head = "HTTP/1.1 407 Go away\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\ncontent-length: 0\r\n\r\n";
    let proxy = Origin::plain(move |_: &_| Answer::raw(head).then(Then::Close)).await;
    let (origin, client) = secure("").await;
    let client = client.variable("https_proxy", &proxy.url("")).build();
    let (result, via) = through(&client, &origin.url("/")).await;
    let words = ["answered 407", "takes Negotiate, NTLM", "px, cntlm", "`https_proxy`"];
    assert_says(&result.unwrap_err(), Stage::Proxy, Kind::Unavailable, &words);
    assert_eq!((via.1, &via.2[..]), (Some(407), "Negotiate NTLM"));
    let asked = proxy.ledger().requests.remove(0);
    assert_eq!((&asked.method[..], asked.target), ("CONNECT", format!("localhost:{}", origin.port())));
    assert_eq!(origin.ledger().accepted, 0);
}

/// What `proxy.headers` holds is said with CONNECT, and to nobody else.
#[tokio::test]
async fn a_connect_carries_the_policys_headers() {
    let Some(squid) = Squid::start(Ways::default()).await else { return };
    let spy = Origin::plain(|_: &_| Answer::whole("403 Forbidden", &[], "")).await;
    let policy = format!("[proxy]\nheaders = {{ X-Department = \"{SECRET}\" }}\n");
    for (port, opens) in [(spy.port(), false), (squid.port(), true)] {
        let (origin, client) = secure(&policy).await;
        let client = client.variable("ALL_PROXY", &format!("http://127.0.0.1:{port}")).build();
        assert_eq!(client.get(&origin.url("/")).await.is_ok(), opens);
        assert!(origin.ledger().requests.iter().all(|request| request.header("x-department").is_none()));
    }
    assert_eq!(spy.ledger().requests[0].header("x-department"), Some(SECRET.to_owned()));
}

/// X2: TLS to the proxy and, within it, TLS to the origin; each side is believed by its own roots.
#[tokio::test]
async fn tls_runs_within_tls() {
    let (proxies, strangers) = (Authority::new("Proxy CA"), Authority::new("Another CA"));
    let leaf = proxies.leaf(&["localhost"]);
    let ways = Ways { leaf: Some(&leaf), password: Some(SECRET), ..Ways::default() };
    let Some(squid) = Squid::start(ways).await else { return };
    let proxy = |host: &str| format!("https://{USER}:{SECRET}@{host}:{}", squid.tls_port());
    let client = async |ca: &Authority, host: &str| {
        let (origin, client) = secure("[proxy]\nca = [\"proxy-ca.pem\"]\n").await;
        (origin, client.file("proxy-ca.pem", ca.pem()).variable("HTTPS_PROXY", &proxy(host)).build())
    };
    let (origin, good) = client(&proxies, "localhost").await;
    let (result, via) = through(&good, &origin.url("/")).await;
    assert_eq!((result.unwrap(), via.1), ("hello".to_owned(), Some(200)));
    assert_eq!(origin.ledger().handshakes, [Some("localhost".to_owned())]);

    let (origin, distrustful) = client(&strangers, "localhost").await;
    let error = distrustful.get(&origin.url("/")).await.unwrap_err();
    let words =
        ["https://localhost:", "of `HTTPS_PROXY`", "issuer is not known", "Proxy CA", "proxy-ca.pem", "proxy.ca = ["];
    assert_says(&error, Stage::Proxy, Kind::Certificate, &words);
    assert_eq!(origin.ledger().accepted, 0);

    let (origin, misnamed) = client(&proxies, "127.0.0.1").await;
    let error = misnamed.get(&origin.url("/")).await.unwrap_err();
    assert_says(
        &error,
        Stage::Proxy,
        Kind::Certificate,
        &["is not for `127.0.0.1`", "a name that its certificate has"],
    );

    // Without `proxy.ca` the roots of [tls] count for both, and they do not have the proxy's.
    let (origin, client) = secure("").await;
    let client = client.variable("HTTPS_PROXY", &proxy("localhost")).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&error, Stage::Proxy, Kind::Certificate, &["proxy.ca = ["]);
}

/// Who vouches for a proxy is read again when it changes, as is all that is in files.
#[tokio::test]
async fn the_roots_of_a_tls_proxy_are_read_again() {
    let (proxies, strangers) = (Authority::new("Proxy CA"), Authority::new("Another CA"));
    let leaf = proxies.leaf(&["localhost"]);
    let Some(squid) = Squid::start(Ways { leaf: Some(&leaf), ..Ways::default() }).await else { return };
    let (origin, client) = secure("[proxy]\nca = [\"proxy-ca.pem\"]\n").await;
    let client = client.file("proxy-ca.pem", strangers.pem());
    let client = client.variable("HTTPS_PROXY", &format!("https://localhost:{}", squid.tls_port())).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap_err().kind(), Kind::Certificate);
    client.folder().write("proxy-ca.pem", proxies.pem());
    let believed = async {
        loop {
            match client.get(&origin.url("/")).await {
                Ok(reply) => break reply,
                Err(error) => assert_eq!(error.kind(), Kind::Certificate),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(soon("the new root is read", believed).await.body, "hello");
}

/// A swap keeps the tunnels that the new policy would open just so, and lends none that it would not.
#[tokio::test]
async fn a_swap_keeps_tunnels_of_the_same_proxy_only() {
    let Some(squid) = Squid::start(Ways::default()).await else { return };
    let Some(other) = Squid::start(Ways::default()).await else { return };
    let policy = |squid: &Squid, more: &str| {
        format!("{more}\n[proxy]\nmode = \"explicit\"\nall = \"http://127.0.0.1:{}\"\n", squid.port())
    };
    // What is idle does not go by itself while the test waits.
    let rest = "[pool]\nkeepalive = \"60s\"\n[tls]\nroots = \"none\"\nca = [\"ca.pem\"]\n";
    let (origin, client) = secure(&(policy(&squid, "") + "[pool]\nkeepalive = \"60s\"\n")).await;
    let client = client.build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    client.swap(&(policy(&squid, "total = \"99s\"") + rest)).unwrap();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    assert_eq!(origin.ledger().accepted, 1);
    client.swap(&(policy(&other, "") + rest)).unwrap();
    client.settles(0, 0).await;
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    assert_eq!(origin.ledger().accepted, 2);
    client.swap(&("[proxy]\nmode = \"off\"\n".to_owned() + rest)).unwrap();
    client.settles(0, 0).await;
    drop((squid, other));
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
}

/// X2: our certificate is for origins. A proxy that asks for one gets none.
#[tokio::test]
async fn a_proxy_is_shown_no_certificate_of_ours() {
    let (authority, clients) = (Authority::new("Test CA"), Authority::new("Client CA"));
    let proxy = Origin::tls(authority.leaf(&["localhost"]).server_asking(&clients), |_: &_| Answer::ok("")).await;
    let ours = clients.client("seaway");
    let policy = "[tls]\nroots = \"none\"\nca = [\"ca.pem\"]\nclient_cert = \"c.pem\"\nclient_key = \"c.key\"\n";
    let client = Client::under(policy).file("ca.pem", authority.pem());
    let client = client.file("c.pem", ours.pem()).file("c.key", ours.key_pem()).destination("https://api.example");
    let client = client.variable("HTTPS_PROXY", &proxy.url("")).build();
    let error = client.get("https://api.example/").await.unwrap_err();
    assert_says(&error, Stage::Proxy, Kind::Unavailable, &["of `HTTPS_PROXY`", "CertificateRequired"]);
    assert_eq!(proxy.ledger().requests.len(), 0);
}

/// X6: tinyproxy opens tunnels to some ports only; its refusal comes through.
#[tokio::test]
async fn a_port_that_the_proxy_denies_is_told_with_its_status() {
    let (origin, client) = secure("").await;
    let Some(strict) = tinyproxy(563).await else { return };
    let client = client.variable("HTTPS_PROXY", &format!("http://127.0.0.1:{}", strict.port())).build();
    let (result, via) = through(&client, &origin.url("/")).await;
    let words = ["answered 403 Forbidden", "does not let this destination through", "NO_PROXY"];
    assert_says(&result.unwrap_err(), Stage::Proxy, Kind::Unavailable, &words);
    assert_eq!((via.1, origin.ledger().accepted), (Some(403), 0));
    let (origin, client) = secure("").await;
    let Some(kind) = tinyproxy(origin.port()).await else { return };
    let client = client.variable("HTTPS_PROXY", &format!("http://127.0.0.1:{}", kind.port())).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
}

/// X7, X8: a proxy that says nothing and one that says too little at a time meet one deadline, and their sockets close.
#[tokio::test]
async fn a_proxy_that_does_not_come_to_its_point_meets_its_deadline() {
    let head = format!("HTTP/1.1 200 OK\r\nx-filler: {}", "x".repeat(8192)).into_bytes();
    for chaos in [Chaos::Silence, Chaos::Dribble(head, Duration::from_millis(20))] {
        let peer = Peer::start(chaos).await;
        for scheme in ["http", "https", "socks5", "socks5h"] {
            let (origin, client) = secure("[proxy]\ntimeout = \"250ms\"\n").await;
            let client = client.variable("HTTPS_PROXY", &format!("{scheme}://127.0.0.1:{}", peer.port())).build();
            let begun = Instant::now();
            let error = client.get(&origin.url("/")).await.unwrap_err();
            if error.kind() == Kind::ConnectTimeout {
                let words = ["`proxy.timeout` of 250ms passed", "did not answer in time", "of `HTTPS_PROXY`"];
                assert_says(&error, Stage::Proxy, Kind::ConnectTimeout, &words);
                assert!(begun.elapsed() >= Duration::from_millis(250));
            } else {
                // What dribbles HTTP to who speaks TLS or SOCKS is found out at its first bytes.
                assert!(scheme != "http" && error.stage() == Stage::Proxy, "{error}");
            }
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
            client.settles(0, 0).await;
            eventually("its socket is closed", || kernel::sockets_to(peer.port()) == 0).await;
            assert_eq!(origin.ledger().accepted, 0);
        }
    }
}

/// Bytes that come with the proxy's answer are the tunnel's, and are not lost: here they end the handshake at once.
#[tokio::test]
async fn what_comes_with_the_proxys_answer_is_read_first() {
    let proxy = Origin::plain(|_: &_| Answer::raw("HTTP/1.1 200 OK\r\n\r\nSSH-2.0-OpenSSH\r\n").then(Then::Hang)).await;
    let (_origin, client) = secure("").await;
    let client = client.variable("HTTPS_PROXY", &proxy.url("")).destination("https://api.example").build();
    let error = client.get("https://api.example/").await.unwrap_err();
    assert_says(&error, Stage::Tls, Kind::TlsProtocol, &["the peer does not answer in TLS"]);
}

/// X8: a head that never ends is cut off by its size, long before its deadline.
#[tokio::test]
async fn a_proxy_with_a_head_without_end_is_refused() {
    let proxy = Origin::plain(|_: &_| Answer::raw(format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(9999)))).await;
    let (origin, client) = secure("").await;
    let client = client.variable("HTTPS_PROXY", &proxy.url("")).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&error, Stage::Proxy, Kind::Unavailable, &["larger than 16 KiB"]);
    proxy.forgive();
}

/// X13, X17: a proxy that breaks TLS open is found out, and its root lets it.
#[tokio::test]
async fn a_proxy_that_inspects_tls_is_named_and_can_be_trusted() {
    let Some((mitmproxy, root)) = mitmproxy().await else { return };
    let proxy = format!("http://127.0.0.1:{}", mitmproxy.port());
    let (origin, client) = secure("").await;
    let error = client.variable("HTTPS_PROXY", &proxy).build().get(&origin.url("/")).await.unwrap_err();
    let words = [
        "issuer is not known",
        "issuer `CN=mitmproxy, O=mitmproxy`",
        "in use: 1 of",
        "something there may inspect TLS",
        &format!("{proxy} of `HTTPS_PROXY`"),
        "hint: tls.ca = [",
    ];
    assert_says(&error, Stage::Tls, Kind::Certificate, &words);
    assert_eq!(origin.ledger().requests.len(), 0);
    let policy = "[tls]\nroots = \"none\"\nca = [\"issuer.pem\"]";
    let client = Client::under(policy).file("issuer.pem", root).to(&origin).variable("HTTPS_PROXY", &proxy).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
}

/// X14: a proxy behind a proxy is the first one's business.
#[tokio::test]
async fn a_proxy_may_have_a_parent() {
    let Some(parent) = Squid::start(Ways::default()).await else { return };
    let Some(child) = Squid::start(Ways { parent: Some(parent.port()), ..Ways::default() }).await else { return };
    let (origin, client) = secure("").await;
    let client = client.variable("HTTPS_PROXY", &format!("http://127.0.0.1:{}", child.port())).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    drop(parent);
    let (origin, client) = secure("").await;
    let client = client.variable("HTTPS_PROXY", &format!("http://127.0.0.1:{}", child.port())).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&error, Stage::Proxy, Kind::Unavailable, &["answered 50", "could not reach the destination"]);
}

/// X15: with another login, even of the same user, the way is another: nobody rides in a tunnel that was not opened for him.
#[tokio::test]
async fn another_login_is_another_tunnel() {
    let Some(squid) = Squid::start(Ways { password: Some(SECRET), ..Ways::default() }).await else { return };
    let policy = format!(
        "[proxy]\nmode = \"explicit\"\nhttps = \"http://127.0.0.1:{}\"\nauth = {{ file = \"login\" }}\n",
        squid.port()
    );
    let (origin, client) = secure(&policy).await;
    let client = client.file("login", format!("{USER}:{SECRET}\n")).build();
    for _ in 0..2 {
        assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    }
    assert_eq!(origin.ledger().accepted, 1);
    // A rotated file is seen within a second. The tunnel of the old login is open and idle; the new one may not have it.
    client.folder().write("login", format!("{USER}:no\n"));
    let refused = async {
        loop {
            match client.get(&origin.url("/")).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => break error,
            }
        }
    };
    let error = soon("the new login is refused", refused).await;
    assert_says(&error, Stage::Proxy, Kind::Unavailable, &["answered 407", "`proxy.https`"]);
    client.settles(1, 1).await;
    // A login that is gone is an error of the requests that need it.
    std::fs::remove_file(client.folder().path().join("login")).unwrap();
    let missing = async {
        loop {
            let error = client.get(&origin.url("/")).await.unwrap_err();
            match error.kind() == Kind::SecretMissing {
                true => break error,
                false => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let error = soon("the login is missed", missing).await;
    assert_says(&error, Stage::Proxy, Kind::SecretMissing, &["`proxy.auth`", "cannot be read"]);
}
