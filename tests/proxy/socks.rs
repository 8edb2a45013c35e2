//! SOCKS 5 proxies, and where names become addresses.

use seaway_session::{Kind, Stage};
use seaway_tests::client::Client;
use seaway_tests::daemon::missing;
use seaway_tests::error::{SECRET, assert_says};
use seaway_tests::kernel;
use seaway_tests::proxies::{USER, dante, microsocks, microsocks_at};

use super::{hello, secure};

/// X12: http and https, by name and by address, through dante; nothing of a proxy shows to the origin.
#[tokio::test]
async fn dante_leads_to_origins_by_name_and_by_address() {
    let Some(dante) = dante().await else { return };
    for scheme in ["socks5", "socks5h"] {
        let (plain, (secret, client)) = (hello().await, secure("").await);
        let client = client.to(&plain).variable("all_proxy", &format!("{scheme}://127.0.0.1:{}", dante.port())).build();
        for url in [plain.url("/"), plain.at("localhost", "/"), secret.url("/"), secret.at("127.0.0.1", "/")] {
            assert_eq!(client.get(&url).await.unwrap().body, "hello", "{scheme} {url}");
        }
        assert!(plain.ledger().requests.iter().all(|request| request.target == "/" && !request.head.contains("roxy")));
    }
}

/// X12: microsocks wants to know who we are.
#[tokio::test]
async fn microsocks_lets_through_whom_it_knows() {
    let Some(microsocks) = microsocks(SECRET).await else { return };
    let at = format!("127.0.0.1:{}", microsocks.port());
    for scheme in ["socks5", "socks5h"] {
        for (login, words) in [
            (format!("{USER}:{SECRET}@"), &[][..]),
            (
                format!("{USER}:no@"),
                &["did not accept the user and the password", "of `HTTPS_PROXY` is not the proxy's"],
            ),
            (String::new(), &["wants a user and a password", "HTTPS_PROXY=socks5", "://USER:PASSWORD@127.0.0.1:"]),
        ] {
            let (origin, client) = secure("").await;
            let client = client.variable("HTTPS_PROXY", &format!("{scheme}://{login}{at}")).build();
            match client.get(&origin.url("/")).await {
                Ok(reply) => assert!(words.is_empty() && reply.body == "hello"),
                Err(error) => {
                    assert!(!words.is_empty(), "{error}");
                    assert_says(&error, Stage::Proxy, Kind::Unavailable, words);
                    assert_eq!(origin.ledger().accepted, 0);
                }
            }
        }
    }
}

/// X12: with `socks5` the name is looked up here and its addresses are judged; with `socks5h` both are the proxy's.
#[tokio::test]
async fn the_scheme_says_where_names_become_addresses() {
    let Some(dante) = dante().await else { return };
    let proxy = |scheme: &str| format!("{scheme}://127.0.0.1:{}", dante.port());
    // A name that nobody can resolve: who tried tells who resolves.
    let client = |scheme: &str| {
        Client::under("").destination("http://nowhere.invalid").variable("all_proxy", &proxy(scheme)).build()
    };
    let error = client("socks5").get("http://nowhere.invalid/").await.unwrap_err();
    assert_says(&error, Stage::Dns, Kind::DnsFailed, &["`nowhere.invalid` did not resolve"]);
    let error = client("socks5h").get("http://nowhere.invalid/").await.unwrap_err();
    assert_says(&error, Stage::Proxy, Kind::Unavailable, &["socks5h://127.0.0.1:", "of `all_proxy`"]);
    // A name that leads to this machine, and is not allowed to.
    let origin = hello().await;
    let url = origin.at("localhost", "/");
    let client = |scheme: &str| Client::under("").built_in(&url, false).variable("all_proxy", &proxy(scheme)).build();
    let error = client("socks5").get(&url).await.unwrap_err();
    assert_eq!((error.stage(), error.kind()), (Stage::Egress, Kind::AddressDenied([127, 0, 0, 1].into())), "{error}");
    assert_eq!(origin.ledger().accepted, 0);
    assert_eq!(client("socks5h").get(&url).await.unwrap().body, "hello");
}

/// X12: what the proxy cannot reach is told as what it is.
#[tokio::test]
async fn a_destination_that_the_proxy_cannot_reach_is_told() {
    let Some(dante) = dante().await else { return };
    let closed = hello().await.url("/");
    for scheme in ["socks5", "socks5h"] {
        let proxy = format!("{scheme}://127.0.0.1:{}", dante.port());
        let client = Client::under("").destination(&closed).variable("all_proxy", &proxy).build();
        let error = client.get(&closed).await.unwrap_err();
        assert_says(&error, Stage::Proxy, Kind::Unavailable, &["could not reach the destination: Connection refused"]);
        client.settles(0, 0).await;
    }
}

/// X12: an address that the proxy cannot reach is not the last word where there is another, nor one socket too many.
#[tokio::test]
async fn the_next_address_is_tried_where_the_proxy_cannot_reach_one() {
    let Some(dante) = dante().await else { return };
    let origin = hello().await;
    let url = format!("http://two.example:{}/", origin.port());
    let policy =
        "[pool]\nlimit = 1\n[dns]\nhosts = { \"two.example\" = [\"127.0.0.9\", \"127.0.0.8\", \"127.0.0.1\"] }\n";
    let client = Client::under(policy).destination(&url);
    let client = client.variable("all_proxy", &format!("socks5://127.0.0.1:{}", dante.port())).build();
    assert_eq!(client.get(&url).await.unwrap().body, "hello");
    client.settles(1, 1).await;
    assert_eq!(kernel::sockets_to(dante.port()), 1);
}

/// X12: a proxy at an IPv6 address, and an origin at one.
#[tokio::test]
async fn a_proxy_may_have_an_ipv6_address() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return missing("this machine has no IPv6");
    }
    let Some(microsocks) = microsocks_at("::1", SECRET).await else { return };
    let (plain, (secret, client)) = (hello().await, secure("").await);
    for scheme in ["socks5", "socks5h"] {
        let proxy = format!("{scheme}://{USER}:{SECRET}@[::1]:{}", microsocks.port());
        let client = Client::under("").to(&plain).variable("all_proxy", &proxy).build();
        assert_eq!(client.get(&plain.url("/")).await.unwrap().body, "hello");
    }
    let client =
        client.variable("all_proxy", &format!("socks5h://{USER}:{SECRET}@[::1]:{}", microsocks.port())).build();
    assert_eq!(client.get(&secret.url("/")).await.unwrap().body, "hello");
    // Nobody listens there: it is the proxy that says so, of an address that it could read.
    let url = format!("http://[::1]:{}/", plain.port());
    let client = Client::under("").destination(&url);
    let client = client.variable("all_proxy", &format!("socks5://{USER}:{SECRET}@[::1]:{}", microsocks.port())).build();
    let error = client.get(&url).await.unwrap_err();
    assert_says(&error, Stage::Proxy, Kind::Unavailable, &["could not reach the destination: Connection refused"]);
}
