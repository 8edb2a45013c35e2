//! A TCP peer that is up to no good: it accepts, and then says nothing, or too little at a time; and a relay to a real one,
//! which stops moving bytes on request.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What it does with each connection.
#[derive(Clone, Debug)]
pub enum Chaos {
    /// Reads, and never answers.
    Silence,
    /// Answers with these bytes, one at a time, so far apart; then nothing.
    Dribble(Vec<u8>, Duration),
    /// Closes at once.
    Close,
}

/// The peer. Dropping it closes everything that it holds.
#[derive(Debug)]
pub struct Peer {
    port: u16,
    accepted: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Peer {
    /// One on 127.0.0.1.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(chaos: Chaos) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(misbehave(socket, chaos.clone()));
            }
        });
        Self { port, accepted, _tasks: tasks }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn misbehave(mut socket: TcpStream, chaos: Chaos) {
    let mut heard = [0; 4096];
    match chaos {
        Chaos::Close => return,
        Chaos::Silence => (),
        Chaos::Dribble(bytes, pause) => {
            for byte in bytes {
                tokio::time::sleep(pause).await;
                if socket.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        }
    }
    while socket.read(&mut heard).await.is_ok_and(|read| read > 0) {}
}

/// A relay to a port of this machine. Dropping it closes everything that it holds.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    lost: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// One on 127.0.0.1 that leads to `to`.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let lost = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&lost);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                // Those that are accepted after the loss was over are well.
                let lost = if switch.load(Ordering::SeqCst) { Arc::default() } else { Arc::clone(&switch) };
                connections.spawn(relay(socket, to, lost));
            }
        });
        Self { port, lost, _tasks: tasks }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on what its connections are sent is lost, without a sign; later ones are well.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }
}

async fn relay(socket: TcpStream, to: u16, lost: Arc<AtomicBool>) {
    let Ok(peer) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { return };
    let ((from_us, to_us), (from_peer, to_peer)) = (socket.into_split(), peer.into_split());
    tokio::join!(carry(from_us, to_peer, &lost), carry(from_peer, to_us, &lost));
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, lost: &AtomicBool) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if !lost.load(Ordering::SeqCst) && to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
    if !lost.load(Ordering::SeqCst) {
        drop(to.shutdown().await);
    }
}
