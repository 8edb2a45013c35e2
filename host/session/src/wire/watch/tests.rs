//! What a watched connection says of a request when it ends, by real sockets.
#![cfg(target_os = "linux")]

use std::io::IoSlice;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::pool::Slot;
use crate::route::{Origin, Route};
use crate::{Destinations, Environment, Policy, Session, tcp, tls};

/// A watched connection on which a request has been handed over.
async fn handed(encrypted: bool) -> (Watched<tcp::Stream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let policy = Policy { tls: tls::Settings { roots: tls::Roots::Webpki, ..Default::default() }, ..Policy::default() };
    let session = Session::new(policy, &Environment::default(), Destinations::default()).unwrap();
    let route = Arc::new(Route::to(Origin::parse("http://x.test").unwrap(), None));
    let slot = Slot::of(&session, &route);
    let stream = tcp::connect(&tcp::Settings::default(), &[[127, 0, 0, 1].into()], port, slot).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    let watch = Arc::new(Watch::new(Some(stream.handle()), encrypted));
    watch.begin();
    (Watched::new(stream, watch), peer)
}

/// The first write of a request, with nothing in it: it has looked at the socket, and the peer may close now.
async fn begun(encrypted: bool) -> (Watched<tcp::Stream>, TcpStream) {
    let (mut watched, peer) = handed(encrypted).await;
    assert_eq!(watched.write(b"").await.unwrap(), 0);
    (watched, peer)
}

/// K1: the close and the request have passed each other. The reset may come to a write first, which is not the last word.
#[tokio::test]
async fn a_request_that_met_the_close_on_its_way_is_attested() {
    for pieces in 1..4 {
        let (mut watched, peer) = begun(false).await;
        drop(peer);
        for _ in 0..pieces {
            assert_eq!(watched.write_vectored(&[IoSlice::new(b"PO"), IoSlice::new(b"ST")]).await.unwrap(), 4);
            watched.flush().await.unwrap();
        }
        assert_eq!(watched.watch.ending(), None);
        assert_eq!(watched.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(watched.watch.ending(), Some(Ending::Attested), "{pieces}");
    }
}

/// The end is told once it is known what it means: here, when the peer's kernel acknowledges what it has read.
#[tokio::test]
async fn a_request_that_was_read_behind_a_half_close_is_not_attested() {
    let (mut watched, mut peer) = begun(false).await;
    peer.shutdown().await.unwrap();
    watched.write_all(b"POST").await.unwrap();
    peer.read_exact(&mut [0; 4]).await.unwrap();
    assert_eq!(watched.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(watched.watch.ending(), Some(Ending::Closed));
}

/// Our own kernel knows of the close: nothing is written, and the peer could read nothing.
#[tokio::test]
async fn nothing_is_written_to_a_peer_that_has_closed() {
    let (mut watched, mut peer) = handed(false).await;
    peer.shutdown().await.unwrap();
    while watched.watch.socket.as_ref().unwrap().before() != Before::Gone {
        tokio::task::yield_now().await;
    }
    let error = watched.write(b"POST").await.unwrap_err();
    assert_eq!((error.kind(), watched.watch.ending()), (io::ErrorKind::BrokenPipe, Some(Ending::Unwritten)));
    drop(watched);
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
}

/// A byte of the answer, or a reset, ends the watch: what fails then is an error.
#[tokio::test]
async fn an_answer_or_a_reset_is_no_ending() {
    let (mut watched, mut peer) = begun(false).await;
    watched.write_all(b"POST").await.unwrap();
    peer.read_exact(&mut [0; 4]).await.unwrap();
    peer.write_all(b"H").await.unwrap();
    drop(peer);
    let mut heard = Vec::new();
    watched.read_to_end(&mut heard).await.unwrap();
    assert_eq!((&heard[..], watched.watch.ending()), (&b"H"[..], None));
    let (mut watched, peer) = begun(false).await;
    watched.write_all(b"POST").await.unwrap();
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert_eq!(watched.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(watched.watch.ending(), None);
}

/// S9: what lies in an idle socket costs a connection in plain text; under TLS its task reads it first.
#[tokio::test]
async fn bytes_under_tls_are_left_to_the_connections_task() {
    let (watched, mut peer) = handed(false).await;
    assert!(watched.watch.is_there().await);
    peer.write_all(b"x").await.unwrap();
    while watched.watch.socket.as_ref().unwrap().idle() == Idle::Quiet {
        tokio::task::yield_now().await;
    }
    assert!(!watched.watch.is_there().await);
    let (mut watched, mut peer) = handed(true).await;
    peer.write_all(b"x").await.unwrap();
    while watched.watch.socket.as_ref().unwrap().idle() == Idle::Quiet {
        tokio::task::yield_now().await;
    }
    let watch = Arc::clone(&watched.watch);
    let (there, read) = tokio::join!(watch.is_there(), async {
        tokio::task::yield_now().await;
        watched.read(&mut [0; 8]).await
    });
    assert_eq!((there, read.unwrap()), (true, 1));
}
