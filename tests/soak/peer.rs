//! Origins that keep no books but one number: what a million requests would leave in a ledger is no leak of the session's.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What it answers is in the path: `/ok`, `/chunks`, `/close`, `/cut`, `/reset`, `/silent`. Over HTTP/2, where ALPN agrees on
/// it, `/close` ends the connection with GOAWAY and `/cut` resets the stream; there is neither `/reset` nor `/silent`.
pub(super) struct Peer {
    pub(super) port: u16,
    scheme: &'static str,
    open: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Peer {
    pub(super) async fn start(tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let (open, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        tasks.spawn(accept(listener, acceptor, Arc::clone(&open)));
        Self { port, scheme, open, _tasks: tasks }
    }

    pub(super) fn at(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.port)
    }

    /// Connections that it has open.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, open: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (acceptor, open) = (acceptor.clone(), Arc::clone(&open));
        open.fetch_add(1, Ordering::SeqCst);
        connections.spawn(async move {
            // Whatever breaks a connection, the caller is the one to hear of it.
            drop(serve(socket, acceptor).await);
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(socket: TcpStream, acceptor: Option<TlsAcceptor>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    match acceptor {
        None => {
            let mut socket = socket;
            if converse(&mut socket).await? {
                SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
            }
        }
        Some(acceptor) => {
            let mut stream = acceptor.accept(socket).await?;
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let answered = streams(&mut stream).await;
                // What closes with something unread in it is reset, and the end of an answer may be lost with it.
                stream.shutdown().await?;
                let mut unread = Vec::new();
                while stream.read_buf(&mut unread).await? > 0 {
                    unread.clear();
                }
                return answered.map_err(io::Error::other);
            }
            if converse(&mut stream).await? {
                SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO))?;
            }
        }
    }
    Ok(())
}

/// Answers until one side is done; true if the connection is to be reset.
async fn converse(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<bool> {
    let mut unread = Vec::with_capacity(1024);
    loop {
        let end = loop {
            if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if io.read_buf(&mut unread).await? == 0 {
                return Ok(false);
            }
        };
        let head = String::from_utf8_lossy(&unread[..end]).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let whole = end + length.unwrap_or(0);
        while unread.len() < whole {
            if io.read_buf(&mut unread).await? == 0 {
                return Ok(false);
            }
        }
        unread.drain(..whole);
        match head.split(' ').nth(1).unwrap_or_default() {
            "/ok" => io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await?,
            "/chunks" => {
                for piece in
                    ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "2\r\nhe\r\n", "3\r\nllo\r\n0\r\n\r\n"]
                {
                    io.write_all(piece.as_bytes()).await?;
                    io.flush().await?;
                    tokio::task::yield_now().await;
                }
            }
            "/close" => {
                io.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello").await?;
                io.shutdown().await?;
                return Ok(false);
            }
            "/cut" => {
                io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello").await?;
                io.flush().await?;
                return Ok(false);
            }
            "/reset" => return Ok(true),
            _silent => {
                while io.read_buf(&mut unread).await? > 0 {
                    unread.clear();
                }
                return Ok(false);
            }
        }
        io.flush().await?;
    }
}

/// Answers streams of HTTP/2 until one side is done.
async fn streams(io: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(io).await?;
    let mut answers = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        while answers.try_join_next().is_some() {}
        let (request, respond) = accepted?;
        if request.uri().path() == "/close" {
            connection.graceful_shutdown();
        }
        answers.spawn(answer(request, respond));
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut body = respond.send_response(Response::new(()), false)?;
    body.send_data(Bytes::from_static(b"he"), false)?;
    tokio::task::yield_now().await;
    match request.uri().path() {
        "/cut" => body.send_reset(Reason::INTERNAL_ERROR),
        _ => body.send_data(Bytes::from_static(b"llo"), true)?,
    }
    Ok(())
}
