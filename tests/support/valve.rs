//! A TCP proxy that lets a TLS handshake pass and can hold what the server says after it.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answer::Gate;

/// The proxy. Dropping it closes everything that it holds.
#[derive(Debug)]
pub struct Valve {
    port: u16,
    held: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl Valve {
    /// One on 127.0.0.1 before `origin`. The server's first flight passes; once the client has answered it, each piece
    /// that the server says waits at the gate.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn before(origin: u16, gate: &Gate) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let (count, held) = watch::channel(0);
        let gate = gate.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, origin)).await else { continue };
                connections.spawn(pass(client, server, gate.clone(), count.clone()));
            }
        });
        Self { port, held, _tasks: tasks }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until so many pieces have come to the gate.
    ///
    /// # Panics
    /// If they never do.
    pub async fn holds(&self, pieces: usize) {
        let mut held = self.held.clone();
        let come = crate::soon("a piece at the gate", held.wait_for(|held| *held >= pieces)).await;
        come.expect("the valve counts while it lives");
    }
}

/// Moves bytes both ways until one side ends.
async fn pass(client: TcpStream, server: TcpStream, gate: Gate, held: watch::Sender<usize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (answered, shut) = watch::channel(false);
    let up = async move {
        let mut buffer = vec![0; 64 * 1024];
        let mut first = true;
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            // Before it passes, so that what the server says to it finds the gate shut.
            if !std::mem::take(&mut first) {
                answered.send_replace(true);
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    let down = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if *shut.borrow() {
                held.send_modify(|held| *held += 1);
                gate.pass().await;
            }
            if to_client.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
