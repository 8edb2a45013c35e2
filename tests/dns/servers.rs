//! `dns.servers`: the real dnsmasq in the place of the system's resolver.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use seaway_session::{Error, Kind, Stage};
use seaway_tests::answer::Answer;
use seaway_tests::client::{Client, address};
use seaway_tests::dnsmasq::{Dnsmasq, Relay};
use seaway_tests::error::assert_says;
use seaway_tests::eventually;
use seaway_tests::folder::Folder;
use seaway_tests::origin::Origin;
use tokio::time::Instant;

/// A policy under which every request opens a connection, and whose `[dns]` asks these servers and says `rest`.
fn policy(servers: &[SocketAddr], rest: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    format!("[pool]\nforce_close = true\n[dns]\nservers = [{}]\n{rest}\n", servers.join(", "))
}

async fn hello() -> Origin {
    Origin::plain(|_: &_| Answer::ok("hello")).await
}

/// A server that is bound and says nothing.
fn silent() -> (std::net::UdpSocket, SocketAddr) {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn failed(error: &Error, rcode: &str, words: &str) {
    assert_says(error, Stage::Dns, Kind::DnsFailed, &[words, rcode]);
    assert_eq!(error.rcode().as_deref(), Some(rcode), "{error}");
    assert!(!error.request_sent());
}

/// D1: how often is asked follows from `dns.ttl`, or from the records where it says so, within bounds.
#[tokio::test]
async fn a_server_is_asked_as_often_as_the_ttl_says() {
    let names = [("one.example", 1), ("ten.example", 10), ("long.example", 600)];
    let lines = names.map(|(name, ttl)| format!("host-record={name},127.0.0.1,{ttl}"));
    let Some(server) = Dnsmasq::start(&lines.each_ref().map(String::as_str)).await else { return };
    let origin = hello().await;
    let client = |rest: &str| {
        let client = Client::under(&policy(&[server.address()], rest));
        names.iter().fold(client, |client, (name, _)| client.destination(&origin.at(name, ""))).build()
    };
    // How often is asked for each name while the records of the first one expire, once: exactly.
    let clients = [
        ("ttl = \"600s\"", [1, 1, 1]),
        ("ttl = \"record\"", [2, 1, 1]),
        ("ttl = \"record\"\nttl_min = \"1m\"", [1, 1, 1]),
        ("ttl = \"record\"\nttl_min = \"1ms\"\nttl_max = \"1s\"", [2, 2, 2]),
    ];
    for (rest, expected) in clients {
        let client = client(rest);
        let before = names.map(|(name, _)| server.asked("A", name));
        let since = |at: usize| server.asked("A", names[at].0) - before[at];
        let (start, mut pace) = (Instant::now(), tokio::time::interval(Duration::from_millis(20)));
        let over = || start.elapsed() >= Duration::from_millis(1200);
        while !over() || (0..3).any(|at| since(at) < expected[at]) {
            assert!(start.elapsed() < seaway_tests::PATIENCE, "{rest}: {}", server.log());
            pace.tick().await;
            for (at, (name, _)) in names.into_iter().enumerate() {
                // One that has been asked for anew would be again.
                if since(at) < 2 {
                    assert_eq!(client.get(&origin.at(name, "/")).await.unwrap().body, "hello", "{rest}");
                    let now = since(at);
                    assert!(now == 1 || start.elapsed() >= Duration::from_secs(1), "{name}, {rest}: {now}");
                }
            }
        }
        assert_eq!([0, 1, 2].map(since), expected, "{rest}");
    }
    // "off" asks for each connection.
    let (client, before) = (client("ttl = \"off\""), server.asked("A", "long.example"));
    for asked in 1..=5 {
        client.get(&origin.at("long.example", "/")).await.unwrap();
        assert_eq!(server.asked("A", "long.example") - before, asked);
    }
}

/// D2: 500 cold lookups at once are one question for A and one for AAAA, though the first caller goes away.
#[tokio::test]
async fn many_callers_put_each_question_once() {
    let Some(server) = Dnsmasq::start(&["host-record=many.example,127.0.0.1,600"]).await else { return };
    let relay = Relay::silent(server.address()).await;
    let origin = hello().await;
    let url = origin.at("many.example", "/");
    let client = Client::under(&policy(&[relay.address()], "").replace("force_close = true", "limit = 500"));
    let client = client.destination(&url).build();
    let mut all: Vec<_> = (0..500).map(|_| Box::pin(client.get(&url))).collect();
    for caller in &mut all {
        assert!(futures::poll!(caller).is_pending());
    }
    eventually("all of them are at it", || client.figures().open == 500).await;
    drop(all.remove(0));
    relay.speak();
    for reply in join_all(all).await {
        assert_eq!(reply.unwrap().body, "hello");
    }
    assert_eq!((server.asked("A", "many.example"), server.asked("AAAA", "many.example")), (1, 1));
}

/// D3: a name that is not there is so for `dns.negative_ttl`, and is found once it appears.
#[tokio::test]
async fn a_name_that_appears_is_found() {
    let names = Folder::new();
    let folder = format!("hostsdir={}", names.path().display());
    let Some(server) = Dnsmasq::start(&["local=/example/", &folder]).await else { return };
    let origin = hello().await;
    let url = origin.at("late.example", "/");
    let client = |life: &str| {
        let policy = policy(&[server.address()], &format!("negative_ttl = \"{life}\""));
        Client::under(&policy).destination(&url).build()
    };
    let (patient, eager) = (client("1h"), client("50ms"));
    for client in [&patient, &patient, &eager] {
        let error = client.get(&url).await.unwrap_err();
        failed(&error, "NXDOMAIN", &format!("`late.example` did not resolve: {} says that", server.address()));
    }
    assert_eq!(server.asked("A", "late.example"), 2);
    names.write("late", "127.0.0.1 late.example\n");
    eventually("dnsmasq reads the name", || server.log().contains("/late - 1 names")).await;
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let deadline = Instant::now() + seaway_tests::PATIENCE;
    while client_fails(&eager, &url).await {
        assert!(Instant::now() < deadline, "the name never came: {}", server.log());
        pace.tick().await;
    }
    // For this one the name is still not there.
    assert!(client_fails(&patient, &url).await);
}

async fn client_fails(client: &Client, url: &str) -> bool {
    client.get(url).await.is_err()
}

/// D4, T3: a dead server costs a lookup `dns.timeout`, and what it said last stands in for a while.
#[tokio::test]
async fn a_server_that_dies_leaves_its_last_answer() {
    let Some(server) = Dnsmasq::start(&["host-record=old.example,127.0.0.1,600"]).await else { return };
    let origin = hello().await;
    let (known, unknown) = (origin.at("old.example", "/"), origin.at("new.example", "/"));
    let rest = "ttl = \"off\"\ntimeout = \"1s\"\nstale_if_error = \"1h\"";
    let client = Client::under(&policy(&[server.address()], rest)).destination(&known).destination(&unknown).build();
    assert_eq!(client.get(&known).await.unwrap().body, "hello");
    assert_eq!(client.figures().stale, 0);
    drop(server);
    let start = Instant::now();
    assert_eq!(client.get(&known).await.unwrap().body, "hello");
    assert_eq!(client.figures().stale, 1);
    assert!(start.elapsed() >= Duration::from_secs(1));
    let error = client.get(&unknown).await.unwrap_err();
    assert_says(&error, Stage::Dns, Kind::DnsTimeout, &["`dns.timeout` of 1s passed", &unknown[..unknown.len() - 1]]);
    assert_eq!(error.rcode(), None);
    client.settles(0, 0).await;
}

/// D5: of the addresses of one answer, one that is alive is enough, whichever family is dead.
#[tokio::test]
async fn one_living_address_of_an_answer_is_enough() {
    let origin = hello().await;
    let names = [
        ("v4.example", "127.0.0.1", [1, 1]),
        ("v6-dead.example", "127.0.0.1,::1", [1, 1]),
        ("both.example", "127.0.0.3,::1", [1, 1]),
    ];
    let mut lines = names.map(|(name, addresses, _)| format!("host-record={name},{addresses},600")).to_vec();
    lines.push("host-record=both.example,127.0.0.1,600".to_owned());
    let Some(server) = Dnsmasq::start(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await else { return };
    for (name, _, asked) in names {
        let client = Client::under(&policy(&[server.address()], "")).destination(&origin.at(name, "")).build();
        for _ in 0..4 {
            assert_eq!(client.get(&origin.at(name, "/")).await.unwrap().body, "hello", "{name}");
        }
        assert_eq!([server.asked("A", name), server.asked("AAAA", name)], asked, "{name}");
    }
    assert_eq!(origin.ledger().accepted, 12);
}

/// D7: a server that is slow ends callers at `dns.timeout`; they put one question among them, and its answer is kept.
#[tokio::test]
async fn a_slow_server_is_asked_once_and_its_answer_kept() {
    let Some(knows) = Dnsmasq::start(&["host-record=slow.example,127.0.0.1,600"]).await else { return };
    let upstream = Relay::silent(knows.address()).await;
    let forward = format!("server=127.0.0.1#{}", upstream.address().port());
    let Some(server) = Dnsmasq::start(&[&forward]).await else { return };
    let origin = hello().await;
    let url = origin.at("slow.example", "/");
    let rest = "timeout = \"200ms\"\nfamily = \"ipv4\"";
    let client = Client::under(&policy(&[server.address()], rest)).destination(&url).build();
    for round in 0..3 {
        for ended in join_all((0..10).map(|_| client.get(&url))).await {
            let error = ended.unwrap_err();
            assert_says(&error, Stage::Dns, Kind::DnsTimeout, &["`dns.timeout` of 200ms passed"]);
        }
        // UDP loses packets: a lookup repeats its own question, twice at most and a second apart.
        assert!((1..=3).contains(&server.asked("A", "slow.example")), "{round}: {}", server.log());
    }
    upstream.speak();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let deadline = Instant::now() + seaway_tests::PATIENCE;
    while client_fails(&client, &url).await {
        assert!(Instant::now() < deadline, "the answer never came: {}", server.log());
        pace.tick().await;
    }
    let asked = server.asked("A", "slow.example");
    assert_eq!(client.get(&url).await.unwrap().body, "hello");
    assert_eq!((server.asked("A", "slow.example"), server.asked("AAAA", "slow.example")), (asked, 0));
}

/// What a server says that has no address is told apart, in words and as a code.
#[tokio::test]
async fn what_a_server_says_is_told() {
    let lines = ["local=/nowhere.example/", "host-record=six.example,::1", "local=/six.example/"];
    let Some(server) = Dnsmasq::start(&lines).await else { return };
    let ask = async |name: &str| {
        let url = format!("http://{name}:8000");
        let client = Client::under(&policy(&[server.address()], "family = \"ipv4\"")).destination(&url).build();
        client.get(&url).await.unwrap_err()
    };
    failed(&ask("a.nowhere.example").await, "NXDOMAIN", "says that there is no such name (NXDOMAIN)");
    failed(&ask("six.example").await, "NOERROR", "says that it has no IPv4 address (NOERROR)");
    // It knows of no server that it could ask.
    failed(&ask("elsewhere.test").await, "REFUSED", "does not answer us (REFUSED)");
    assert_eq!(server.asked("AAAA", "six.example"), 0);
}

/// A server that fails makes way for the next one, and one that knows does not.
#[tokio::test]
async fn the_next_server_is_asked_where_one_fails() {
    let names = ["local=/gone.example/", "host-record=here.example,127.0.0.1,600"];
    let Some(knows) = Dnsmasq::start(&names).await else { return };
    let Some(refuses) = Dnsmasq::start(&[]).await else { return };
    let fails = Relay::with_rcode(refuses.address(), 2).await;
    let origin = hello().await;
    let (knows_at, refuses_at, fails_at) = (knows.address(), refuses.address(), fails.address());
    let get = async |servers: &[SocketAddr], name: &str| {
        let url = origin.at(name, "/");
        Client::under(&policy(servers, "")).destination(&url).build().get(&url).await
    };
    assert_eq!(get(&[refuses_at, fails_at, knows_at], "here.example").await.unwrap().body, "hello");
    assert_eq!([&refuses, &knows].map(|server| server.asked("A", "here.example")), [2, 1]);
    // The first of them speaks for all.
    failed(&get(&[refuses_at, fails_at], "here.example").await.unwrap_err(), "REFUSED", &refuses_at.to_string());
    failed(&get(&[fails_at, refuses_at], "here.example").await.unwrap_err(), "SERVFAIL", &fails_at.to_string());
    let error = get(&[knows_at, refuses_at], "gone.example").await.unwrap_err();
    failed(&error, "NXDOMAIN", &format!("{knows_at} says that there is no such name"));
    assert_eq!(refuses.asked("A", "gone.example"), 0);
}

/// A dead server costs the first lookup its share of `dns.timeout`, and is asked last from then on.
#[tokio::test]
async fn a_dead_server_costs_the_first_lookup_its_share() {
    let names = ["host-record=one.example,127.0.0.1,600", "host-record=two.example,127.0.0.1,600"];
    let Some(server) = Dnsmasq::start(&names).await else { return };
    let (dead, address) = silent();
    dead.set_nonblocking(true).unwrap();
    let asked = || std::iter::from_fn(|| dead.recv(&mut [0; 512]).ok()).count();
    let origin = hello().await;
    let (one, two) = (origin.at("one.example", "/"), origin.at("two.example", "/"));
    let policy = policy(&[address, server.address()], "timeout = \"4s\"");
    let client = Client::under(&policy).destination(&one).destination(&two).build();
    let start = Instant::now();
    assert_eq!(client.get(&one).await.unwrap().body, "hello");
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(asked() >= 2, "for A and for AAAA");
    assert_eq!(client.get(&two).await.unwrap().body, "hello");
    assert_eq!(asked(), 0);
}

/// An answer that does not fit into a packet of UDP is fetched over TCP, whole.
#[tokio::test]
async fn a_long_answer_is_fetched_over_tcp() {
    // The name leads to 200 addresses, of which egress lets one pass.
    let lines: Vec<_> = (1..=200).map(|host| format!("host-record=long.example,127.0.1.{host},600")).collect();
    let Some(server) = Dnsmasq::start(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await else { return };
    let origin = Origin::everywhere(|_: &_| Answer::ok("hello")).await;
    let url = origin.at("long.example", "/");
    let policy = policy(&[server.address()], "family = \"ipv4\"");
    for host in [1, 100, 200] {
        let policy = format!("{policy}[egress]\nprivate = [\"127.0.1.{host}\"]");
        let client = Client::under(&policy).built_in(&url, false).build();
        assert_eq!(client.get(&url).await.unwrap().body, "hello", "{host}");
    }
    // Over UDP and over TCP, by each client.
    assert_eq!(server.asked("A", "long.example"), 6);
}

/// Connections spread over the addresses of one answer, each beginning with the next one.
#[tokio::test]
async fn connections_spread_over_the_addresses_of_an_answer() {
    let lines = [1, 2, 3].map(|host| format!("host-record=spread.example,{},600", address(host)));
    let Some(server) = Dnsmasq::start(&lines.each_ref().map(String::as_str)).await else { return };
    let first = hello().await;
    let mut origins = vec![];
    for host in [2, 3] {
        origins.push(first.beside(Ipv4Addr::new(127, 0, 0, host), |_: &_| Answer::ok("hello")).await);
    }
    origins.insert(0, first);
    let url = origins[0].at("spread.example", "/");
    let client = Client::under(&policy(&[server.address()], "")).destination(&url).build();
    let accepted = || origins.iter().map(|origin| origin.ledger().accepted).collect::<Vec<_>>();
    for connections in 1..=9 {
        assert_eq!(client.get(&url).await.unwrap().body, "hello");
        // Of any three in a row, each address has one.
        let (least, most) = (connections / 3, usize::div_ceil(connections, 3));
        assert!(accepted().iter().all(|count| (least..=most).contains(count)), "{:?}", accepted());
    }
    assert_eq!(server.asked("A", "spread.example"), 1);
}

/// Each set of servers has a resolver of its own, whichever origins use it, and keeps what it knows over a swap that does
/// not change `[dns]`.
#[tokio::test]
async fn each_set_of_servers_has_its_own_answers() {
    let lines = ["host-record=here.example,127.0.0.1,600", "host-record=there.example,127.0.0.1,600"];
    let (Some(own), Some(common)) = (Dnsmasq::start(&lines).await, Dnsmasq::start(&lines).await) else { return };
    let origin = hello().await;
    let [here, there] = ["here.example", "there.example"].map(|name| origin.at(name, "/"));
    let policy = |rest: &str| {
        let section = here.trim_end_matches('/');
        let common = policy(&[common.address()], "family = \"ipv4\"");
        format!("{common}[origin.\"{section}\"]\ndns.servers = [\"{}\"]\n{rest}", own.address())
    };
    let client = Client::under(&policy("")).destination(&here).destination(&there).build();
    let asked = |name: &str| [&own, &common].map(|server| server.asked("A", name));
    let both = async || {
        for url in [&here, &there, &here, &there] {
            assert_eq!(client.get(url).await.unwrap().body, "hello");
        }
        [asked("here.example"), asked("there.example")]
    };
    assert_eq!(both().await, [[1, 0], [0, 1]]);
    client.swap(&policy("body.timeout = \"10s\"")).unwrap();
    assert_eq!(both().await, [[1, 0], [0, 1]]);
    client.swap(&policy("dns.negative_ttl = \"10s\"")).unwrap();
    assert_eq!(both().await, [[2, 0], [0, 1]]);
    // Two origins that ask the same servers share what is known.
    let shared = format!("[origin.\"{}\"]\nbody.timeout = \"10s\"", here.trim_end_matches('/'));
    client.swap(&self::policy(&[own.address()], &format!("family = \"ipv4\"\n{shared}"))).unwrap();
    assert_eq!(both().await, [[3, 0], [1, 1]]);
}

/// R1: a name whose answers alternate is judged at every connection, and what it must not lead to is never dialled.
#[tokio::test]
async fn a_name_that_is_rebound_never_leads_inside() {
    // 127.0.0.2 stands for an address that the name may have, 127.0.0.1 for all of 127/8 that it may not.
    let outside = Dnsmasq::start(&["host-record=rebound.example,127.0.0.2,0"]).await;
    let inside = Dnsmasq::start(&["host-record=rebound.example,127.0.0.1,0"]).await;
    let (Some(outside), Some(inside)) = (outside, inside) else { return };
    let relay = Relay::to(vec![outside.address(), inside.address()]).await;
    let victim = Origin::plain(|_: &_| Answer::ok("secret")).await;
    let origin = victim.beside(Ipv4Addr::new(127, 0, 0, 2), |_: &_| Answer::ok("hello")).await;
    let url = origin.at("rebound.example", "/");
    let policy = policy(&[relay.address()], "ttl = \"off\"\nstale_if_error = \"off\"\nfamily = \"ipv4\"");
    let policy = format!("{policy}[egress]\nprivate = [\"127.0.0.2\"]");
    let client = Client::under(&policy).built_in(&url, false).build();
    let (mut reached, mut refused) = (0, 0);
    for _ in 0..1000 {
        match client.get(&url).await {
            Ok(reply) => {
                assert_eq!(reply.body, "hello");
                reached += 1;
            }
            Err(error) => {
                let words = "`rebound.example` leads to 127.0.0.1, a loopback address";
                assert_says(&error, Stage::Egress, Kind::AddressDenied(Ipv4Addr::LOCALHOST.into()), &[words]);
                refused += 1;
            }
        }
    }
    assert_eq!((reached, refused), (500, 500));
    assert_eq!((origin.ledger().accepted, victim.ledger().accepted), (500, 0));
}
