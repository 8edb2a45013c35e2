//! http origins behind HTTP proxies: requests are handed over one by one, with their whole URI and our name.

use seaway_session::{Call, Kind, Record, RequestBody, Stage};
use seaway_tests::answer::Answer;
use seaway_tests::certificates::Authority;
use seaway_tests::client::{Client, get, request};
use seaway_tests::error::{SECRET, assert_says};
use seaway_tests::origin::Origin;
use seaway_tests::proxies::{Squid, USER, Ways};

use super::hello;

/// X11: both requests of one connection name their origin and us; nobody looks the name up here.
#[tokio::test]
async fn every_request_says_whole_uri_and_who_we_are() {
    let proxy = hello().await;
    let at = format!("127.0.0.1:{}", proxy.port());
    let client = Client::under("").destination("http://api.example:8080");
    let client = client.variable("http_proxy", &format!("http://user:pass@{at}")).build();
    for path in ["/v1/chat?x=1", "/"] {
        client.post(&format!("http://API.example.:8080{path}"), "BODY-MARK").await.unwrap();
    }
    let ledger = proxy.ledger();
    assert_eq!(ledger.uses(), [2]);
    assert_eq!(ledger.targets(), ["http://api.example:8080/v1/chat?x=1", "http://api.example:8080/"]);
    for request in ledger.requests {
        assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpwYXNz".to_owned()));
        assert_eq!(request.header("host"), Some("api.example:8080".to_owned()));
    }
}

/// X11, V4: through squid, which wants to know us, and once directly: the origin never learns who we are to the proxy.
#[tokio::test]
async fn an_origin_never_sees_who_we_are_to_the_proxy() {
    let authority = Authority::new("Proxy CA");
    let leaf = authority.leaf(&["localhost"]);
    let ways = Ways { password: Some(SECRET), leaf: Some(&leaf), ..Ways::default() };
    let Some(squid) = Squid::start(ways).await else { return };
    for (scheme, port) in [("http", squid.port()), ("https", squid.tls_port())] {
        let origin = hello().await;
        let client = Client::under("[proxy]\nca = [\"ca.pem\"]\n").file("ca.pem", authority.pem()).to(&origin);
        let client = client.variable("http_proxy", &format!("{scheme}://{USER}:{SECRET}@localhost:{port}"));
        let client = client.variable("no_proxy", "localhost").build();
        for host in ["127.0.0.1", "127.0.0.1", "localhost"] {
            assert_eq!(client.get(&origin.at(host, "/")).await.unwrap().body, "hello");
        }
        assert_eq!(client.figures().opened, 2, "the two through the proxy share a connection");
        let requests = origin.ledger().requests;
        assert_eq!(requests.iter().filter(|request| request.header("via").is_some()).count(), 2);
        for request in requests {
            assert!(!request.head.to_lowercase().contains("proxy-auth"), "{}", request.head);
            assert_eq!(&request.target, "/");
        }
    }
}

/// A 407 is the proxy's own: never the origin's answer, and nothing has reached the origin.
#[tokio::test]
async fn a_refusal_to_forward_is_an_error_with_the_proxys_status() {
    let head = [("proxy-authenticate", "Basic realm=\"x\"")];
    let proxy = Origin::plain(move |_: &_| Answer::whole("407 No", &head, "who are you?")).await;
    let client = Client::under("").destination("http://api.example").variable("http_proxy", &proxy.url("")).build();
    let record = Record::new();
    let call = Call { record: record.clone(), ..Call::default() };
    let error = client.call(get("http://api.example/"), call).await.unwrap_err();
    assert_says(
        &error,
        Stage::Proxy,
        Kind::Unavailable,
        &["answered 407", "takes Basic", "http_proxy=http://USER:PASSWORD@"],
    );
    assert!(!error.request_sent());
    let via = record.timings().unwrap().via.unwrap();
    assert_eq!((via.proxy, via.status, via.schemes), (proxy.url(""), Some(407), vec!["Basic".to_owned()]));
    client.settles(0, 0).await;
}

/// A secret that a proxy could read stays here, unless its owner says otherwise; over https no proxy can read it.
#[tokio::test]
async fn a_secret_passes_a_proxy_in_the_clear_only_where_it_may() {
    let proxy = hello().await;
    let policy =
        |more: &str| format!("[credentials.corp]\nenv = \"CORP_KEY\"\nurls = [\"http://api.example\"]\n{more}\n");
    let client = |more: &str| {
        let client = Client::under(&policy(more)).destination("http://api.example").variable("CORP_KEY", SECRET);
        client.variable("http_proxy", &proxy.url("")).build()
    };
    let ask = || {
        let header = [("authorization", "Bearer seaway-credential:corp")];
        request("POST", "http://api.example/v1", &header, RequestBody::full("BODY-MARK"))
    };
    let error = client("").read(ask()).await.unwrap_err();
    let words = ["`credentials.corp` would be read by", "of `http_proxy`", "credentials.corp.plain_proxy = true"];
    assert_says(&error, Stage::Credentials, Kind::CredentialDenied, &words);
    assert_eq!(proxy.ledger().accepted, 0);
    client("plain_proxy = true").read(ask()).await.unwrap();
    assert_eq!(proxy.ledger().requests[0].header("authorization"), Some(format!("Bearer {SECRET}")));
}
