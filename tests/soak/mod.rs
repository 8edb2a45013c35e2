//! A soak: many requests with random cancels, faults and swaps, after which nothing has grown and nothing is left.
//!
//! It runs in a process of its own, so that what it counts - descriptors, tasks, memory - is its own. 10,000 requests,
//! or as many as `SEAWAY_SOAK` says; `SEAWAY_SOAK=1000000 cargo test --release -p seaway-tests soak -- --nocapture` is the
//! full one, and prints what it found.

mod peer;

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use seaway_session::{Call, Domain, Kind, Stage, Timeouts};
use seaway_tests::certificates::{Authority, Leaf};
use seaway_tests::chaos::{Chaos, Peer as Silent};
use seaway_tests::client::{Client, address, collect, get, piece, post};
use seaway_tests::{eventually, kernel};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::pool::impatient;
use peer::Peer;

const REQUESTS: usize = 10_000;
const CALLERS: usize = 64;
/// What a part of the run leaves is compared with what the one before it left.
const PARTS: usize = 5;
/// The variable that says how many requests there are, and the one that says who is the child.
const SOAK: &str = "SEAWAY_SOAK";
const CHILD: &str = "SEAWAY_TESTS_SOAK_CHILD";

/// How much more memory the last part may leave than the first: allocators keep what they may need again.
const SLACK: usize = 24 << 20;

/// P8, P9, P15, L3: a soak leaves the books of session and kernel alike, and descriptors, tasks and memory flat.
#[test]
fn nothing_is_left_of_many_requests_with_cancels_faults_and_swaps() {
    let requests = std::env::var_os(SOAK).map_or(REQUESTS, |count| count.to_str().unwrap().parse().unwrap());
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(run(requests));
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "soak::nothing_is_left_of_many_requests_with_cancels_faults_and_swaps", "--nocapture"]);
    let output = child.env(CHILD, "1").env(SOAK, requests.to_string()).stdin(Stdio::null()).output().unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The peers, and the session that meets them.
struct Ground {
    client: Client,
    plain: Peer,
    tls: Peer,
    /// Speaks HTTP/2.
    two: Peer,
    /// Shows a certificate that nobody vouches for.
    stranger: Peer,
    /// Accepts, and never answers.
    silent: Silent,
    /// Bound, so that nobody else listens there, and never listened on.
    refused: TcpSocket,
    outcomes: Outcomes,
}

#[derive(Debug, Default)]
struct Outcomes {
    served: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
}

/// Limits, deadlines, DNS and TLS of four policies that take turns; each can reach what the others can.
fn policy(turn: usize) -> String {
    let of_turn = [
        "pool.limit = 24",
        "pool = { limit = 10, limit_per_host = 4 }\ndns.ttl = \"off\"",
        "pool = { limit = 24, max_requests = 20 }\ntls.max = \"1.2\"",
        "pool = { limit = 16, limit_per_host = 6 }\ntcp.nodelay = false",
    ];
    format!("total = \"10s\"\ntls.roots = \"none\"\ntls.ca = [\"ca.pem\"]\n{}\n", of_turn[turn % of_turn.len()])
}

/// The most that any of the policies lets be open.
const MOST: usize = 24;

impl Ground {
    async fn new() -> Self {
        let authority = Authority::new("soak");
        let (plain, tls) = (Peer::start(None).await, Peer::start(Some(authority.leaf(&["localhost"]).server())).await);
        let mut both = authority.leaf(&["localhost"]).server();
        both.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let two = Peer::start(Some(both)).await;
        let stranger = Peer::start(Some(Leaf::self_signed(&["localhost"]).server())).await;
        let silent = Silent::start(Chaos::Silence).await;
        let refused = TcpSocket::new_v4().unwrap();
        refused.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut builder = Client::under(&policy(0)).file("ca.pem", authority.pem());
        for host in 1..=3 {
            builder = builder.destination(&plain.at(&address(host), ""));
        }
        for peer in [&tls, &two, &stranger] {
            builder = builder.destination(&peer.at("localhost", ""));
        }
        let client = builder
            .destination(&format!("https://127.0.0.1:{}", silent.port()))
            .destination(&format!("http://{}", refused.local_addr().unwrap()))
            .build();
        Self { client, plain, tls, two, stranger, silent, refused, outcomes: Outcomes::default() }
    }

    /// One request of a kind that the dice say, and what must come of it.
    async fn ask(&self, dice: &mut Dice) {
        let hasty = Timeouts {
            connect: Some(Duration::from_millis(20)),
            first_byte: Some(Duration::from_millis(20)),
            between_bytes: None,
        };
        let good = match dice.below(4) {
            0 => self.two.at("localhost", dice.one(&["/ok", "/ok", "/chunks", "/close"])),
            1 => self.tls.at("localhost", dice.one(&["/ok", "/chunks", "/close"])),
            _ => self.plain.at(&address(dice.one(&[1, 2, 3])), dice.one(&["/ok", "/ok", "/chunks", "/close"])),
        };
        match dice.below(100) {
            0..=59 => self.served(&good, dice.below(2) == 0).await,
            60..=79 => {
                let polls = u32::try_from(dice.below(9)).unwrap();
                match impatient(polls, self.client.get(&good)).await {
                    Some(reply) => self.is_hello(&reply.unwrap().body),
                    None => count(&self.outcomes.given_up),
                }
            }
            80..=84 => {
                let mut body = self.client.open(get(&good)).await.unwrap().into_body();
                if dice.below(2) == 0 {
                    piece(&mut body).await.unwrap().unwrap();
                }
                count(&self.outcomes.given_up);
            }
            85..=87 => {
                let refused = format!("http://{}/", self.refused.local_addr().unwrap());
                self.fails(&refused, Timeouts::default(), Stage::Tcp).await
            }
            88..=90 => self.fails(&self.stranger.at("localhost", "/ok"), Timeouts::default(), Stage::Tls).await,
            91..=92 => self.fails(&self.plain.at("127.0.0.1", "/reset"), Timeouts::default(), Stage::Wire).await,
            93..=94 => self.fails(&self.tls.at("localhost", "/reset"), Timeouts::default(), Stage::Wire).await,
            // A stream that is reset takes with it what was not yet read: its answer's head, too.
            95..=96 => self.fails(&self.two.at("localhost", "/cut"), Timeouts::default(), Stage::Wire).await,
            97 => self.fails(&self.plain.at("127.0.0.1", "/cut"), Timeouts::default(), Stage::Body).await,
            98 => self.fails(&self.plain.at("127.0.0.1", "/silent"), hasty, Stage::Wire).await,
            _ => self.fails(&format!("https://127.0.0.1:{}/", self.silent.port()), hasty, Stage::Tls).await,
        }
    }

    async fn served(&self, url: &str, with_body: bool) {
        let reply = if with_body { self.client.post(url, "a question").await } else { self.client.get(url).await };
        self.is_hello(&reply.unwrap().body);
    }

    fn is_hello(&self, body: &[u8]) {
        assert_eq!(body, b"hello");
        count(&self.outcomes.served);
    }

    /// A request that cannot end well, and ends at this stage, at a deadline of its own before, or
    /// once it is sent at a later one.
    async fn fails(&self, url: &str, timeouts: Timeouts, stage: Stage) {
        let call = Call { timeouts, domain: Domain::default(), ..Call::default() };
        let outcome = match self.client.call(post(url, "a question"), call).await {
            Ok(answer) => collect(answer.into_body()).await.map(drop),
            Err(error) => Err(error),
        };
        let error = outcome.unwrap_err();
        let hurried = timeouts.connect.is_some() && error.kind() == Kind::ConnectTimeout;
        let later = error.stage() > stage && error.request_sent();
        assert_ne!(error.kind(), Kind::TotalTimeout, "{url}");
        assert!(error.stage() == stage || later || hurried, "{url}: {error}");
        count(&self.outcomes.failed);
    }

    /// Everything is over: session, kernel and peers agree, and nothing is open once nothing may stay so.
    async fn settles(&self) -> Rest {
        let refused = self.refused.local_addr().unwrap().port();
        let ports = [self.plain.port, self.tls.port, self.two.port, self.stranger.port, self.silent.port(), refused];
        let in_kernel = || ports.iter().map(|port| kernel::sockets_to(*port)).sum::<usize>();
        let at_peers = || [&self.plain, &self.tls, &self.two, &self.stranger].map(Peer::open).iter().sum::<usize>();
        let agreed = || {
            let figures = self.client.figures();
            let (open, idle) = (figures.open, figures.idle);
            figures.waiting == 0 && open == idle && open == in_kernel() && open == at_peers()
        };
        eventually("session, kernel and peers agree", agreed).await;
        // A policy that would open none of them just so.
        self.client.swap(&format!("{}tcp.user_timeout = \"9s\"\n", policy(0))).unwrap();
        eventually("nothing is open", || self.client.figures().open + in_kernel() + at_peers() == 0).await;
        self.client.swap(&policy(0)).unwrap();
        Rest::now()
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Rest {
    descriptors: usize,
    tasks: usize,
    memory: usize,
}

impl Rest {
    fn now() -> Self {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            memory: pages * 4096,
        }
    }
}

async fn run(requests: usize) {
    let ground = Arc::new(Ground::new().await);
    println!("HTTP/1.1: {} and {}, HTTP/2: {}", ground.plain.port, ground.tls.port, ground.two.port);
    let started = Instant::now();
    let mut rests: Vec<Rest> = Vec::new();
    for part in 0..PARTS {
        let left = Arc::new(AtomicUsize::new(requests / PARTS));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (ground, left) = (Arc::clone(&ground), Arc::clone(&left));
            callers.spawn(async move {
                let mut dice = Dice(u64::try_from(part * CALLERS + caller + 1).unwrap());
                while let Ok(nth) = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
                    ground.ask(&mut dice).await;
                    if nth % 500 == 0 {
                        ground.client.swap(&policy(nth / 500)).unwrap();
                        assert!(ground.client.figures().open <= MOST);
                    }
                }
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
        drop(callers);
        let mut rest = ground.settles().await;
        if let Some(first) = rests.first() {
            // The first may have been counted a moment too early, and so be high.
            let descriptors = rests.iter().map(|rest| rest.descriptors).min().unwrap();
            let tasks = rests.iter().map(|rest| rest.tasks).min().unwrap();
            eventually("descriptors and tasks are no more than before", || {
                rest = Rest::now();
                rest.descriptors <= descriptors && rest.tasks <= tasks
            })
            .await;
            assert!(rest.memory <= first.memory + SLACK, "{first:?}, and now {rest:?}");
        }
        println!("part {}: {rest:?} after {:?}", part + 1, started.elapsed());
        rests.push(rest);
    }
    let (figures, outcomes) = (ground.client.figures(), &ground.outcomes);
    println!(
        "{requests} requests in {:?}: {outcomes:?}; {} opened, {} reused, {} evicted, {} swaps",
        started.elapsed(),
        figures.opened,
        figures.reused,
        figures.evicted,
        figures.swapped
    );
    let all = [&outcomes.served, &outcomes.failed, &outcomes.given_up].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(all.iter().sum::<u64>(), u64::try_from(requests / PARTS * PARTS).unwrap());
    assert!(all.iter().all(|count| *count > 0), "{outcomes:?}");
    assert!(figures.reused > 0 && figures.opened < figures.exchanges, "connections are kept");
    // Nobody is left who could keep the session: its last task ends.
    let session_tasks = Handle::current().metrics().num_alive_tasks();
    let ground = Arc::into_inner(ground).expect("every caller has ended");
    drop(ground.client);
    eventually("the session's own task has ended", || Handle::current().metrics().num_alive_tasks() < session_tasks)
        .await;
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        // https://prng.di.unimi.it/splitmix64.c
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
