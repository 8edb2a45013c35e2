//! K10: a proxy in front of the origin that hands over to a successor of its own, under load.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use seaway_session::{Error, Kind};
use seaway_tests::answer::Answer;
use seaway_tests::client::{Client, get, post};
use seaway_tests::haproxy::Haproxy;
use seaway_tests::origin::Origin;

use super::repeated;

/// K10: HAProxy restarted under load: every GET is answered; a POST is lost at most where nobody can vouch for it, and none
/// is read twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_loses_nothing_that_can_be_vouched_for() {
    let origin = Origin::plain(|_: &_| Answer::ok("hello")).await;
    let Some(haproxy) = Haproxy::before(origin.port()).await else { return };
    let url = |path: String| format!("http://127.0.0.1:{}{path}", haproxy.port());
    let client = Client::under("").destination(&url("/".to_owned())).build();
    let over = AtomicBool::new(false);
    let lane = |lane: usize| {
        let (client, over) = (&client, &over);
        async move {
            let mut failed: Vec<(bool, Error)> = Vec::new();
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                let posts = sent % 2 == 0;
                let url = url(format!("/{lane}/{sent}"));
                let request = if posts { post(&url, "BODY-MARK") } else { get(&url) };
                failed.extend(client.read(request).await.err().map(|error| (posts, error)));
                sent += 1;
            }
            (sent, failed)
        }
    };
    let restarts = async {
        for _ in 0..5 {
            haproxy.restart().await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (lanes, ()) = tokio::join!(join_all((0..16).map(lane)), restarts);
    let sent: usize = lanes.iter().map(|(sent, _)| sent).sum();
    let failed: Vec<_> = lanes.into_iter().flat_map(|(_, failed)| failed).collect();
    let ledger = origin.ledger();
    println!("{sent} requests, {} sent again, failed: {failed:?}", client.figures().retried);
    assert!(failed.iter().all(|(posts, _)| *posts), "{failed:?}");
    assert!(failed.iter().all(|(_, error)| error.kind() == Kind::Terminated && error.request_sent()), "{failed:?}");
    let posts = |target: &str| target.rsplit('/').next().is_some_and(|sent| sent.parse::<usize>().unwrap() % 2 == 0);
    let twice: Vec<_> = repeated(&ledger).into_iter().filter(|(target, _)| posts(target)).collect();
    assert_eq!(twice, []);
}
