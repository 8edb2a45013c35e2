//! A rolling restart: three replicas behind HAProxy, each ended and started again in turn, under load.

use std::net::{Ipv4Addr, SocketAddr};
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

/// Clients that ask one call after the other until it is over.
struct Clients {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Clients {
    fn start(address: SocketAddr) -> Self {
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let (over, answered, streams) = (Arc::clone(&over), Arc::clone(&answered), caller % 2 == 0);
            tasks.spawn(async move {
                let mut wire = Wire::to(address).await;
                while !over.load(Ordering::Relaxed) {
                    wire.send("POST", "/v1/chat/completions", &[], if streams { STREAM } else { HELLO }).await;
                    let reply = wire.reply().await;
                    let whole = reply.body.contains(if streams { "data: [DONE]\n\n" } else { "hello" });
                    assert!(reply.status == 200 && whole, "{reply:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { over, answered, tasks }
    }

    /// Waits until so many more are answered.
    async fn go_on(&self, count: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        let more = || self.answered.load(Ordering::Relaxed) >= before + count;
        seaway_tests::eventually("further requests are answered", more).await;
    }

    /// Ends them, none of which has met an error; how many were answered.
    async fn end(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.answered.load(Ordering::Relaxed)
    }
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
    let (arguments, files) = (["-db", "-f", "$DIR/haproxy.conf"], [("haproxy.conf", configuration.as_str())]);
    let haproxy = Daemon::start("haproxy", "apt-get install haproxy", &arguments, &files).await;
    let Some(haproxy) = haproxy else { return };
    let clients = Clients::start((Ipv4Addr::LOCALHOST, haproxy.port()).into());
    for (replica, port) in replicas.iter_mut().zip(&ports) {
        clients.go_on(50).await;
        replica.signal("TERM");
        assert_eq!(replica.ended().await, Some(0));
        clients.go_on(50).await;
        *replica = start(*port).await;
        let serves = async || {
            let metrics = replica.ask("GET", "/metrics", &[], "").await.body;
            metrics.contains("seaway_serve_requests_total{path=\"/v1/chat/completions\",status=\"200\"}")
        };
        replica.until("the replica serves again", serves).await;
    }
    println!("{} requests, none lost", clients.end().await);
}
