//! What an open stream holds: resident memory with many of them, over that without.

use futures::future::join_all;
use http_body_util::BodyExt as _;
use seaway::runtime::CallRecord;

use crate::requests;
use crate::rows::{api_request, runtime};
use crate::upstream::Upstream;

const STREAMS: usize = 2000;

pub(crate) fn print(upstream: &Upstream) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    tokio.block_on(async {
        let runtime = runtime(upstream, "hold", 1000);
        let open = |count: usize| {
            join_all((0..count).map(|_| async {
                let record = CallRecord::new();
                let answer = runtime.handle(api_request(requests::small(true)), &record).await.expect("an answer");
                let mut body = answer.into_body();
                body.frame().await.expect("a first event").expect("no error");
                body
            }))
        };
        let first = open(1).await;
        let before = resident();
        let streams = open(STREAMS).await;
        let after = resident();
        println!("\nmemory: {STREAMS} open streams");
        println!(
            "{:<44}{:>9.1} KB a stream",
            "component, one instance a stream",
            (after - before) / STREAMS as f64 / 1024.0
        );
        drop((first, streams));
    });
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: f64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096.0
}
