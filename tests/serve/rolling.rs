//! A rolling restart: three replicas behind HAProxy, each ended and started again in turn, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use seaway_tests::answer::Gate;
use seaway_tests::daemon::{Daemon, free_port};
use seaway_tests::gateway::{Gateway, Wire};
use seaway_tests::host::file;
use seaway_tests::origin::Origin;
use seaway_tests::provider::{streamed, whole};
use seaway_tests::request::Request;
use tokio::task::JoinSet;

use super::{HELLO, STREAM, VARIABLES};

const CALLERS: usize = 8;

/// HAProxy asks each replica whether it is ready, and takes a request that one refuses because it is ending to the next.
fn configuration(ports: &[u16]) -> String {
    let servers: String = ports
        .iter()
        .map(|port| format!("  server s{port} 127.0.0.1:{port} check inter 50ms fall 1 rise 1\n"))
        .collect();
    format!(
        "global\n  maxconn 1000\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         listen all\n  bind 127.0.0.1:$PORT\n  balance roundrobin\n  option httpchk GET /readyz\n\
         \x20 option redispatch 1\n  retries 5\n  retry-on conn-failure empty-response 503\n{servers}"
    )
}

/// No request fails while each replica in turn drains, ends and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_request() {
    let gate = Gate::shut();
    gate.open(usize::MAX >> 8);
    let origin =
        Origin::plain(move |request: &Request| match request.body.windows(13).any(|at| at == b"\"stream\":true") {
            true => streamed(&gate, &["one ", "two"]),
            false => whole("hello"),
        })
        .await;
    let file = format!("[serve]\nlog = \"off\"\n{}", file(&origin));
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let start = async |port: u16| Gateway::listening(&file, &VARIABLES, &format!("127.0.0.1:{port}")).await;
    let mut replicas = Vec::new();
    for port in &ports {
        replicas.push(start(*port).await);
    }
    let configuration = configuration(&ports);
    let files = [("haproxy.conf", configuration.as_str())];
    let Some(haproxy) =
        Daemon::start("haproxy", "apt-get install haproxy", &["-db", "-f", "$DIR/haproxy.conf"], &files).await
    else {
        return;
    };
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let address = ([127, 0, 0, 1], haproxy.port()).into();
    let mut clients = JoinSet::new();
    for caller in 0..CALLERS {
        let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
        clients.spawn(async move {
            let mut wire = Wire::to(address).await;
            while !over.load(Ordering::Relaxed) {
                let streams = caller % 2 == 0;
                wire.send("POST", "/v1/chat/completions", &[], if streams { STREAM } else { HELLO }).await;
                let reply = wire.reply().await;
                let whole =
                    if streams { reply.body.ends_with("data: [DONE]\n\n") } else { reply.body.contains("hello") };
                assert!(reply.status == 200 && whole, "{reply:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let more = async |count: u64| {
        let before = answered.load(Ordering::Relaxed);
        seaway_tests::eventually("further requests are answered", || {
            answered.load(Ordering::Relaxed) >= before + count
        })
        .await;
    };
    for (index, port) in ports.iter().enumerate() {
        more(50).await;
        replicas[index].signal("TERM");
        assert_eq!(replicas[index].ended().await, Some(0));
        more(50).await;
        let calls = origin.ledger().requests.len();
        replicas[index] = start(*port).await;
        origin.until("requests go on", |ledger| ledger.requests.len() > calls + 50).await;
        // It takes its share again.
        replicas[index]
            .until("the replica serves again", async || {
                let metrics = replicas[index].ask("GET", "/metrics", &[], "").await.body;
                metrics.contains("seaway_serve_requests_total{path=\"/v1/chat/completions\",status=\"200\"}")
            })
            .await;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    println!("{} requests, none lost", answered.load(Ordering::Relaxed));
}
