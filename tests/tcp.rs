//! `tcp`: connecting, and what a peer says that cannot be connected to.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use seaway_session::{Kind, Stage, Timeouts};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::certificates::Leaf;
use seaway_tests::client::{Client, get};
use seaway_tests::error::assert_says;
use seaway_tests::kernel;
use seaway_tests::origin::Origin;
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

/// A listener whose queue is full: the kernel drops every SYN that comes (tcp(7), tcp_abort_on_overflow).
struct BlackHole {
    port: u16,
    _sockets: Vec<Socket>,
}

impl BlackHole {
    fn new() -> Self {
        Self::at(Ipv4Addr::LOCALHOST, 0)
    }

    fn at(address: Ipv4Addr, port: u16) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((address, port)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut sockets = vec![listener];
        for _ in 0..3 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            drop(filler.connect(&address));
            sockets.push(filler);
        }
        Self { port: address.as_socket().unwrap().port(), _sockets: sockets }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// A closed port.
#[tokio::test]
async fn a_closed_port_says_refused_and_where() {
    let origin = Origin::plain(|_: &_| Answer::ok("")).await;
    let (url, port) = (origin.url(""), origin.port());
    drop(origin);
    let error = Client::under("").destination(&url).build().get(&url).await.unwrap_err();
    let address = format!("127.0.0.1:{port} refused the connection");
    assert_says(&error, Stage::Tcp, Kind::ConnectionRefused, &[&address, &url, "after"]);
    assert!(!error.request_sent());
}

/// T1: nobody answers the SYN.
#[tokio::test]
async fn connecting_ends_at_tcp_timeout() {
    let hole = BlackHole::new();
    let client = Client::under("[tcp]\ntimeout = \"300ms\"").destination(&hole.url()).build();
    let start = Instant::now();
    let error = client.get(&hole.url()).await.unwrap_err();
    assert_says(&error, Stage::Tcp, Kind::ConnectTimeout, &["`tcp.timeout`", &hole.url()]);
    assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < Duration::from_secs(10));
    client.settles(0, 0).await;
}

/// T9: the guest's own deadline wins where it is shorter, and loses where it is longer.
#[tokio::test]
async fn the_shorter_connect_deadline_wins() {
    let hole = BlackHole::new();
    for (policy, caller, word) in [("20s", 200, "`connect-timeout` of 200ms"), ("200ms", 20_000, "`tcp.timeout`")] {
        let client = Client::under(&format!("[tcp]\ntimeout = \"{policy}\"")).destination(&hole.url()).build();
        let timeouts = Timeouts { connect: Some(Duration::from_millis(caller)), ..Timeouts::default() };
        let start = Instant::now();
        let error = client.within(get(&hole.url()), timeouts).await.unwrap_err();
        assert_eq!(error.kind(), Kind::ConnectTimeout, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(start.elapsed() >= Duration::from_millis(200) && start.elapsed() < Duration::from_secs(10));
    }
}

/// `connect` bounds waiting and opening together, wherever the time goes; a caller's own may only shorten it.
#[tokio::test]
async fn connect_covers_the_wait_tcp_and_tls() {
    let (hole, gate) = (BlackHole::new(), Gate::shut());
    let silent = Origin::tls_after(&gate, Leaf::self_signed(&["localhost"]).server(), |_: &_| Answer::ok("")).await;
    let policy = "connect = \"250ms\"\n[pool]\nlimit = 2\n[tcp]\ntimeout = \"4s\"\n[tls]\ntimeout = \"4s\"\n\
                  roots = \"none\"\nca = [\"ca.pem\"]";
    let ca = Leaf::self_signed(&["localhost"]);
    let client = Client::under(policy).file("ca.pem", ca.pem()).destination(&hole.url()).to(&silent).build();
    let fails = async |url: &str, caller: Option<u64>, word: &str| {
        let timeouts = Timeouts { connect: caller.map(Duration::from_millis), ..Timeouts::default() };
        let start = Instant::now();
        let error = client.within(get(url), timeouts).await.unwrap_err();
        assert_says(&error, Stage::Pool, Kind::ConnectTimeout, &[word]);
        assert!(!error.request_sent());
        assert!(start.elapsed() >= Duration::from_millis(100) && start.elapsed() < Duration::from_millis(3900));
    };
    // Two are being opened, for tcp and tls; the third finds no room.
    let (tcp, tls) = (hole.url(), silent.url("/"));
    tokio::join!(fails(&tcp, None, "`connect` of 250ms passed"), fails(&tls, Some(9_000), "`connect` of 250ms passed"));
    fails(&hole.url(), Some(100), "`connect-timeout` of 100ms passed").await;
    assert_eq!(client.figures().open, 2);
    // What was being opened ends by its own deadlines.
    client.settles(0, 0).await;
}

/// `total` covers connecting, and a request that gave up leaves its place to the next.
#[tokio::test]
async fn total_covers_connecting() {
    let hole = BlackHole::new();
    let client = Client::under("total = \"200ms\"\n[tcp]\ntimeout = \"400ms\"").destination(&hole.url()).build();
    let error = client.get(&hole.url()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TotalTimeout, "{error}");
    assert!(error.to_string().contains("`total` of 200ms passed"), "{error}");
    // The opening outlives the request, and no longer than its own deadline.
    client.settles(0, 0).await;
}

/// D5: a name with several addresses is reached if one of them answers.
#[tokio::test]
async fn one_good_address_is_enough() {
    // `localhost` is ::1 too on many machines; the origin listens on 127.0.0.1 alone.
    let origin = Origin::plain(|_: &_| Answer::ok("hello")).await;
    let client = Client::under("[pool]\nlimit = 1").to(&origin).build();
    assert_eq!(client.get(&origin.at("localhost", "/")).await.unwrap().body, "hello");
    client.settles(1, 1).await;
    assert_eq!(kernel::sockets_to(origin.port()), 1);
}

/// D5: addresses that do not answer cost their head start each, and with no room to race, their share of the deadline.
#[tokio::test]
async fn addresses_that_do_not_answer_cost_their_head_start() {
    let origin = Origin::plain(|_: &_| Answer::ok("hello")).await;
    let _holes = [2, 3].map(|host| BlackHole::at(Ipv4Addr::new(127, 0, 0, host), origin.port()));
    let url = origin.at("several.example", "/");
    let hosts = "[dns]\nhosts = { \"several.example\" = [\"127.0.0.2\", \"127.0.0.3\", \"127.0.0.1\"] }\n";
    for (policy, least, most) in [
        ("", 500, 5_000),
        ("[tcp]\nhappy_eyeballs = \"20ms\"", 40, 400),
        ("[pool]\nlimit = 1\n[tcp]\ntimeout = \"3s\"", 2_000, 3_000),
    ] {
        let client = Client::under(&format!("{hosts}{policy}")).destination(&url).build();
        let start = Instant::now();
        assert_eq!(client.get(&url).await.unwrap().body, "hello", "{policy}");
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(least) && took < Duration::from_millis(most), "{policy}: {took:?}");
        client.settles(1, 1).await;
    }
}

/// D5: whichever family is dead, the other one is used.
#[tokio::test]
async fn a_dead_family_is_passed_over() {
    let origin = Origin::plain(|_: &_| Answer::ok("hello")).await;
    let url = origin.at("mixed.example", "/");
    for addresses in ["\"::1\", \"127.0.0.1\"", "\"127.0.0.1\", \"::1\"", "\"127.0.0.9\", \"::1\", \"127.0.0.1\""] {
        let policy = format!("[dns]\nhosts = {{ \"mixed.example\" = [{addresses}] }}");
        let client = Client::under(&policy).destination(&url).build();
        assert_eq!(client.get(&url).await.unwrap().body, "hello", "{addresses}");
    }
}

/// `tcp.local_address`: connections come from it, and an address that is not this machine's says so.
#[tokio::test]
async fn connections_come_from_the_local_address() {
    let origin = Origin::everywhere(|_: &_| Answer::ok("hello")).await;
    let client = Client::under("[tcp]\nlocal_address = \"127.0.0.77\"\nuser_timeout = \"30s\"").to(&origin).build();
    assert_eq!(client.get(&origin.url("/")).await.unwrap().body, "hello");
    assert_eq!(origin.ledger().peers, [Ipv4Addr::new(127, 0, 0, 77)]);
    let client = Client::under("[tcp]\nlocal_address = \"192.0.2.77\"").to(&origin).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    assert_says(&error, Stage::Tcp, Kind::Unavailable, &["`tcp.local_address` of 192.0.2.77 cannot be used"]);
    let client = Client::under("[tcp]\nlocal_address = \"::1\"").to(&origin).build();
    let error = client.get(&origin.url("/")).await.unwrap_err();
    let words =
        ["`tcp.local_address` of ::1 is IPv6, and the host has IPv4 addresses only", "hint: write an IPv4 address"];
    assert_says(&error, Stage::Tcp, Kind::Unavailable, &words);
    client.settles(0, 0).await;
}
