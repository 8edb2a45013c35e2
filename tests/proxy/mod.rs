//! `proxy`: who stands between, what it is told, and that nothing passes it by.

mod tunnel;
mod forward;
mod socks;
mod limit;

use seaway_session::{Kind, Stage};
use seaway_tests::answer::Answer;
use seaway_tests::certificates::Authority;
use seaway_tests::chaos::{Chaos, Peer};
use seaway_tests::client::{Builder, Client};
use seaway_tests::error::{SECRET, assert_says};
use seaway_tests::origin::Origin;

async fn hello() -> Origin {
    Origin::plain(|_: &_| Answer::ok("hello")).await
}

/// An origin over TLS, and a client that believes it.
async fn secure(policy: &str) -> (Origin, Builder) {
    let authority = Authority::new("Origin CA");
    let origin = Origin::tls(authority.leaf(&["localhost", "127.0.0.1"]).server(), |_: &_| Answer::ok("hello")).await;
    let policy = format!("{policy}\n[tls]\nroots = \"none\"\nca = [\"ca.pem\"]\n");
    let client = Client::under(&policy).file("ca.pem", authority.pem()).to(&origin);
    (origin, client)
}

/// X3: whatever is wrong with a proxy, however it is spoken to and whatever it is to reach, nothing goes out directly.
#[tokio::test]
async fn a_proxy_that_cannot_be_used_fails_closed() {
    let closed = {
        let origin = hello().await;
        origin.port()
    };
    let (silent, hasty) = (Peer::start(Chaos::Silence).await, Peer::start(Chaos::Close).await);
    let garbage = Origin::plain(|_: &_| Answer::raw("SSH-2.0-OpenSSH\r\n\r\n")).await;
    let policy = "[proxy]\ntimeout = \"300ms\"\n";
    let (plain, (secret, _)) = (hello().await, secure(policy).await);
    for scheme in ["", "http://", "https://", "socks5://", "socks5h://"] {
        for (port, what) in
            [(closed, "refused"), (silent.port(), "silent"), (hasty.port(), "closes"), (garbage.port(), "garbage")]
        {
            for (origin, variable) in [(&plain, "http_proxy"), (&plain, "ALL_PROXY"), (&secret, "HTTPS_PROXY")] {
                let forwarded = origin.url("").starts_with("http:") && ["", "http://"].contains(&scheme);
                if forwarded && what == "silent" {
                    // Who only forwards may take as long to answer as any server: that is `wire.timeout`'s.
                    continue;
                }
                let proxy = format!("{scheme}user:{SECRET}@127.0.0.1:{port}");
                let client = Client::under(policy).to(origin).variable(variable, &proxy).build();
                let error = client.get(&origin.url("/")).await.unwrap_err();
                let named = format!("127.0.0.1:{port} of `{variable}`");
                // Who only forwards fails to answer like any server.
                let stage = if forwarded && what != "refused" { Stage::Wire } else { Stage::Proxy };
                assert_eq!(error.stage(), stage, "{proxy} {what}: {error}");
                let whole = format!("{error} {:?}", error.hint());
                assert!(whole.contains(&named) && whole.contains(&origin.url("")), "{whole}");
                assert!(!error.request_sent() || stage == Stage::Wire);
                client.settles(0, 0).await;
            }
        }
    }
    assert_eq!((plain.ledger().accepted, secret.ledger().accepted), (0, 0));
    garbage.forgive();
}

/// X3: a proxy whose name does not resolve is the proxy's trouble, with the variable that names it and the way without it.
#[tokio::test]
async fn a_proxy_without_an_address_is_named() {
    let (origin, client) = secure("").await;
    let client = client.variable("HTTPS_PROXY", &format!("http://user:{SECRET}@proxy.invalid:3128")).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    let words = ["http://proxy.invalid:3128 of `HTTPS_PROXY` cannot be reached", "NO_PROXY", "proxy.mode = \"off\""];
    assert_says(&error, Stage::Proxy, Kind::Unavailable, &words);
    assert_eq!(origin.ledger().accepted, 0);
}

/// X4: all sixteen combinations of four variables, asked for real: a proxy answers with its own name.
#[tokio::test]
async fn the_variable_of_the_scheme_in_either_case_comes_before_the_one_for_all() {
    let own = Origin::plain(|_: &_| Answer::ok("own")).await;
    let all = Origin::plain(|_: &_| Answer::ok("all")).await;
    let origin = hello().await;
    let variables = [("http_proxy", &own), ("HTTP_PROXY", &own), ("all_proxy", &all), ("ALL_PROXY", &all)];
    for set in 0..16_u8 {
        let is_set = |at: usize| set >> at & 1 == 1;
        let client = variables.iter().enumerate().fold(Client::under("").to(&origin), |client, (at, (name, proxy))| {
            let value = if is_set(at) { proxy.url("") } else { String::new() };
            client.variable(name, &value)
        });
        let expected = if is_set(0) || is_set(1) {
            "own"
        } else if is_set(2) || is_set(3) {
            "all"
        } else {
            "hello"
        };
        assert_eq!(client.build().get(&origin.url("/")).await.unwrap().body, expected, "{set:04b}");
    }
}

/// X4: the scheme of the origin decides; `HTTP_PROXY` is none for https.
#[tokio::test]
async fn the_scheme_decides_which_variable_applies() {
    let (plain, (secret, client)) = (hello().await, secure("").await);
    let client = client.to(&plain).variable("HTTPS_PROXY", "http://127.0.0.1:1").build();
    assert_eq!(client.get(&secret.url("/")).await.unwrap_err().stage(), Stage::Proxy);
    assert_eq!(client.get(&plain.url("/")).await.unwrap().body, "hello");
    assert_eq!((plain.ledger().accepted, secret.ledger().accepted), (1, 0));
}

/// X4: what cannot be a proxy, or names two, is an error at load, without the password.
#[tokio::test]
async fn a_proxy_that_makes_no_sense_is_refused_at_load() {
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

/// With `explicit` the keys decide, and variables do not.
#[tokio::test]
async fn explicit_takes_the_policys_proxy_and_no_variable() {
    let (origin, proxy, other) = (hello().await, hello().await, hello().await);
    let policy = format!(
        "[proxy]\nmode = \"explicit\"\nhttp = \"{}\"\nauth = {{ env = \"PROXY_AUTH\" }}\nno_proxy = [\"localhost\"]\n",
        proxy.url("")
    );
    let client = Client::under(&policy).to(&origin).variable("PROXY_AUTH", &format!("user:{SECRET}"));
    let client = client.variable("http_proxy", &other.url("")).variable("NO_PROXY", "*").build();
    client.get(&origin.url("/")).await.unwrap();
    client.get(&origin.at("localhost", "/")).await.unwrap();
    assert_eq!(proxy.ledger().targets(), [origin.url("/")]);
    assert!(proxy.ledger().requests[0].header("proxy-authorization").is_some());
    assert_eq!(origin.ledger().requests[0].header("proxy-authorization"), None);
    assert_eq!((origin.ledger().accepted, other.ledger().accepted), (1, 0));
}

/// R4: what egress refuses by name, or by an address in its place, never comes near a proxy.
#[tokio::test]
async fn egress_refuses_before_a_proxy_is_asked() {
    let proxy = hello().await;
    let client = Client::under("[egress]\nallow = [\"http://*.corp.example\", \"169.254.0.0/16\"]\n");
    let client = client.variable("ALL_PROXY", &proxy.url("")).build();
    for (url, kind) in [
        ("http://evil.example/", Kind::Denied),
        ("https://llm.corp.example/", Kind::Denied),
        ("http://169.254.169.254/", Kind::AddressDenied([169, 254, 169, 254].into())),
        ("http://10.0.0.1/", Kind::AddressDenied([10, 0, 0, 1].into())),
        ("http://2130706433/", Kind::AddressDenied([127, 0, 0, 1].into())),
    ] {
        let error = client.get(url).await.unwrap_err();
        assert_eq!((error.stage(), error.kind()), (Stage::Egress, kind), "{error}");
    }
    assert_eq!(proxy.ledger().accepted, 0);
    // R6: a name that is allowed goes to the proxy without being looked up here, and the proxy may be where it likes.
    assert_eq!(client.get("http://llm.corp.example/").await.unwrap().body, "hello");
    assert_eq!(proxy.ledger().targets(), ["http://llm.corp.example/"]);
}

/// X5, by example: what NO_PROXY covers is reached directly. Beside curl itself the matcher is held in its own file.
#[tokio::test]
async fn no_proxy_is_honoured() {
    let (origin, proxy) = (hello().await, Origin::plain(|_: &_| Answer::ok("proxy")).await);
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
        let client = Client::under("").to(&origin).variable("ALL_PROXY", &proxy.url("")).variable("NO_PROXY", bypass);
        let reply = client.build().get(&origin.url("/")).await.unwrap();
        assert_eq!(reply.body, if direct { "hello" } else { "proxy" }, "{bypass:?}");
    }
}
