//! What the kernel tells of a connection that was used and then closed, reset or half-closed, by real sockets.
#![cfg(target_os = "linux")]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;

/// A connection on which ten bytes went each way.
async fn used() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let mut heard = [0; 10];
    stream.write_all(b"0123456789").await.unwrap();
    peer.read_exact(&mut heard).await.unwrap();
    peer.write_all(b"0123456789").await.unwrap();
    stream.read_exact(&mut heard).await.unwrap();
    (Socket::new(stream, Reset::default()), peer)
}

impl Socket {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        std::future::poll_fn(|context| self.poll(|stream| stream.poll_write(context, bytes))).await
    }

    /// True if what is read next is the end.
    async fn ends(&mut self) -> bool {
        let mut space = [0; 1];
        let mut buffer = ReadBuf::new(&mut space);
        let read = std::future::poll_fn(|context| self.poll(|stream| stream.poll_read(context, &mut buffer))).await;
        read.is_ok() && buffer.filled().is_empty()
    }

    fn acknowledged(&mut self) -> u64 {
        match self.before() {
            Before::Open { acknowledged } => acknowledged.unwrap(),
            Before::Gone => panic!("it is open"),
        }
    }

    async fn verdict(&mut self, acknowledged: u64) -> Fate {
        let decided = async {
            loop {
                match self.fate(acknowledged) {
                    Fate::Open => tokio::time::sleep(Duration::from_millis(1)).await,
                    fate @ (Fate::Refused | Fate::Unknown) => return fate,
                }
            }
        };
        timeout(Duration::from_secs(20), decided).await.unwrap()
    }
}

fn reset(peer: TcpStream) {
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn an_idle_connection_tells_whether_it_is_there() {
    let (mut socket, mut peer) = used().await;
    assert_eq!((socket.idle(), socket.before() == Before::Gone), (Idle::Quiet, false));
    peer.write_all(b"x").await.unwrap();
    socket.stream.readable().await.unwrap();
    assert_eq!((socket.idle(), socket.before() == Before::Gone), (Idle::Bytes, false));
    // A FIN behind unread bytes is one.
    drop(peer);
    while socket.before() != Before::Gone {
        tokio::task::yield_now().await;
    }
    assert_eq!(socket.idle(), Idle::Bytes);
    let (mut socket, peer) = used().await;
    reset(peer);
    assert!(!socket.ends().await);
    // The kernel tells an error once; it is remembered.
    assert_eq!((socket.idle(), socket.before(), socket.failed), (Idle::Gone, Before::Gone, true));
}

/// K1: the peer had closed, and its kernel refuses what comes.
#[tokio::test]
async fn what_a_closed_peer_refuses_is_attested() {
    for pieces in 1..4 {
        let (mut socket, peer) = used().await;
        let before = socket.acknowledged();
        drop(peer);
        // A later write may meet the reset, and is told of it in the reader's place.
        for _ in 0..pieces {
            let _either = socket.write(b"POST").await;
        }
        assert!(socket.ends().await);
        assert_eq!(socket.verdict(before).await, Fate::Refused, "{pieces}");
    }
}

/// K2: whatever the peer does once it has read, nothing is attested.
#[tokio::test]
async fn what_a_peer_has_read_is_never_attested() {
    for mode in ["fin", "reset", "late reset", "half-close", "half-close, late reset", "reset, told to a writer"] {
        let (mut socket, mut peer) = used().await;
        let before = socket.acknowledged();
        if mode.starts_with("half-close") {
            peer.shutdown().await.unwrap();
        }
        socket.write(b"POST").await.unwrap();
        let mut heard = [0; 4];
        peer.read_exact(&mut heard).await.unwrap();
        if mode.contains("late") {
            // Past the kernel's delayed acknowledgement.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let mut kept = None;
        match mode {
            "fin" => drop(peer),
            "half-close" => kept = Some(peer),
            _ => reset(peer),
        }
        if mode.ends_with("writer") {
            // The error goes to the write; what is read then looks like an end.
            while socket.write(b"x").await.is_ok() {
                tokio::task::yield_now().await;
            }
            assert!(socket.ends().await);
        } else {
            assert_eq!(socket.ends().await, mode.starts_with("half-close") || mode == "fin", "{mode}");
        }
        assert_eq!(socket.verdict(before).await, Fate::Unknown, "{mode}");
        drop(kept);
    }
}

/// Bytes that the peer took in part are not repeated either, though it closed without reading them: its kernel took them.
#[tokio::test]
async fn what_came_before_the_close_is_not_attested() {
    let (mut socket, peer) = used().await;
    let before = socket.acknowledged();
    socket.write(b"POST").await.unwrap();
    drop(peer);
    assert!(!socket.ends().await);
    assert_eq!(socket.verdict(before).await, Fate::Unknown);
}
