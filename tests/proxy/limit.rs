//! `proxy.limit`: sockets to one proxy, whatever lies behind it.

use futures::future::join_all;
use seaway_session::{Kind, Stage};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::client::Client;
use seaway_tests::error::assert_says;
use seaway_tests::kernel;
use seaway_tests::origin::Origin;

use super::hello;

/// Nine requests to three origins behind a proxy share two sockets; what goes directly is not held up.
#[tokio::test]
async fn a_proxy_gets_no_more_sockets_than_its_limit() {
    let gate = Gate::shut();
    let proxy = {
        let gate = gate.clone();
        Origin::plain(move |_: &_| Answer::ok("by proxy").after(&gate)).await
    };
    let direct = hello().await;
    let client = Client::under("[proxy]\nlimit = 2\n").to(&direct);
    let hosts = ["http://a.example", "http://b.example", "http://c.example"];
    let client = hosts.iter().fold(client, |client, host| client.destination(host));
    let client = client.variable("http_proxy", &proxy.url("")).variable("no_proxy", "127.0.0.1").build();
    let all = join_all((0..9).map(|at| {
        let (client, url) = (&client, format!("{}/{at}", hosts[at % 3]));
        async move { client.get(&url).await.unwrap().body }
    }));
    let watch = async {
        for served in 1..=9 {
            proxy.requests(served.min(2)).await;
            assert_eq!(client.get(&direct.url("/")).await.unwrap().body, "hello");
            assert!(kernel::peak_to(proxy.port(), 2) <= 2);
            gate.open(1);
            proxy.until("the next request is there", |ledger| ledger.requests.len() >= (served + 2).min(9)).await;
        }
    };
    let (bodies, ()) = tokio::join!(all, watch);
    assert!(bodies.iter().all(|body| *body == "by proxy"));
    assert!(proxy.ledger().kernel_peak <= 2, "{}", proxy.ledger().kernel_peak);
    assert_eq!(proxy.ledger().peak, 2);
}

/// A wait that ends names the limit that is full, and the proxy.
#[tokio::test]
async fn a_wait_for_a_full_proxy_names_it() {
    let gate = Gate::shut();
    let proxy = {
        let gate = gate.clone();
        Origin::plain(move |_: &_| Answer::ok("by proxy").after(&gate)).await
    };
    let client = Client::under("[proxy]\nlimit = 1\n[pool]\ntimeout = \"30ms\"\n");
    let client = client.destination("http://a.example").destination("http://b.example");
    let client = client.variable("http_proxy", &proxy.url("")).build();
    let refused = async {
        proxy.requests(1).await;
        let error = client.get("http://b.example/").await.unwrap_err();
        let words = ["`proxy.limit` of 1 is full", &format!("1 open to {}", proxy.url(""))];
        assert_says(&error, Stage::Pool, Kind::ConnectionLimit, &words);
        gate.open(1);
    };
    let (first, ()) = tokio::join!(client.get("http://a.example/"), refused);
    assert_eq!(first.unwrap().body, "by proxy");
}
