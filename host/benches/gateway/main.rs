//! What `seaway serve` adds: the same calls made directly and through it, in one run, by callers with a connection each.
//!
//! The provider and the server are processes of their own on loopback, so the server's CPU time is read from the kernel.
//! `cargo bench -p seaway --bench gateway` prints everything.

#[path = "../completion/requests.rs"]
#[expect(dead_code, reason = "shared with the other benchmark")]
mod requests;
#[path = "../completion/upstream.rs"]
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::Instant;
use upstream::Upstream;

/// Rounds that take turns; the medians are printed.
const ROUNDS: usize = 5;
const STREAMS: usize = 500;
/// Events of a streamed answer.
const EVENTS: f64 = 100.0;

fn main() {
    if std::env::args().any(|argument| argument == "--upstream") {
        return upstream::serve();
    }
    let upstream = Upstream::start();
    drop(Gateway::start(upstream.address()));
    let (gateway, ready) = Gateway::start(upstream.address());
    println!("ready {:.0} ms after its start, with a warm cache", ready.as_secs_f64() * 1e3);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for (name, kind, body, calls, units) in [
            ("small: a short prompt, a 600-byte answer", "small", requests::small(false), 3000, 1.0),
            ("stream: 100 events", "stream", requests::small(true), 300, EVENTS),
        ] {
            for callers in [1, 16, 64] {
                println!("\n{name}, {callers} at once: {calls} calls x {ROUNDS} rounds");
                println!("{:<20}{:>10}{:>10}{:>10}{:>24}", "", "p50 us", "p99 us", "1/s", "server's CPU us/unit");
                compare(&upstream, &gateway, kind, &body, calls, callers, units).await;
            }
        }
        memory(&gateway).await;
    });
}

/// The server, under a file of its own; stopped when it is dropped.
struct Gateway {
    process: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Gateway {
    /// Starts it in front of the upstream; and how long it took to be ready.
    fn start(upstream: SocketAddr) -> (Self, Duration) {
        let folder = std::env::temp_dir().join(format!("seaway-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let provider = |kind| {
            format!(
                "[providers.{kind}]\ndialect = \"openai\"\nbase_url = \"http://{upstream}/{kind}/v1\"\ncredential = \"none\"\n"
            )
        };
        let providers: String = ["small", "stream", "hold"].map(provider).concat();
        let file = format!("pool = {{ limit = 4000, limit_per_host = 4000 }}\n[serve]\nlog = \"off\"\n{providers}");
        let path = folder.join("seaway.toml");
        std::fs::write(&path, file).expect("a file");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let began = Instant::now();
        let program = std::env::var_os("SEAWAY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_seaway").into());
        let mut process = Command::new(program)
            .args(["serve", "--listen", &address.to_string(), "--config"])
            .arg(&path)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the server starts");
        while std::net::TcpStream::connect(address).is_err() {
            assert!(process.try_wait().expect("it can be asked").is_none(), "the server has ended");
            std::thread::sleep(Duration::from_micros(200));
        }
        (Self { process, address, folder }, began.elapsed())
    }

    /// CPU time of all its threads, ended ones aside.
    fn cpu(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("it runs");
        let nanos = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        });
        nanos.sum::<f64>() / 1e3
    }

    fn resident(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.process.id())).expect("it runs");
        text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).expect("a number") * 4.0
    }
}

/// How long the server may take to end when it is asked to.
const GOODBYE: Duration = Duration::from_secs(5);

impl Drop for Gateway {
    fn drop(&mut self) {
        // It ends as in service, so that one that profiles itself leaves its profile.
        let stopped = rustix::process::kill_process(Pid::from_child(&self.process), Signal::TERM);
        let began = Instant::now();
        while stopped.is_ok() && began.elapsed() < GOODBYE && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

struct Round {
    p50: f64,
    p99: f64,
    rate: f64,
    cpu: f64,
}

async fn compare(
    upstream: &Upstream,
    gateway: &Gateway,
    kind: &str,
    body: &Bytes,
    calls: usize,
    callers: usize,
    units: f64,
) {
    let model = |body: &Bytes, model: &str| {
        let mut body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        body["model"] = model.into();
        Bytes::from(body.to_string())
    };
    let ways = [
        ("direct", upstream.address(), format!("/{kind}/v1/chat/completions"), body.clone()),
        ("through serve", gateway.address, "/v1/chat/completions".to_owned(), model(body, &format!("{kind}/bench"))),
    ];
    let mut rounds: [Vec<Round>; 2] = [Vec::new(), Vec::new()];
    for nth in 0..=ROUNDS {
        for ((_, address, path, body), rounds) in ways.iter().zip(&mut rounds) {
            let before = gateway.cpu();
            let (times, elapsed) = drive(*address, path, body, calls, callers).await;
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            let cpu = (gateway.cpu() - before) / calls as f64 / units;
            // The first warms up.
            if nth > 0 {
                rounds.push(Round { p50: at(0.5), p99: at(0.99), rate: calls as f64 / elapsed.as_secs_f64(), cpu });
            }
        }
    }
    let mut direct = (0.0, 0.0);
    for ((name, ..), rounds) in ways.iter().zip(&rounds) {
        let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
        let (p50, p99) = (of(|round| round.p50), of(|round| round.p99));
        let (rate, cpu) = (of(|round| round.rate), of(|round| round.cpu));
        println!("{name:<20}{p50:>10.0}{p99:>10.0}{rate:>10.0}{cpu:>24.1}");
        match *name {
            "direct" => direct = (p50, p99),
            _ => println!("{:<20}{:>10.0}{:>10.0}", "added", p50 - direct.0, p99 - direct.1),
        }
    }
}

/// `calls` calls by `callers` tasks with a connection each: their times in order, in microseconds, and the time of all.
async fn drive(address: SocketAddr, path: &str, body: &Bytes, calls: usize, callers: usize) -> (Vec<f64>, Duration) {
    let left = Arc::new(AtomicUsize::new(calls));
    let mut connections = Vec::new();
    for _ in 0..callers {
        connections.push(connect(address).await);
    }
    let began = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (left, path, body) = (Arc::clone(&left), path.to_owned(), body.clone());
            Handle::current().spawn(async move {
                let mut times = Vec::new();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let began = Instant::now();
                    let answer = ask(&mut connection, &path, &body).await;
                    answer.collect().await.expect("a body");
                    times.push(began.elapsed().as_secs_f64() * 1e6);
                }
                times
            })
        })
        .collect();
    let mut times = Vec::with_capacity(calls);
    for task in tasks {
        times.extend(task.await.expect("a caller ends well"));
    }
    times.sort_by(f64::total_cmp);
    (times, began.elapsed())
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(address).await.expect("a connection");
    socket.set_nodelay(true).expect("an option");
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.expect("a handshake");
    Handle::current().spawn(connection);
    sender
}

async fn ask(connection: &mut SendRequest<Full<Bytes>>, path: &str, body: &Bytes) -> Incoming {
    connection.ready().await.expect("connections are kept");
    let request = Request::post(path)
        .header("host", HeaderValue::from_static("seaway"))
        .header("content-type", "application/json")
        .body(Full::new(body.clone()))
        .expect("a request");
    let answer = connection.send_request(request).await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.into_body()
}

/// What an open stream holds in the server.
async fn memory(gateway: &Gateway) {
    let mut body: serde_json::Value = serde_json::from_slice(&requests::small(true)).expect("JSON");
    body["model"] = "hold/bench".into();
    let body = Bytes::from(body.to_string());
    let mut open = Vec::new();
    let mut before = 0.0;
    for nth in 0..=STREAMS {
        let mut connection = connect(gateway.address).await;
        let mut answer = ask(&mut connection, "/v1/chat/completions", &body).await;
        answer.frame().await.expect("a first event").expect("no error");
        open.push((connection, answer));
        if nth == 0 {
            before = gateway.resident();
        }
    }
    println!("\nmemory: {:.0} KB a stream, of {STREAMS} open", (gateway.resident() - before) / STREAMS as f64);
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
