//! HTTP/2 against real servers: one connection for many exchanges, and what becomes of them when it goes.

use std::time::Duration;

use futures::future::join_all;
use seaway_session::{Error, Kind, RequestBody, Stage};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::certificates::Leaf;
use seaway_tests::chaos::Relay;
use seaway_tests::client::{Client, Reply, get, piece, post, request};
use seaway_tests::daemon::Daemon;
use seaway_tests::error::assert_says;
use seaway_tests::nginx::Nginx;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;
use seaway_tests::{eventually, kernel, soon};

/// nginx with TLS and HTTP/2, and a client that believes it.
struct Server {
    nginx: Nginx,
    leaf: Leaf,
}

impl Server {
    /// `location` is what nginx does with a request; `main` stands beside it.
    async fn start(main: &str, location: &str) -> Option<Self> {
        Self::listening("ssl http2", main, location).await
    }

    async fn listening(how: &str, main: &str, location: &str) -> Option<Self> {
        let leaf = Leaf::self_signed(&["localhost"]);
        let server = format!(
            "listen 127.0.0.1:$PORT {how}; ssl_certificate $DIR/cert.pem; ssl_certificate_key $DIR/key.pem; {main} \
             location / {{ {location} }}"
        );
        let files = [("cert.pem", leaf.pem()), ("key.pem", &leaf.key_pem())];
        let nginx = Nginx::start(&server, &files).await?;
        Some(Self { nginx, leaf })
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.nginx.port())
    }

    fn client(&self, policy: &str) -> Client {
        client(&self.leaf, policy, self.nginx.port())
    }
}

fn client(leaf: &Leaf, policy: &str, port: u16) -> Client {
    let policy = format!("tls = {{ roots = \"none\", ca = [\"ca.pem\"] }}\n{policy}");
    Client::under(&policy).file("ca.pem", leaf.pem()).destination(&format!("https://localhost:{port}")).build()
}

/// An origin whose answers wait at the gate, behind nginx.
async fn gated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::plain(move |_: &Request| Answer::ok("hello").after(&gate)).await
}

fn pass_to(origin: &Origin) -> String {
    format!("proxy_pass http://127.0.0.1:{}; proxy_http_version 1.1; proxy_set_header connection \"\";", origin.port())
}

fn all_are_well(replies: &[Result<Reply, Error>], body: &str) {
    for reply in replies {
        let reply = reply.as_ref().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, body.as_bytes()));
    }
}

/// H1: a cold burst opens one connection, and all exchanges go over it, as many at a time as the server takes.
#[tokio::test]
async fn a_cold_burst_takes_one_connection() {
    let Some(server) = Server::start("http2_max_concurrent_streams 8;", "return 200 $server_protocol;").await else {
        return;
    };
    let client = server.client("");
    let url = server.url("/");
    let replies = join_all((0..50).map(|_| client.post(&url, "BODY-MARK"))).await;
    all_are_well(&replies, "HTTP/2.0");
    assert_eq!((client.figures().opened, client.figures().reused), (1, 49));
    client.settles(1, 1).await;
    assert_eq!(kernel::sockets_to(server.nginx.port()), 1);
}

/// H2: where the server takes no more at once, a further connection is opened, and beyond the host's limit requests wait.
#[tokio::test]
async fn full_connections_get_company_up_to_the_limit() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let Some(server) = Server::start("http2_max_concurrent_streams 1;", &pass_to(&origin)).await else { return };
    let client = server.client("pool.limit_per_host = 2");
    let url = server.url("/");
    let all = join_all((0..5).map(|_| client.get(&url)));
    let release = async {
        origin.requests(2).await;
        let figures = client.figures();
        assert_eq!((figures.opened, figures.open, figures.waiting), (2, 2, 3));
        gate.open(5);
    };
    let (replies, ()) = tokio::join!(all, release);
    all_are_well(&replies, "hello");
    assert_eq!((client.figures().opened, origin.ledger().busy_peak), (2, 2));
}

/// `pool.limit` bounds exchanges, however few connections they share.
#[tokio::test]
async fn the_limit_bounds_exchanges_on_one_connection() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let Some(server) = Server::start("", &pass_to(&origin)).await else { return };
    let client = server.client("pool.limit = 3");
    let url = server.url("/");
    let all = join_all((0..9).map(|_| client.get(&url)));
    let release = async {
        origin.requests(3).await;
        assert_eq!((client.figures().open, client.figures().waiting), (1, 6));
        gate.open(9);
    };
    let (replies, ()) = tokio::join!(all, release);
    all_are_well(&replies, "hello");
    assert_eq!((client.figures().opened, origin.ledger().busy_peak), (1, 3));
}

/// H3: a server that says goodbye in the middle of a burst gets each request once: what it did not look at goes elsewhere.
#[tokio::test]
async fn requests_that_a_goodbye_left_unseen_are_sent_again_and_no_other() {
    let origin = Origin::plain(|request: &Request| Answer::ok(&String::from_utf8_lossy(&request.body))).await;
    let Some(server) = Server::start("keepalive_requests 5;", &pass_to(&origin)).await else { return };
    let client = server.client("");
    let url = server.url("/");
    let replies = join_all((0..50).map(|index| client.post(&url, format!("request {index}")))).await;
    for (index, reply) in replies.iter().enumerate() {
        let reply = reply.as_ref().unwrap_or_else(|error| panic!("request {index}: {error}"));
        assert_eq!(reply.body, format!("request {index}"));
    }
    let mut seen: Vec<_> = origin.ledger().requests.iter().map(|request| request.body.clone()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), origin.ledger().requests.len()), (50, 50));
}

/// H4: a connection that falls silent is found out by its pings: what is on it fails, and the next request has a new one.
#[tokio::test]
async fn a_silent_connection_is_found_out_by_pings() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let Some(server) = Server::start("", &pass_to(&origin)).await else { return };
    let relay = Relay::start(server.nginx.port()).await;
    let policy = "wire.h2 = { ping = \"200ms\", ping_timeout = \"300ms\" }";
    let client = client(&server.leaf, policy, relay.port());
    let url = format!("https://localhost:{}/", relay.port());
    let held = async {
        let error = client.get(&url).await.unwrap_err();
        assert_says(&error, Stage::Wire, Kind::Terminated, &["ping"]);
        assert!(error.request_sent());
    };
    let lose = async {
        origin.requests(1).await;
        relay.lose();
    };
    soon("the loss is found out", Box::pin(async { tokio::join!(held, lose) })).await;
    gate.open(2);
    assert_eq!(client.get(&url).await.unwrap().body, "hello");
    assert_eq!(client.figures().opened, 2);
}

/// H5: two thousand exchanges that are given up are no attack on the server: it never closes a connection for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_many_exchanges_is_no_attack() {
    let leaf = Leaf::self_signed(&["localhost"]);
    let large = "x".repeat(4 << 20);
    let files = [("cert.pem", leaf.pem()), ("key.pem", &leaf.key_pem()), ("large", large.as_str())];
    let arguments = ["-v", "-a", "127.0.0.1", "-d", "$DIR", "$PORT", "$DIR/key.pem", "$DIR/cert.pem"];
    let Some(nghttpd) = Daemon::start("nghttpd", "apt-get install nghttp2-server", &arguments, &files).await else {
        return;
    };
    let client = client(&leaf, "pool.limit = 300", nghttpd.port());
    let url = format!("https://localhost:{}/large", nghttpd.port());
    for _ in 0..40 {
        let opened = join_all((0..50).map(|_| client.open(get(&url)))).await;
        // Each is dropped with most of its body to come.
        assert!(opened.into_iter().all(|answer| answer.unwrap().status() == 200));
    }
    assert_eq!(client.get(&url).await.unwrap().body.len(), large.len());
    let said = std::fs::read_to_string(nghttpd.folder().path().join("output")).unwrap();
    assert!(said.matches("recv RST_STREAM").count() >= 100, "streams are reset");
    assert_eq!(said.matches("send GOAWAY").count(), 0);
    assert_eq!(said.matches("ENHANCE_YOUR_CALM").count(), 0);
}

/// An exchange that is given up ends at the server at once, before its answer as well as within; its connection stays.
#[tokio::test]
async fn giving_up_an_exchange_resets_its_stream_and_no_more() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |request: &Request| match request.target.as_str() {
        "/events" => Answer::events(&script, 5),
        _ => Answer::ok("hello").after(&script),
    })
    .await;
    let location = format!("{} proxy_buffering off;", pass_to(&origin));
    let Some(server) = Server::start("", &location).await else { return };
    let client = server.client("");
    gate.open(1);
    let mut body = client.open(get(&server.url("/events"))).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 0\n\n");
    drop(body);
    origin.until("the stream's end has reached the origin", |ledger| ledger.ends.len() == 1).await;
    let url = server.url("/");
    let left = tokio::time::timeout(Duration::from_millis(200), client.get(&url)).await;
    assert!(left.is_err());
    origin.until("the other's too", |ledger| ledger.ends.len() == 2).await;
    client.settles(1, 1).await;
    gate.open(1);
    assert_eq!(client.get(&server.url("/")).await.unwrap().body, "hello");
    assert_eq!(client.figures().opened, 1);
}

/// H7: a server that turns out to speak HTTP/1.1 releases everybody who waited to hear it.
#[tokio::test]
async fn a_server_of_http1_serves_a_cold_burst_too() {
    let Some(server) = Server::listening("ssl", "", "return 200 $server_protocol;").await else { return };
    let client = server.client("pool.limit_per_host = 10");
    let url = server.url("/");
    all_are_well(&join_all((0..50).map(|_| client.post(&url, "BODY-MARK"))).await, "HTTP/1.1");
    let figures = client.figures();
    assert!((2..=10).contains(&figures.opened), "{figures:?}");
}

/// G1: over HTTP/2 there is no `Host`, and nothing of a hop; the authority is the origin's, whatever the guest spelt.
#[tokio::test]
async fn over_http2_the_authority_stands_in_for_the_host() {
    let body = "return 200 \"$host $http_x_foo|$http_connection|$http_te|$http_x_mark|$request_uri\";";
    let Some(server) = Server::start("", body).await else { return };
    let client = server.client("");
    let headers = [("host", "other.example"), ("connection", "x-foo"), ("x-foo", "secret"), ("te", "trailers")];
    let sent = request("POST", &server.url("/v1?x=1"), &headers, RequestBody::full("{}"));
    assert_eq!(client.read(sent).await.unwrap().body, "localhost |||HEADER-MARK|/v1?x=1");
}

/// `wire.http`: the policy's word on what is spoken, with TLS and without.
#[tokio::test]
async fn the_policy_says_which_http_is_spoken() {
    let Some(both) = Server::start("", "return 200 $server_protocol;").await else { return };
    let Some(old) = Server::listening("ssl", "", "return 200 $server_protocol;").await else { return };
    let Some(plain) = Server::listening("http2", "", "return 200 $server_protocol;").await else { return };
    for (policy, spoken) in [
        ("", "HTTP/2.0"),
        ("wire.http = \"1\"", "HTTP/1.1"),
        ("wire.http = \"2\"", "HTTP/2.0"),
        ("pool.max_requests = 1", "HTTP/1.1"),
        ("pool.force_close = true", "HTTP/1.1"),
        ("[tls]\nalpn = [\"http/1.1\"]", "HTTP/1.1"),
        ("[tls]\nalpn = []", "HTTP/1.1"),
    ] {
        let policy = policy.replace("[tls]\n", "tls.");
        let client = both.client(
            &policy
                .replace("tls.alpn", "origin.\"https://localhost:PORT\".tls.alpn")
                .replace("PORT", &both.nginx.port().to_string()),
        );
        assert_eq!(client.get(&both.url("/")).await.unwrap().body, spoken, "{policy}");
    }
    let error = old.client("wire.http = \"2\"").get(&old.url("/")).await.unwrap_err();
    assert!(matches!(error.stage(), Stage::Tls | Stage::Wire), "{error}");
    let url = format!("http://localhost:{}/", plain.nginx.port());
    let client = Client::under("wire.http = \"2\"").destination(&url).build();
    let replies = join_all((0..20).map(|_| client.get(&url))).await;
    all_are_well(&replies, "HTTP/2.0");
    assert_eq!(client.figures().opened, 1);
}

/// A swap that changes what a connection is lets its exchanges end, and lends it to nobody else.
#[tokio::test]
async fn a_swap_retires_a_shared_connection() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let Some(server) = Server::start("", &pass_to(&origin)).await else { return };
    let client = server.client("");
    let url = server.url("/");
    let swap = async {
        origin.requests(1).await;
        client.swap("tls = { roots = \"none\", ca = [\"ca.pem\"] }\ntcp.nodelay = false").unwrap();
        let next = client.get(&url);
        let release = async {
            origin.requests(2).await;
            assert_eq!(client.figures().open, 2);
            gate.open(2);
        };
        tokio::join!(next, release).0
    };
    let (first, second) = tokio::join!(client.get(&url), swap);
    all_are_well(&[first, second], "hello");
    assert_eq!(client.figures().opened, 2);
    client.settles(1, 1).await;
}

/// `pool.max_requests` and `pool.keepalive` hold for shared connections as for others.
#[tokio::test]
async fn a_shared_connection_has_a_life_too() {
    let Some(server) = Server::start("", "return 200 hello;").await else { return };
    let client = server.client("pool.max_requests = 3");
    for _ in 0..7 {
        assert_eq!(client.read(post(&server.url("/"), "BODY-MARK")).await.unwrap().body, "hello");
    }
    assert_eq!(client.figures().opened, 3);
    drop(client);
    let client = server.client("pool.keepalive = \"50ms\"");
    assert_eq!(client.get(&server.url("/")).await.unwrap().body, "hello");
    client.settles(0, 0).await;
    eventually("the descriptor is gone", || kernel::sockets_to(server.nginx.port()) == 0).await;
}

/// Z1, over HTTP/2: the last exchange of a session that ends takes its connection with it, drained or dropped.
#[tokio::test]
async fn a_shared_connection_ends_with_its_session() {
    for drained in [true, false] {
        let gate = Gate::shut();
        let origin = gated(&gate).await;
        let Some(server) = Server::start("", &pass_to(&origin)).await else { return };
        let client = server.client("pool.keepalive = \"10m\"");
        let url = server.url("/");
        let answers = join_all((0..2).map(|_| client.get(&url)));
        let end = async {
            origin.requests(2).await;
            let release = async { gate.open(2) };
            match drained {
                true => tokio::join!(client.session.drain(), release).0.cut,
                false => {
                    release.await;
                    0
                }
            }
        };
        let (answers, cut) = soon("it has ended", Box::pin(async { tokio::join!(answers, end) })).await;
        all_are_well(&answers, "hello");
        assert_eq!(cut, 0);
        if !drained {
            gate.open(1);
            let mut answer = client.open(get(&url)).await.unwrap();
            drop(client);
            while let Some(read) = piece(answer.body_mut()).await {
                read.unwrap();
            }
        }
        eventually("the descriptor is gone", || kernel::sockets_to(server.nginx.port()) == 0).await;
    }
}

/// K1, over HTTP/2: a POST that comes while the server's goodbye lies unread in the socket goes over another connection.
#[tokio::test]
async fn a_goodbye_that_was_not_read_yet_costs_no_request() {
    let Some(server) = Server::start("keepalive_timeout 1s;", "return 200 hello;").await else { return };
    let client = server.client("");
    for _ in 0..3 {
        assert_eq!(client.read(post(&server.url("/"), "BODY-MARK")).await.unwrap().body, "hello");
        // The one thread of this test stands still until the kernel has the goodbye: nothing of the session can read it.
        while kernel::close_waits_to(server.nginx.port()) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(client.read(post(&server.url("/"), "BODY-MARK")).await.unwrap().body, "hello");
    assert_eq!(client.figures().opened, 4);
}
