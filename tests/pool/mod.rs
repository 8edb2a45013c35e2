//! `pool`: how many connections there are, who waits, who is served next, and what is kept.
//!
//! Answers wait at gates, so that every test decides what is in flight; cancellation counts polls, not milliseconds.

mod keepalive;
mod isolation;
mod limits;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::join_all;
use futures::{StreamExt as _, poll};
use seaway_session::{Kind, Stage};
use seaway_tests::answer::{Answer, Gate};
use seaway_tests::certificates::Authority;
use seaway_tests::client::{Client, address, get, piece};
use seaway_tests::error::assert_says;
use seaway_tests::ledger::End;
use seaway_tests::origin::Origin;
use seaway_tests::request::Request;
use seaway_tests::{eventually, kernel, soon};

fn limit(limit: usize) -> String {
    format!("[pool]\nlimit = {limit}\n")
}

/// An origin whose answers all wait at the gate.
async fn gated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::everywhere(move |_: &_| Answer::ok("hello").after(&gate)).await
}

async fn hello() -> Origin {
    Origin::everywhere(|_: &_| Answer::ok("hello")).await
}

/// P1: 500 at once over 50 connections, by the origin's count, the kernel's and the session's own.
#[tokio::test]
async fn open_connections_never_exceed_the_limit() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let client = Client::under(&limit(50)).to(&origin).build();
    let url = origin.url("/");
    let middle = async {
        origin.requests(50).await;
        let figures = client.figures();
        assert_eq!((figures.open, figures.idle, figures.waiting), (50, 0, 450));
        assert_eq!(kernel::sockets_to(origin.port()), 50);
        gate.open(500);
    };
    let (replies, ()) = tokio::join!(join_all((0..500).map(|_| client.get(&url))), middle);
    assert!(replies.into_iter().all(|reply| reply.unwrap().body == "hello"));
    let ledger = origin.ledger();
    assert_eq!((ledger.accepted, ledger.peak, ledger.kernel_peak), (50, 50, 50));
    client.settles(50, 50).await;
    let figures = client.figures();
    assert_eq!((figures.exchanges, figures.opened, figures.reused), (500, 50, 450));
}

/// P2: a request for a third origin closes the oldest idle connection, and that one only.
#[tokio::test]
async fn the_oldest_idle_connection_makes_room_for_another_origin() {
    let (a, b, c) = (hello().await, hello().await, hello().await);
    let client = Client::under(&limit(2)).to(&a).to(&b).to(&c).build();
    for origin in [&a, &b, &c] {
        client.get(&origin.url("/")).await.unwrap();
    }
    assert_eq!(a.until("a is closed", |ledger| ledger.open == 0).await.ends, [(0, End::Peer)]);
    client.settles(2, 2).await;
    assert_eq!(client.figures().evicted, 1);
    client.get(&b.url("/")).await.unwrap();
    assert_eq!((b.ledger().accepted, c.ledger().kernel_peak), (1, 1));
}

/// P3: 200 hosts behind one listener.
#[tokio::test]
async fn many_hosts_do_not_add_up_beyond_the_limit() {
    let origin = hello().await;
    let client = Client::under(&limit(10)).to_hosts(&origin, 200).build();
    let all = (1..=200).map(|host| {
        let url = origin.at(&address(host), "/");
        let client = &client;
        async move { client.get(&url).await.map(|reply| reply.status) }
    });
    for status in join_all(all).await {
        assert_eq!(status.unwrap(), 200);
    }
    let ledger = origin.ledger();
    assert_eq!(ledger.accepted, 200);
    assert!(ledger.kernel_peak <= 10, "{} sockets at once", ledger.kernel_peak);
    client.settles(10, 10).await;
}

/// P4: two origins over one connection are served in the order of arrival.
#[tokio::test]
async fn requests_are_served_in_the_order_of_arrival() {
    let (a, b) = (hello().await, hello().await);
    let client = Client::under(&limit(1)).to(&a).to(&b).build();
    let done = Mutex::new(Vec::new());
    let mut all = Vec::new();
    for index in 0..40 {
        let origin = if (index / 2) % 2 == 0 { &a } else { &b };
        let url = origin.url(&format!("/{index}"));
        let (client, done) = (&client, &done);
        let mut request = Box::pin(async move {
            client.get(&url).await.unwrap();
            done.lock().unwrap().push(index);
        });
        // In the queue before the next one begins.
        assert!(poll!(&mut request).is_pending());
        all.push(request);
    }
    join_all(all).await;
    assert_eq!(*done.lock().unwrap(), (0..40).collect::<Vec<_>>());
    assert!(a.ledger().kernel_peak <= 1 && b.ledger().kernel_peak <= 1);
}

/// P5: a caller in a loop does not overtake those who wait.
#[tokio::test]
async fn a_looping_caller_does_not_barge_past_waiters() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let client = Client::under(&limit(1)).to(&origin).build();
    let looping = async {
        for _ in 0..20 {
            client.get(&origin.url("/loop")).await.unwrap();
        }
    };
    let waiters = async {
        origin.requests(1).await;
        let urls: Vec<String> = (0..5).map(|index| origin.url(&format!("/{index}"))).collect();
        let waiting = join_all(urls.iter().map(|url| client.get(url)));
        let open = async {
            eventually("all five wait", || client.figures().waiting == 5).await;
            gate.open(100);
        };
        tokio::join!(waiting, open)
    };
    tokio::join!(looping, waiters);
    assert_eq!(origin.ledger().targets()[..7], ["/loop", "/0", "/1", "/2", "/3", "/4", "/loop"]);
}

/// P6: per host and in all, with no slot idle while a request that may have it waits.
#[tokio::test]
async fn hosts_are_bounded_and_no_slot_stays_idle() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let client = Client::under(&format!("{}limit_per_host = 8\n", limit(30))).to_hosts(&origin, 4).build();
    let all = join_all((0..80_u8).map(|index| {
        let url = origin.at(&address(1 + index % 4), "/");
        let client = &client;
        async move { client.get(&url).await.unwrap().status }
    }));
    let steps = async {
        for more in 0..=50 {
            let ledger = origin.requests(30 + more).await;
            assert_eq!(ledger.requests.len(), 30 + more);
            for host in 1..=4 {
                let of_host =
                    |request: &&Request| request.header("host").unwrap().starts_with(&format!("{}:", address(host)));
                let busy = ledger.requests[more..].iter().filter(of_host).count();
                assert!(busy <= 8, "{busy} at {}", address(host));
            }
            assert!(kernel::sockets_to(origin.port()) <= 30);
            gate.open(1);
        }
        gate.open(100);
    };
    tokio::join!(all, steps);
    assert_eq!(origin.ledger().kernel_peak, 30);
}

/// P7: with room for one, an origin whose connection is busy makes everyone else wait, and the idle one goes.
#[tokio::test]
async fn a_single_slot_moves_between_origins() {
    let gate = Gate::shut();
    let (a, b) = (hello().await, gated(&gate).await);
    let client = Client::under(&limit(1)).to(&a).to(&b).build();
    client.get(&a.url("/first")).await.unwrap();
    let (to_b, to_a) = (b.url("/"), a.url("/second"));
    let mut in_flight = Box::pin(client.get(&to_b));
    let mut queued = Box::pin(client.get(&to_a));
    assert!(poll!(&mut in_flight).is_pending() && poll!(&mut queued).is_pending());
    let open = async {
        b.requests(1).await;
        assert_eq!((client.figures().open, client.figures().waiting), (1, 1));
        assert_eq!((kernel::sockets_to(a.port()), kernel::sockets_to(b.port())), (0, 1));
        gate.open(1);
    };
    let (one, other, ()) = tokio::join!(in_flight, queued, open);
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(a.ledger().targets(), ["/first", "/second"]);
}

/// Polls a future so many times, then drops it: a cancellation at any point, and the same one in every run.
pub(crate) struct Impatient<F> {
    work: Pin<Box<F>>,
    polls: u32,
}

impl<F: Future> Future for Impatient<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.work.as_mut().poll(context).map(Some)
    }
}

pub(crate) fn impatient<F: Future>(polls: u32, work: F) -> Impatient<F> {
    Impatient { work: Box::pin(work), polls }
}

/// P8, C1: thousands of requests given up at every point leave exact books, in the session and in the kernel.
#[tokio::test]
async fn books_stay_exact_under_cancellation() {
    let (a, b) = (hello().await, hello().await);
    let client = Client::under(&limit(4)).to(&a).to_hosts(&b, 3).build();
    let urls = [a.url("/"), b.at(&address(1), "/"), b.at(&address(2), "/"), b.at(&address(3), "/")];
    let mut dice = 1_u32;
    let requests = (0..2000_usize).map(|index| {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        impatient(dice >> 29, client.get(&urls[index % urls.len()]))
    });
    let ended = futures::stream::iter(requests).buffer_unordered(32).collect::<Vec<_>>().await;
    let served = ended.iter().flatten().filter(|reply| reply.is_ok()).count();
    assert!(served > 100 && served < 1900, "{served} served: cancellation was not exercised");
    assert!(ended.iter().flatten().all(Result::is_ok), "a cancelled neighbour harmed somebody");
    eventually("only idle connections are left", || {
        let figures = client.figures();
        figures.waiting == 0 && figures.open == figures.idle
    })
    .await;
    let open = client.figures().open;
    assert!(open <= 4);
    assert_eq!(kernel::sockets_to(a.port()) + kernel::sockets_to(b.port()), open);
    assert!(a.ledger().kernel_peak <= 4 && b.ledger().kernel_peak <= 4);
    eventually("the origins agree", || a.ledger().open + b.ledger().open == open).await;
    assert_eq!(client.get(&urls[0]).await.unwrap().body, "hello");
}

/// C1: one request, dropped at each of its polls in turn.
#[tokio::test]
async fn a_request_can_be_dropped_at_each_await() {
    let origin = hello().await;
    let client = Client::under(&limit(1)).to(&origin).build();
    let url = origin.url("/");
    for polls in 0..24 {
        drop(impatient(polls, client.get(&url)).await);
        assert_eq!(client.get(&url).await.unwrap().body, "hello", "after {polls} polls");
    }
    client.settles(1, 1).await;
}

/// C2: a connection that is being opened for a request which went away goes to the next in the queue.
#[tokio::test]
async fn a_half_made_connection_goes_to_the_next_waiter() {
    let (authority, gate) = (Authority::new("CA"), Gate::shut());
    let origin = Origin::tls_after(&gate, authority.leaf(&["localhost"]).server(), |_: &_| Answer::ok("hello")).await;
    let client = Client::under(&format!("{}[tls]\nroots = \"none\"\nca = [\"ca.pem\"]", limit(1)));
    let client = client.file("ca.pem", authority.pem()).to(&origin).build();
    let url = origin.url("/");
    let mut first = Box::pin(client.get(&url));
    assert!(poll!(&mut first).is_pending());
    origin.until("the connection is being opened", |ledger| ledger.accepted == 1).await;
    let mut second = Box::pin(client.get(&url));
    assert!(poll!(&mut second).is_pending());
    drop(first);
    gate.open(1);
    assert_eq!(soon("the second", second).await.unwrap().body, "hello");
    assert_eq!((origin.ledger().accepted, origin.ledger().requests.len()), (1, 1));
}

/// C3: a reader that goes away in the middle closes its connection, and nobody else's.
#[tokio::test]
async fn dropping_a_body_closes_its_connection_and_no_other() {
    let gate = Gate::shut();
    let script = gate.clone();
    let origin = Origin::plain(move |_: &_| Answer::events(&script, 3)).await;
    let client = Client::to(&origin);
    let (mut gone, mut stays) = (
        client.open(get(&origin.url("/gone"))).await.unwrap().into_body(),
        client.open(get(&origin.url("/stays"))).await.unwrap().into_body(),
    );
    gate.open(2);
    assert_eq!(piece(&mut gone).await.unwrap().unwrap(), "data: 0\n\n");
    assert_eq!(piece(&mut stays).await.unwrap().unwrap(), "data: 0\n\n");
    drop(gone);
    let ledger = origin.until("one is closed", |ledger| ledger.open == 1).await;
    assert_eq!(ledger.ends[0].0, ledger.requests.iter().find(|request| request.target == "/gone").unwrap().connection);
    gate.open(2);
    assert_eq!(piece(&mut stays).await.unwrap().unwrap(), "data: 1\n\n");
    assert_eq!(piece(&mut stays).await.unwrap().unwrap(), "data: 2\n\n");
    assert!(piece(&mut stays).await.is_none());
    client.settles(1, 1).await;
}

/// P9: what fails to open gives its slot back, every time.
#[tokio::test]
async fn failed_openings_return_their_slots() {
    let refused = hello().await;
    let (refused_url, refused_port) = (refused.url("/"), refused.port());
    drop(refused);
    let not_tls = Origin::plain(|_: &_| Answer::ok("never reached")).await;
    let good = hello().await;
    let tls_url = format!("https://127.0.0.1:{}/", not_tls.port());
    let client = Client::under(&limit(3)).destination(&refused_url).destination(&tls_url).to(&good).build();
    let all = join_all((0..100).map(|index| client.get(if index % 2 == 0 { &refused_url } else { &tls_url })));
    for (index, result) in all.await.into_iter().enumerate() {
        let error = result.unwrap_err();
        let stage = if index % 2 == 0 { Stage::Tcp } else { Stage::Tls };
        assert_eq!(error.stage(), stage, "{error}");
    }
    client.settles(0, 0).await;
    assert_eq!(kernel::sockets_to(refused_port) + kernel::sockets_to(not_tls.port()), 0);
    assert!(not_tls.ledger().kernel_peak <= 3);
    assert_eq!(client.get(&good.url("/")).await.unwrap().body, "hello");
    // What a TLS hello is to an HTTP server is its own affair here.
    not_tls.forgive();
}

/// P10: those who may not even wait are told at once, with the keys to raise.
#[tokio::test]
async fn beyond_max_waiters_requests_fail_at_once() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let client = Client::under(&format!("{}max_waiters = 10", limit(10))).to(&origin).build();
    let url = origin.url("/");
    let failed = Mutex::new(0);
    let all = join_all((0..110).map(|_| async {
        match client.get(&url).await {
            Ok(reply) => assert_eq!(reply.body, "hello"),
            Err(error) => {
                assert_says(
                    &error,
                    Stage::Pool,
                    Kind::ConnectionLimit,
                    &["`pool.max_waiters` of 10", "hint: raise `pool.limit`"],
                );
                assert!(!error.request_sent());
                *failed.lock().unwrap() += 1;
            }
        }
    }));
    let open = async {
        eventually("90 have failed while nothing was answered", || *failed.lock().unwrap() == 90).await;
        origin.requests(10).await;
        assert_eq!(client.figures().waiting, 10);
        gate.open(110);
    };
    tokio::join!(all, open);
    assert_eq!((*failed.lock().unwrap(), origin.ledger().requests.len()), (90, 20));
}

/// P15, the stress: many threads, three hosts, small limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn limits_hold_with_eight_threads() {
    let origin = hello().await;
    let client = Client::under(&format!("{}limit_per_host = 2\n", limit(5))).to_hosts(&origin, 3).build();
    let client = Arc::new(client);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16_u8 {
        let urls: Vec<_> = (1..=3).map(|host| origin.at(&address(host), "/")).collect();
        let client = Arc::clone(&client);
        tasks.spawn(async move {
            for round in 0..60 {
                let url = &urls[(usize::from(task) + round) % 3];
                assert_eq!(client.get(url).await.unwrap().body, "hello");
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let ledger = origin.ledger();
    assert_eq!(ledger.requests.len(), 16 * 60);
    // Not the kernel's table: it cannot be read at one instant while other threads open and close.
    assert!(ledger.busy_peak <= 5, "{} requests at once", ledger.busy_peak);
    eventually("all are idle", || client.figures().open == client.figures().idle).await;
}
