//! What the pool, the swap and TLS promise, counted: one line a promise, from one run, with what it is measured against.
//!
//! `cargo bench -p seaway-session` prints all of them, `cargo bench -p seaway-session -- swaps` those whose name has the word.

mod peer;
#[path = "../../../../tests/support/kernel.rs"]
#[expect(dead_code, unreachable_pub, reason = "it is a module of the tests, which ask for more")]
mod kernel;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, join_all};
use http_body_util::BodyExt as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use seaway_session::policy::{Document, Preset};
use seaway_session::{Call, Destinations, Environment, Policy, RequestBody, Session};
use tokio::runtime::{Builder, Handle};
use tokio::time::Instant;

use peer::Peer;

type Row = (&'static str, fn() -> BoxFuture<'static, String>);

const ROWS: [Row; 6] = [
    ("evict: a request to C, limit 2, idle to A and B", || evict().boxed()),
    ("order: waiters overtaken by a looping task", || order().boxed()),
    ("limit: open sockets, looked at every ms", || limit().boxed()),
    ("swaps: 300 of limits, dns and deadlines under load", || {
        swaps(["", "pool.limit = 60\ndns.ttl = '1m'\ntotal = '1m'"]).boxed()
    }),
    ("swaps: 300 that no connection outlives", || swaps(["", "tcp.nodelay = false"]).boxed()),
    ("tls: reconnections resumed", || resumed().boxed()),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for (name, run) in ROWS {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            // Of one thread: while it looks at the kernel's table, the session stands still.
            let runtime = match name.starts_with("limit") {
                true => Builder::new_current_thread().enable_all().build(),
                false => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
            };
            println!("{name:<54}{}", runtime.expect("a runtime").block_on(run()));
        }
    }
}

fn policy(text: &str) -> Policy {
    let text =
        format!("tls.roots = 'webpki'\negress.allow = ['127.0.0.0/8']\negress.private = ['127.0.0.0/8']\n{text}");
    let document = Document::parse("figures.toml".as_ref(), &text).expect("it is TOML");
    document.policy(Preset::Default, &[]).expect("it is a policy").0
}

fn session(policy: Policy) -> Session {
    Session::new(policy, &Environment::default(), Destinations::default()).expect("a session")
}

async fn get(session: &Session, url: &str) -> Result<(), seaway_session::Error> {
    let request = http::Request::get(url).body(RequestBody::empty()).expect("a request");
    session.send(request, Call::default()).await?.into_body().collect().await.map(drop)
}

/// 127.0.0.N.
fn at(peer: &Peer, host: usize, path: &str) -> String {
    format!("http://127.0.0.{host}:{}{path}", peer.port)
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

/// A request that has to have somebody's idle connection closed, beside one for which there is room.
async fn evict() -> String {
    let peer = Peer::start(None);
    let run = async |limit: usize| {
        let mut times = Vec::new();
        for _ in 0..200 {
            let session = session(policy(&format!("pool.limit = {limit}")));
            for host in [1, 2] {
                get(&session, &at(&peer, host, "/")).await.expect("an answer");
            }
            let start = Instant::now();
            get(&session, &at(&peer, 3, "/")).await.expect("an answer");
            times.push(start.elapsed());
            assert_eq!(session.figures().evicted, u64::from(limit == 2));
        }
        (percentile(&mut times, 0.5), percentile(&mut times, 1.0))
    };
    let ((room, _), (evicting, worst)) = (run(3).await, run(2).await);
    let ratio = evicting.as_secs_f64() / room.as_secs_f64();
    format!("p50 {evicting:?} ({ratio:.2} x with room), of 200 the worst {worst:?}")
}

/// Thirty times: a caller in a loop, and five that wait while its first request is being answered. A round in which they came
/// later does not count: there is nobody to be overtaken.
async fn order() -> String {
    let (mut overtaken, mut rounds) = (0, 0);
    while rounds < 30 {
        let peer = Peer::start(None);
        let session = session(policy("pool.limit = 1"));
        let done = AtomicBool::new(false);
        let looping = async {
            get(&session, &at(&peer, 1, "/slow/loop")).await.expect("an answer");
            let figures = session.figures();
            let in_time = figures.waiting + figures.open - figures.idle >= 5;
            while !done.load(Ordering::SeqCst) {
                get(&session, &at(&peer, 1, "/slow/loop")).await.expect("an answer");
            }
            in_time
        };
        let waiters = async {
            while peer.seen.paths.lock().expect("no panic holds it").is_empty() {
                tokio::task::yield_now().await;
            }
            let urls: Vec<String> = (0..5).map(|_| at(&peer, 1, "/slow/waiter")).collect();
            for answer in join_all(urls.iter().map(|url| get(&session, url))).await {
                answer.expect("an answer");
            }
            done.store(true, Ordering::SeqCst);
        };
        if !tokio::join!(looping, waiters).0 {
            continue;
        }
        rounds += 1;
        let paths = peer.seen.paths.lock().expect("no panic holds it").clone();
        let later_loop = paths.iter().skip(1).position(|path| path.ends_with("loop")).unwrap_or(paths.len());
        overtaken += paths.iter().skip(1 + later_loop).filter(|path| path.ends_with("waiter")).count();
    }
    format!("{overtaken} of {}", 5 * 30)
}

/// Sixty-four callers at forty hosts over ten connections, for five seconds.
async fn limit() -> String {
    const LIMIT: usize = 10;
    let peer = Arc::new(Peer::start(None));
    let session = session(policy(&format!("pool.limit = {LIMIT}")));
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..64)
        .map(|caller: usize| {
            let (session, peer, done, served) =
                (session.clone(), Arc::clone(&peer), Arc::clone(&done), Arc::clone(&served));
            Handle::current().spawn(async move {
                for turn in 0.. {
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                    get(&session, &at(&peer, 1 + (caller + turn * 7) % 40, "/")).await.expect("an answer");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let (start, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(1)));
    let (mut looks, mut peak, mut over) = (0, 0, 0);
    while start.elapsed() < Duration::from_secs(5) {
        ticks.tick().await;
        let open = kernel::sockets_to(peer.port);
        (looks, peak, over) = (looks + 1, peak.max(open), over + usize::from(open > LIMIT));
    }
    done.store(true, Ordering::SeqCst);
    join_all(callers).await;
    let (served, opened) = (served.load(Ordering::SeqCst), session.figures().opened);
    format!("{over} of {looks} looks over {LIMIT}, peak {peak}; {served} requests, {opened} opened")
}

/// Sixteen callers: as many requests before as during 300 swaps, one every ten milliseconds.
async fn swaps(policies: [&str; 2]) -> String {
    let peer = Arc::new(Peer::start(None));
    let session = session(policy(policies[0]));
    let errors = Arc::new(AtomicUsize::new(0));
    let load = async |done: Arc<AtomicBool>| {
        let callers = (0..16).map(|_| {
            let (session, peer, done, errors) =
                (session.clone(), Arc::clone(&peer), Arc::clone(&done), Arc::clone(&errors));
            Handle::current().spawn(async move {
                let mut times = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    if get(&session, &at(&peer, 1, "/slow")).await.is_err() {
                        errors.fetch_add(1, Ordering::SeqCst);
                    }
                    times.push(start.elapsed());
                }
                times
            })
        });
        let times = join_all(callers.collect::<Vec<_>>()).await;
        times.into_iter().flat_map(|times| times.expect("a caller ends")).collect::<Vec<_>>()
    };
    let phase = async |swaps: bool| {
        let done = Arc::new(AtomicBool::new(false));
        let middle = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            for turn in 0..300 {
                ticks.tick().await;
                if swaps {
                    let new = policy(policies[(turn + 1) % 2]);
                    session
                        .swap(new, &Environment::default(), Destinations::default())
                        .expect("a policy that can be used");
                }
            }
            done.store(true, Ordering::SeqCst);
        };
        tokio::join!(load(Arc::clone(&done)), middle).0
    };
    // Warm; then before, during and after.
    phase(false).await;
    let mut found = Vec::new();
    for swaps in [false, true, false] {
        let mut times = phase(swaps).await;
        found.push((times.len(), percentile(&mut times, 0.99)));
    }
    let [(_, before), (during_count, during), (_, after)] = found[..] else { unreachable!("three phases") };
    let ratio = during.as_secs_f64() / ((before + after) / 2).as_secs_f64();
    let errors = errors.load(Ordering::SeqCst);
    format!(
        "{errors} errors of {during_count}; p99 {before:?} before, {during:?} during ({ratio:.2} x), {after:?} after"
    )
}

/// A hundred requests, each over a connection of its own.
async fn resumed() -> String {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.self_signed(&key).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("ring speaks them");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a PKCS#8 key");
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private);
    let peer = Peer::start(Some(server.expect("they fit")));
    let file = std::env::temp_dir().join(format!("seaway-figures-{}.pem", std::process::id()));
    std::fs::write(&file, certificate.pem()).expect("a file");
    let trust = format!("pool.force_close = true\ntls.ca = ['{}']", file.display());
    let session = session(policy(&trust));
    std::fs::remove_file(&file).expect("it is there");
    for _ in 0..101 {
        get(&session, &format!("https://127.0.0.1:{}/", peer.port)).await.expect("an answer");
    }
    let (resumed, all) = (peer.seen.resumed.load(Ordering::SeqCst), peer.seen.handshakes.load(Ordering::SeqCst));
    format!("{resumed} of {}", all - 1)
}
