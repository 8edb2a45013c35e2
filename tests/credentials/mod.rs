//! `credentials`: the secret takes the placeholder's place where it may go, and shows nowhere else.

mod command;
pub(crate) mod sigv4;
mod aws;
mod leak;

use std::time::Duration;

use bytes::Bytes;
use seaway_session::{Kind, RequestBody, Stage};
use seaway_tests::answer::Answer;
use seaway_tests::client::{Client, request};
use seaway_tests::error::{SECRET, assert_says};
use seaway_tests::log::Log;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;
use tokio::time::Instant;

const PLACEHOLDER: (&str, &str) = ("authorization", "Bearer seaway-credential:corp");

async fn hello() -> Origin {
    Origin::plain(|_: &_| Answer::ok("hello")).await
}

fn policy(origin: &Origin, path: &str) -> String {
    format!("[credentials.corp]\nenv = \"CORP_KEY\"\nurls = [\"{}\"]\n", origin.url(path))
}

fn ask(url: &str, headers: &[(&str, &str)]) -> http::Request<RequestBody> {
    request("POST", url, headers, RequestBody::full("BODY-MARK"))
}

/// V3: each provider's header, with the text around the placeholder kept.
#[tokio::test]
async fn the_secret_takes_the_placeholders_place_in_any_header() {
    let origin = hello().await;
    let client = Client::under(&policy(&origin, "/v1")).to(&origin).variable("CORP_KEY", SECRET).build();
    for (name, value, expected) in [
        ("authorization", "Bearer seaway-credential:corp", format!("Bearer {SECRET}")),
        ("x-api-key", "seaway-credential:corp", SECRET.to_owned()),
        ("api-key", "seaway-credential:corp", SECRET.to_owned()),
        ("x-goog-api-key", "seaway-credential:corp", SECRET.to_owned()),
        ("x-anything", "<seaway-credential:corp>", format!("<{SECRET}>")),
    ] {
        client.read(ask(&origin.url("/v1/chat"), &[(name, value)])).await.unwrap();
        let seen: Request = origin.ledger().requests.pop().unwrap();
        assert_eq!(seen.header(name), Some(expected));
        assert!(!seen.head.contains("seaway-credential"), "{}", seen.head);
    }
}

/// V3: neither to another port, nor another scheme, nor another name of the same machine.
#[tokio::test]
async fn the_secret_goes_to_its_own_origin_only() {
    let (own, other) = (hello().await, hello().await);
    let client = Client::under(&policy(&own, "")).to(&own).to(&other).variable("CORP_KEY", SECRET).build();
    for url in [other.url("/"), own.at("localhost", "/")] {
        let error = client.read(ask(&url, &[PLACEHOLDER])).await.unwrap_err();
        assert_says(
            &error,
            Stage::Credentials,
            Kind::CredentialDenied,
            &["`credentials.corp`", "credentials.corp.urls = ["],
        );
        assert!(!error.request_sent());
    }
    assert_eq!((own.ledger().accepted, other.ledger().accepted), (0, 0));
}

/// V5: by whole segments of the path.
#[tokio::test]
async fn the_secret_goes_below_its_own_path_only() {
    let origin = hello().await;
    let path = "/v1/chat";
    let client = Client::under(&policy(&origin, path)).to(&origin).variable("CORP_KEY", SECRET).build();
    for path in ["/v1/chat", "/v1/chat/", "/v1/chat/completions?q=QUERY-MARK"] {
        client.read(ask(&origin.url(path), &[PLACEHOLDER])).await.unwrap();
    }
    assert_eq!(origin.ledger().requests.len(), 3);
    for path in
        ["/v1/files", "/v1/chatter", "/v1", "/v1/chat/../files", "/v1/chat/%2e%2e/files", "/v1/chat%2ffiles", "/"]
    {
        let error = client.read(ask(&origin.url(path), &[PLACEHOLDER])).await.unwrap_err();
        assert_eq!((error.stage(), error.kind()), (Stage::Credentials, Kind::CredentialDenied), "{path}: {error}");
    }
    assert_eq!(origin.ledger().requests.len(), 3);
}

/// V1: the guest follows a redirect with its placeholders, and with whatever else it put into the headers that carry keys.
#[tokio::test]
async fn nothing_of_a_key_follows_a_redirect() {
    let (origin, elsewhere) = (hello().await, hello().await);
    let client = Client::under(&policy(&origin, "")).to(&origin).to(&elsewhere).variable("CORP_KEY", SECRET).build();
    let own = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie"];
    let headers = own.map(|name| (name, "leaked-by-the-guest"));
    client.read(ask(&elsewhere.url("/"), &headers)).await.unwrap();
    let seen = elsewhere.ledger().requests.pop().unwrap();
    assert!(!seen.head.contains("leaked"), "{}", seen.head);
    assert_eq!(client.read(ask(&elsewhere.url("/"), &[PLACEHOLDER])).await.unwrap_err().stage(), Stage::Credentials);
}

/// A secret that is not there fails the requests that need it, and no other.
#[tokio::test]
async fn a_missing_secret_names_its_variable() {
    let origin = hello().await;
    let client = Client::under(&policy(&origin, "")).to(&origin).build();
    let error = client.read(ask(&origin.url("/"), &[PLACEHOLDER])).await.unwrap_err();
    assert_says(
        &error,
        Stage::Credentials,
        Kind::SecretMissing,
        &["`corp`", "CORP_KEY is not set", "hint: set CORP_KEY"],
    );
    assert_eq!(origin.ledger().accepted, 0);
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
}

/// A name that no credential has.
#[tokio::test]
async fn an_unknown_credential_names_the_nearest() {
    let origin = hello().await;
    let client = Client::under(&policy(&origin, "")).to(&origin).variable("CORP_KEY", SECRET).build();
    let error = client.read(ask(&origin.url("/"), &[("x-api-key", "seaway-credential:crop")])).await.unwrap_err();
    assert_says(
        &error,
        Stage::Credentials,
        Kind::CredentialDenied,
        &["`crop`", "nearest: `corp`", "[credentials.crop]"],
    );
}

/// The three places that a secret can come from.
#[tokio::test]
async fn a_secret_comes_from_a_variable_a_file_or_the_policy() {
    let origin = hello().await;
    for source in ["env = \"CORP_KEY\"", "file = \"key.txt\"", &format!("value = \"{SECRET}\"")] {
        let policy = format!("[credentials.corp]\n{source}\nurls = [\"{}\"]", origin.url(""));
        let client =
            Client::under(&policy).to(&origin).variable("CORP_KEY", SECRET).file("key.txt", format!("{SECRET}\n"));
        client.build().read(ask(&origin.url("/"), &[PLACEHOLDER])).await.unwrap();
        assert_eq!(origin.ledger().requests.pop().unwrap().header("authorization"), Some(format!("Bearer {SECRET}")));
    }
}

/// A secret that would break the head it is put into is missing, not sent.
#[tokio::test]
async fn a_secret_with_a_line_break_is_never_sent() {
    let origin = hello().await;
    let client = Client::under(&policy(&origin, "")).to(&origin).variable("CORP_KEY", &format!("{SECRET}\r\nx: y"));
    let error = client.build().read(ask(&origin.url("/"), &[PLACEHOLDER])).await.unwrap_err();
    assert_eq!((error.stage(), error.kind()), (Stage::Credentials, Kind::SecretMissing));
    assert_eq!(origin.ledger().accepted, 0);
}

/// A placeholder in the URI or the body is not one: the session puts secrets into headers only.
#[tokio::test]
async fn a_placeholder_outside_the_headers_is_never_filled() {
    let origin = hello().await;
    let client = Client::under(&policy(&origin, "")).to(&origin).variable("CORP_KEY", SECRET).build();
    let url = origin.url("/?key=seaway-credential:corp");
    assert_eq!(client.get(&url).await.unwrap_err().kind(), Kind::CredentialDenied);
    client.post(&origin.url("/"), "seaway-credential:corp").await.unwrap();
    assert_eq!(origin.ledger().requests.pop().unwrap().body, Bytes::from_static(b"seaway-credential:corp"));
}

/// V1: what the guest sets itself is warned of by name, once a header and a policy, and never by value.
#[tokio::test]
async fn a_header_that_is_taken_out_is_warned_of_once() {
    let (log, _guard) = Log::listen();
    let origin = hello().await;
    let client = Client::under("[monitor]\nredact = [\"x-corp-key\", \"X-Api-Key\"]").to(&origin).build();
    for _ in 0..3 {
        let own = [("x-corp-key", "leaked"), ("x-api-key", "leaked"), ("api-key", "kept")];
        client.read(ask(&origin.url("/"), &own)).await.unwrap();
        let seen = origin.ledger().requests.pop().unwrap();
        assert!(!seen.head.contains("leaked"), "{}", seen.head);
        assert_eq!(seen.header("api-key").as_deref(), Some("kept"));
    }
    for name in ["x-corp-key", "x-api-key"] {
        assert_eq!(log.warnings(&format!("header={name}")).len(), 1, "{}", log.text());
    }
    assert!(!log.text().contains("leaked"));
}

/// A rotated file is what a later request carries, and its neighbours under other names stay what they were.
#[tokio::test]
async fn a_rotated_file_is_used_by_later_requests() {
    let origin = hello().await;
    let section =
        |name: &str| format!("[credentials.{name}]\nfile = \"{name}.key\"\nurls = [\"{}\"]\n", origin.url(""));
    let client = Client::under(&(section("one") + &section("two"))).to(&origin);
    let client = client.file("one.key", "first\n").file("two.key", "other").build();
    let sent = async || {
        let headers = [("authorization", "Bearer seaway-credential:one"), ("x-api-key", "seaway-credential:two")];
        client.read(ask(&origin.url("/"), &headers)).await.unwrap();
        let seen = origin.ledger().requests.pop().unwrap();
        (seen.header("authorization").unwrap(), seen.header("x-api-key").unwrap())
    };
    assert_eq!(sent().await, ("Bearer first".to_owned(), "other".to_owned()));
    // Replaced the way a secret's mount is.
    let next = client.folder().write("next", "second");
    std::fs::rename(next, client.folder().path().join("one.key")).unwrap();
    let start = Instant::now();
    while sent().await.0 != "Bearer second" {
        assert!(start.elapsed() < Duration::from_secs(10), "the new file was not read");
    }
    assert_eq!(sent().await.1, "other");
}
