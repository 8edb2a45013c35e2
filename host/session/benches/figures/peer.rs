//! The origin of the figures: on a thread of its own, at every loopback address, in plain text or over TLS.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What an origin has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// The paths of requests, in the order of their heads.
    pub(crate) paths: Mutex<Vec<String>>,
    pub(crate) handshakes: AtomicUsize,
    pub(crate) resumed: AtomicUsize,
}

/// An origin; its thread ends with the process. `/slow` answers after two milliseconds, everything else at once.
pub(crate) struct Peer {
    pub(crate) port: u16,
    pub(crate) seen: Arc<Seen>,
}

impl Peer {
    pub(crate) fn start(tls: Option<ServerConfig>) -> Self {
        let seen = Arc::new(Seen::default());
        let (tell, told) = mpsc::channel();
        let books = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("a port");
                tell.send(listener.local_addr().expect("an address").port()).expect("somebody waits for it");
                tokio::task::LocalSet::new().run_until(accept(listener, tls, books)).await;
            });
        });
        Self { port: told.recv().expect("the origin starts"), seen }
    }
}

async fn accept(listener: TcpListener, tls: Option<ServerConfig>, seen: Arc<Seen>) {
    let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        tokio::task::spawn_local(async move {
            socket.set_nodelay(true).expect("an option");
            let Some(acceptor) = acceptor else { return serve(socket, seen).await };
            let Ok(stream) = acceptor.accept(socket).await else { return };
            seen.handshakes.fetch_add(1, Ordering::SeqCst);
            if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                seen.resumed.fetch_add(1, Ordering::SeqCst);
            }
            serve(stream, seen).await;
        });
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, seen: Arc<Seen>) {
    let answer = service_fn(|request: Request<Incoming>| {
        let path = request.uri().path().to_owned();
        let slow = path.starts_with("/slow");
        seen.paths.lock().expect("no panic holds it").push(path);
        async move {
            if slow {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
        }
    });
    // Who goes away in the middle is no concern of the figures.
    drop(http1::Builder::new().serve_connection(TokioIo::new(io), answer).await);
}
