//! dnsmasq, the real one, with names of the test's own, and what it was asked.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::daemon::Daemon;

/// A running dnsmasq; dropping it ends it.
#[derive(Debug)]
pub struct Dnsmasq(Daemon);

impl Dnsmasq {
    /// Starts dnsmasq with these lines of its configuration; it knows of no name but theirs. Absent, after a line on
    /// standard error, where it is not installed.
    ///
    /// # Panics
    /// If it does not start, or is missing though servers are required.
    pub async fn start(lines: &[&str]) -> Option<Self> {
        let common = "port=$PORT\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-poll\nno-hosts\n\
                      cache-size=0\nlog-queries\nlog-facility=-\n";
        let configuration = format!("{common}{}\n", lines.join("\n"));
        let files = [("dnsmasq.conf", configuration.as_str())];
        let arguments = ["--no-daemon", "--conf-file=$DIR/dnsmasq.conf"];
        Daemon::start("dnsmasq", "apt-get install dnsmasq-base", &arguments, &files).await.map(Self)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.0.port()).into()
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.0.folder().path().join("output")).unwrap_or_default()
    }

    /// How often it was asked for records of this kind (`A`, `AAAA`) of a name.
    #[must_use]
    pub fn asked(&self, record: &str, name: &str) -> usize {
        let question = format!(" query[{record}] {name} from ");
        self.log().lines().filter(|line| line.contains(&question)).count()
    }
}

/// A server over UDP that knows nothing itself: it hands each question to the next of several real servers, in turn, once
/// it may. A question that is repeated while its answer is awaited, as UDP may need it, is handed on once.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    may: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Hands questions on at once.
    ///
    /// # Panics
    /// If there is no socket to be had.
    pub async fn to(servers: Vec<SocketAddr>) -> Self {
        let relay = Self::start(servers, None).await;
        relay.speak();
        relay
    }

    /// Keeps questions until it may speak.
    ///
    /// # Panics
    /// If there is no socket to be had.
    pub async fn silent(server: SocketAddr) -> Self {
        Self::start(vec![server], None).await
    }

    /// Writes another code into the answers.
    ///
    /// # Panics
    /// If there is no socket to be had.
    pub async fn with_rcode(server: SocketAddr, rcode: u8) -> Self {
        let relay = Self::start(vec![server], Some(rcode)).await;
        relay.speak();
        relay
    }

    async fn start(servers: Vec<SocketAddr>, rcode: Option<u8>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
        let address = socket.local_addr().expect("a socket has an address");
        let may = Arc::new(Semaphore::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(relay(Arc::new(socket), servers, rcode, Arc::clone(&may)));
        Self { address, may, _tasks: tasks }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands on what it has kept, and all that comes.
    pub fn speak(&self) {
        self.may.add_permits(1);
    }
}

async fn relay(socket: Arc<UdpSocket>, servers: Vec<SocketAddr>, rcode: Option<u8>, may: Arc<Semaphore>) {
    let (mut tasks, mut buffer, mut turns) = (JoinSet::new(), [0; 4096], servers.iter().cycle());
    let awaited = Arc::new(Mutex::new(HashSet::new()));
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.expect("a bound socket receives");
        let question = buffer[..length].to_vec();
        if !lock(&awaited).insert(question.clone()) {
            continue;
        }
        let server = *turns.next().expect("there is a server");
        let (socket, may, awaited) = (Arc::clone(&socket), Arc::clone(&may), Arc::clone(&awaited));
        tasks.spawn(async move {
            let _may = may.acquire().await.expect("nobody closes it");
            let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
            own.send_to(&question, server).await.expect("a loopback address takes a packet");
            let mut answer = [0; 4096];
            let length = own.recv(&mut answer).await.expect("a server that was asked answers");
            if let Some(rcode) = rcode {
                // RFC 1035, section 4.1.1: the lower half of the fourth byte.
                answer[3] = answer[3] & 0xf0 | rcode;
            }
            lock(&awaited).remove(&question);
            // Who asked may be gone.
            drop(socket.send_to(&answer[..length], from).await);
        });
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
