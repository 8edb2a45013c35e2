//! K1: requests that meet the moment at which the server closes idle connections.

use std::time::Duration;

use futures::future::join_all;
use seaway_tests::answer::{Answer, Then};
use seaway_tests::client::Client;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{elsewhere, plain, repeated};

/// The server's patience with an idle connection, and how far around its end a request comes.
const IDLE: Duration = Duration::from_millis(15);
const AROUND: Duration = Duration::from_micros(1_500);
/// Connections at once.
const LANES: usize = 30;

/// K1: POSTs around the server's idle close, on a runtime that has other things to do. None is read twice, and as good as
/// none is lost: only those that lay unread in the server's own buffer when it closed, for which no kernel can vouch.
///
/// `SEAWAY_K1=3600` makes it as long as the matrix says, and as strict: for a machine that does nothing else.
#[test]
fn posts_around_an_idle_close_are_neither_lost_nor_doubled() {
    let asked = std::env::var_os("SEAWAY_K1").and_then(|posts| posts.to_str()?.parse().ok());
    let (posts, long) = (asked.unwrap_or(300_usize), asked.is_some());
    let beside = elsewhere();
    let origin = plain(&beside, |_: &_| Answer::ok("hello").then(Then::CloseIn(IDLE)));
    let clients: Vec<Client> = (0..LANES).map(|_| Client::to(&origin)).collect();
    let busy = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let lanes = clients.iter().enumerate().map(|(lane, client)| {
        let origin = &origin;
        async move {
            let mut lost = Vec::new();
            for index in 0..posts.div_ceil(LANES) {
                if let Err(error) = client.post(&origin.url(&format!("/{lane}/{index}")), "BODY-MARK").await {
                    lost.push(error.to_string());
                }
                // Evenly over the three milliseconds, in another order in each lane.
                let step = u32::try_from((index * 7 + lane * 13) % 100).unwrap();
                tokio::time::sleep(IDLE - AROUND + AROUND * 2 * step / 100).await;
            }
            lost
        }
    });
    let lost: Vec<String> = busy.block_on(async {
        let mut beside = JoinSet::new();
        (0..4).for_each(|_| drop(beside.spawn(work())));
        join_all(lanes).await.concat()
    });
    let ledger = origin.ledger();
    let sum = |count: fn(&Client) -> u64| clients.iter().map(count).sum::<u64>();
    let (retried, reused) = (sum(|client| client.figures().retried), sum(|client| client.figures().reused));
    let twice = repeated(&ledger);
    println!(
        "{posts} posts: {reused} over a used connection, {retried} sent again, {} lost, {} read twice",
        lost.len(),
        twice.len()
    );
    assert_eq!(twice, []);
    // A server whose own thread comes late closes with a request unread in its buffer, and its kernel answers with a reset.
    assert!(lost.iter().all(|error| error.contains("reset by peer")), "{lost:?}");
    let most = if long { 1 + posts / 500 } else { posts / 5 };
    assert!(lost.len() <= most, "{lost:?}");
}

/// Something to do, a tenth of a millisecond at a time.
async fn work() {
    loop {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(100) {
            std::hint::spin_loop();
        }
        tokio::task::yield_now().await;
    }
}
