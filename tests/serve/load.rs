//! Load: many callers at once, a policy that is swapped under them, clients that leave; and many streams open at once.
//!
//! `SEAWAY_LOAD=60 SEAWAY_BINARY=../target/release/seaway cargo test -p seaway-tests serve::load -- --nocapture --test-threads=1` is the
//! full one: 500 callers for 60 s, and 2,000 streams. Without the variable it is a short one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seaway_tests::answer::{Gate, chunk};
use seaway_tests::gateway::{Gateway, Wire};
use seaway_tests::origin::Origin;
use seaway_tests::provider::{begun, ended, whole_body};
use seaway_tests::request::Request;
use seaway_tests::{eventually, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{HELLO, STREAM, VARIABLES};

/// How long a provider takes for an answer.
const THINKS: Duration = Duration::from_millis(100);
/// What memory may grow by in the second half of a run: allocators keep what they may need again.
const SLACK: usize = 48 << 20;

/// Seconds of load; absent for a short one.
fn full() -> Option<u64> {
    let seconds = std::env::var_os("SEAWAY_LOAD")?;
    seconds.to_str().and_then(|seconds| seconds.parse().ok()).or_else(|| panic!("SEAWAY_LOAD is a number of seconds"))
}

/// A provider that keeps no books; every answer takes its time.
struct Provider {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                // Whatever breaks a connection, the server is the one to tell of it.
                connections.spawn(converse(socket));
            }
        });
        Self { port, _tasks: tasks }
    }
}

async fn converse(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let whole = whole_body("hello");
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{whole}", whole.len());
    let mut unread = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut unread).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&unread[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let end = end + length.unwrap_or(0);
        while unread.len() < end {
            if socket.read_buf(&mut unread).await? == 0 {
                return Ok(());
            }
        }
        let streams = unread[..end].windows(13).any(|at| at == b"\"stream\":true");
        unread.drain(..end);
        sleep(THINKS).await;
        if !streams {
            socket.write_all(whole.as_bytes()).await?;
            continue;
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes()).await?;
        for piece in ["one ", "two ", "three"] {
            let delta = serde_json::json!({
                "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
                "choices": [{ "index": 0, "delta": { "content": piece }, "finish_reason": null }],
            });
            socket.write_all(chunk(&format!("data: {delta}\n\n")).as_bytes()).await?;
            sleep(THINKS / 10).await;
        }
        let end = serde_json::json!({
            "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
            "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
        });
        let end = [chunk(&format!("data: {end}\n\n")), chunk("data: [DONE]\n\n"), "0\r\n\r\n".to_owned()].concat();
        socket.write_all(end.as_bytes()).await?;
    }
}

/// The file of a turn: limits, deadlines and names change, and with them connections.
fn file(port: u16, turn: u64) -> String {
    let of_turn = [
        "pool = { limit = 2500, limit_per_host = 2500, keepalive = \"1s\" }",
        "pool = { limit = 1500, limit_per_host = 1500, keepalive = \"1s\" }\ntotal = \"50s\"",
        "pool = { limit = 2000, limit_per_host = 2000, keepalive = \"1s\" }\ntcp.nodelay = false",
        "pool = { limit = 1500, limit_per_host = 1500, keepalive = \"1s\", max_requests = 50 }\nbody.timeout = \"40s\"",
    ];
    let of_turn = of_turn[usize::try_from(turn).unwrap() % of_turn.len()];
    format!(
        "{of_turn}\n[serve]\nlog = \"off\"\ncalls = 4000\nqueue = 4000\nqueue_timeout = \"60s\"\n\
         [providers.test]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n\
         [credentials.test]\nenv = \"TEST_KEY\"\nurls = [\"http://127.0.0.1:{port}/v1\"]\n"
    )
}

#[derive(Debug, Default)]
struct Outcomes {
    whole: AtomicU64,
    streams: AtomicU64,
    left: AtomicU64,
}

/// One call of a kind that the number says; an answer is whole, or its client has left.
async fn call(address: SocketAddr, wire: &mut Option<Wire>, number: u64, outcomes: &Outcomes) {
    let mut open = match wire.take() {
        Some(open) => open,
        None => Wire::to(address).await,
    };
    // A prime, so that kinds do not fall in step with callers.
    match number * 7919 % 100 {
        0..=69 => {
            open.send("POST", "/v1/chat/completions", &[], HELLO).await;
            let reply = open.reply().await;
            assert_eq!((reply.status, &reply.json()["choices"][0]["message"]["content"]), (200, &"hello".into()));
            outcomes.whole.fetch_add(1, Ordering::Relaxed);
            *wire = Some(open);
        }
        70..=89 => {
            open.send("POST", "/v1/chat/completions", &[], STREAM).await;
            let reply = open.reply().await;
            assert!(reply.body.contains("three") && reply.body.ends_with("data: [DONE]\n\n"), "{reply:?}");
            outcomes.streams.fetch_add(1, Ordering::Relaxed);
            *wire = Some(open);
        }
        left => {
            open.send("POST", "/v1/chat/completions", &[], if left % 2 == 0 { HELLO } else { STREAM }).await;
            sleep(THINKS * u32::try_from(number % 13).unwrap() / 10).await;
            outcomes.left.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// No call is lost under swaps beside clients that leave; and what the server holds stays what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_under_load_with_swaps_and_clients_that_leave() {
    let (seconds, callers) = full().map_or((3, 40), |seconds| (seconds, 500));
    let provider = Provider::start().await;
    let port = provider.port;
    let gateway = Gateway::start(&file(port, 0), &VARIABLES).await;
    let (address, outcomes) = (gateway.address(), Arc::new(Outcomes::default()));
    let ends = Instant::now() + Duration::from_secs(seconds);
    let mut clients = JoinSet::new();
    for caller in 0..callers {
        let outcomes = Arc::clone(&outcomes);
        clients.spawn(async move {
            let (mut wire, mut number) = (None, caller);
            while Instant::now() < ends {
                call(address, &mut wire, number, &outcomes).await;
                number += callers + 1;
            }
        });
    }
    let mut held = Vec::new();
    for turn in 1..=seconds {
        sleep(Duration::from_secs(1)).await;
        gateway.folder().write("next.toml", file(port, turn));
        std::fs::rename(gateway.folder().path().join("next.toml"), gateway.folder().path().join("seaway.toml"))
            .unwrap();
        gateway.signal("HUP");
        held.push(gateway.held());
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let middle = held[held.len() / 2];
    let said = gateway.said();
    let metrics = gateway.ask("GET", "/metrics", &[], "").await.body;
    let swaps = metrics.lines().find_map(|line| line.strip_prefix("seaway_session_swaps_total ")?.parse::<u64>().ok());
    println!(
        "{callers} callers, {seconds} s: {outcomes:?}, {swaps:?} swaps; {:?}, {middle:?}, {:?}",
        held[0],
        held.last()
    );
    let all = [&outcomes.whole, &outcomes.streams, &outcomes.left].map(|count| count.load(Ordering::Relaxed));
    assert!(all.iter().all(|count| *count > 0), "{outcomes:?}");
    assert!(swaps.is_some_and(|swaps| swaps > 1) && !said.contains("panicked"), "{said}");
    // Everything closes, but for what a server has without a client.
    let mut rest = gateway.held();
    eventually("descriptors are given back", || {
        rest = gateway.held();
        rest.descriptors < 64
    })
    .await;
    assert!(rest.memory <= middle.memory + SLACK, "{middle:?}, and in the end {rest:?}");
}

/// Many streams are open at once, each of them alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_are_open_at_once() {
    let count = full().map_or(100, |_| 2000);
    let (first, last) = (Gate::shut(), Gate::shut());
    first.open(count);
    let end = last.clone();
    let origin = Origin::plain(move |_: &Request| ended(begun(&first, &["one "]).wait(&end))).await;
    let gateway = Gateway::start(&file(origin.port(), 0), &VARIABLES).await;
    let before = gateway.held();
    let mut wires = Vec::new();
    for _ in 0..count {
        let mut wire = gateway.connect().await;
        wire.send("POST", "/v1/chat/completions", &[], STREAM).await;
        assert!(wire.until("one ").await.is_some());
        wires.push(wire);
    }
    let open = gateway.held();
    println!("{count} streams: {before:?}, {open:?}, {} KB a stream", (open.memory - before.memory) / count / 1024);
    assert!(open.descriptors >= 2 * count);
    last.open(count);
    for wire in &mut wires {
        assert!(soon("its end", wire.until("[DONE]")).await.is_some());
    }
}
