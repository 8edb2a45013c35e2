//! `proxy`: a proxy that applies and cannot be used yet is an error, never a direct connection.

use seaway_session::{Kind, Stage};
use seaway_tests::answer::Answer;
use seaway_tests::client::Client;
use seaway_tests::error::{SECRET, assert_says};
use seaway_tests::origin::Origin;

async fn hello() -> Origin {
    Origin::plain(|_: &_| Answer::ok("hello")).await
}

/// X3, X4: whatever variable names it and however it is spelled, and though it is there or not.
#[tokio::test]
async fn a_proxy_that_applies_fails_closed() {
    let (origin, proxy) = (hello().await, hello().await);
    let at = format!("user:{SECRET}@127.0.0.1:{}", proxy.port());
    for (variable, scheme) in [
        ("http_proxy", "http://"),
        ("HTTP_PROXY", ""),
        ("HTTP_PROXY", "https://"),
        ("all_proxy", "socks5://"),
        ("ALL_PROXY", "socks5h://"),
    ] {
        let client = Client::under("").to(&origin).variable(variable, &format!("{scheme}{at}")).build();
        let error = client.get(&origin.url("/")).await.unwrap_err();
        let words = [&format!("`{variable}`")[..], "proxy.mode = \"off\"", "NO_PROXY=127.0.0.1", &origin.url("")];
        assert_says(&error, Stage::Proxy, Kind::Unavailable, &words);
        assert!(!error.request_sent());
    }
    assert_eq!((origin.ledger().accepted, proxy.ledger().accepted), (0, 0));
}

/// X3: for https, too; `HTTP_PROXY` is none for it.
#[tokio::test]
async fn the_scheme_decides_which_variable_applies() {
    let origin = hello().await;
    let https = format!("https://127.0.0.1:{}", origin.port());
    let client =
        Client::under("").to(&origin).destination(&https).variable("HTTPS_PROXY", "http://p.example:1").build();
    assert_eq!(client.get(&https).await.unwrap_err().stage(), Stage::Proxy);
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    assert_eq!(origin.ledger().accepted, 1);
}

/// X5, by example: what NO_PROXY covers is reached directly.
#[tokio::test]
async fn no_proxy_is_honoured() {
    let origin = hello().await;
    let port = origin.port();
    for (bypass, direct) in [
        ("127.0.0.1", true),
        ("127.0.0.0/8", true),
        ("example.com, 127.0.0.1", true),
        ("*", true),
        (&format!("127.0.0.1:{port}"), true),
        (&format!("127.0.0.1:{}", port ^ 1), false),
        ("10.0.0.0/8", false),
        ("example.com", false),
        ("", false),
    ] {
        let client =
            Client::under("").to(&origin).variable("ALL_PROXY", "http://p.example:1").variable("NO_PROXY", bypass);
        let result = client.build().get(&origin.url("/")).await;
        assert_eq!(result.is_ok(), direct, "{bypass:?}: {result:?}");
    }
}

/// With `off` the request goes directly, and a failure of it says what was ignored.
#[tokio::test]
async fn off_connects_directly_and_says_what_it_ignored() {
    let origin = hello().await;
    let client = || Client::under("[proxy]\nmode = \"off\"").to(&origin).variable("https_proxy", "http://p.example:1");
    assert_eq!(client().build().get(&origin.url("/")).await.unwrap().body, "hello");
    let closed = hello().await;
    let url = closed.url("/");
    drop(closed);
    let error = client().destination(&url).build().get(&url).await.unwrap_err();
    assert_says(
        &error,
        Stage::Tcp,
        Kind::ConnectionRefused,
        &["hint: `https_proxy` is set, and proxy.mode = \"off\" ignores it"],
    );
}

/// X4: what cannot be a proxy, or names two, is an error at load, without the password.
#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_refused_at_load() {
    for (variables, word) in [
        (
            &[("HTTPS_PROXY", "gopher://user:SECRET-MARK-73b1@p.example")][..],
            "HTTPS_PROXY is not a proxy that can be used",
        ),
        (
            &[("https_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:1")][..],
            "https_proxy and HTTPS_PROXY are both set",
        ),
    ] {
        let builder = variables.iter().fold(Client::under(""), |builder, (name, value)| builder.variable(name, value));
        let error = builder.attempt().unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains(SECRET) && !error.contains('\n'), "{error}");
    }
}
