//! A recording HTTP/1.1 server on raw sockets, which answers as a script says and misbehaves on request.
//!
//! Written by hand because no library writes a truncated chunk or forgets close_notify. Its ledger is the truth that
//! tests compare with; dropping it closes everything it holds, and fails the test if it had to complain.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::{HandshakeKind, ServerConfig};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::answer::{Answer, Gate, Script, Step, Then};
use crate::kernel;
use crate::ledger::{End, Ledger};
use crate::request::{Framing, Request};
use crate::soon;

/// A server of a test's own.
#[derive(Debug)]
pub struct Origin {
    scheme: &'static str,
    address: SocketAddr,
    books: Arc<watch::Sender<Ledger>>,
    /// Accepts; owns the connections' tasks.
    _tasks: JoinSet<()>,
}

impl Origin {
    /// Plain HTTP on 127.0.0.1.
    pub async fn plain(script: impl Into<Script>) -> Self {
        Self::start(Ipv4Addr::LOCALHOST, None, None, script.into()).await
    }

    /// Plain HTTP on the same port of another address of this machine.
    pub async fn beside(&self, ip: Ipv4Addr, script: impl Into<Script>) -> Self {
        Self::listen((ip, self.port()).into(), None, None, script.into()).await
    }

    /// Plain HTTP on every address of this machine, so that 127.0.0.1, 127.0.0.2, ... are so many hosts.
    pub async fn everywhere(script: impl Into<Script>) -> Self {
        Self::start(Ipv4Addr::UNSPECIFIED, None, None, script.into()).await
    }

    /// HTTP over TLS on 127.0.0.1, called `localhost`.
    pub async fn tls(config: ServerConfig, script: impl Into<Script>) -> Self {
        Self::start(Ipv4Addr::LOCALHOST, Some(TlsAcceptor::from(Arc::new(config))), None, script.into()).await
    }

    /// The same; each handshake waits at the gate.
    pub async fn tls_after(gate: &Gate, config: ServerConfig, script: impl Into<Script>) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::start(Ipv4Addr::LOCALHOST, Some(acceptor), Some(gate.clone()), script.into()).await
    }

    async fn start(ip: Ipv4Addr, acceptor: Option<TlsAcceptor>, gate: Option<Gate>, script: Script) -> Self {
        Self::listen((ip, 0).into(), acceptor, gate, script).await
    }

    async fn listen(at: SocketAddr, acceptor: Option<TlsAcceptor>, gate: Option<Gate>, script: Script) -> Self {
        let listener = TcpListener::bind(at).await.expect("a loopback port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let books = Arc::new(watch::Sender::new(Ledger::default()));
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let mut tasks = JoinSet::new();
        let server = Server { acceptor, gate, script, books: Arc::clone(&books) };
        tasks.spawn(accept(listener, Arc::new(server)));
        Self { scheme, address, books, _tasks: tasks }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a path; by name over TLS, by address otherwise.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        self.at(host, path)
    }

    /// The URL of a path at another of its names.
    #[must_use]
    pub fn at(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.port())
    }

    /// The books so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.books.borrow().clone()
    }

    /// Waits until the books say so, and returns them.
    ///
    /// # Panics
    /// If they never do.
    pub async fn until(&self, what: &str, fact: impl FnMut(&Ledger) -> bool) -> Ledger {
        let mut books = self.books.subscribe();
        let found = soon(what, books.wait_for(fact)).await;
        found.expect("the origin keeps its books while it lives").clone()
    }

    /// Forgets its complaints, where a test sends what is none of HTTP.
    pub fn forgive(&self) {
        self.books.send_modify(|ledger| ledger.complaints.clear());
    }

    /// Waits until so many requests have come.
    pub async fn requests(&self, count: usize) -> Ledger {
        self.until(&format!("{count} requests"), |ledger| ledger.requests.len() >= count).await
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let complaints = std::mem::take(&mut self.ledger().complaints);
        assert!(complaints.is_empty() || std::thread::panicking(), "the origin complains: {complaints:?}");
    }
}

/// What all connections of an origin share.
struct Server {
    acceptor: Option<TlsAcceptor>,
    /// Where each handshake waits.
    gate: Option<Gate>,
    script: Script,
    books: Arc<watch::Sender<Ledger>>,
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    let mut connections = JoinSet::new();
    loop {
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => return complain(&server.books, format!("accept: {error}")),
            },
            Some(_ended) = connections.join_next() => continue,
        };
        let known = server.books.borrow().kernel_peak;
        let sockets = kernel::peak_to(port, known);
        let mut number = 0;
        server.books.send_modify(|ledger| {
            number = ledger.accepted;
            ledger.accepted += 1;
            ledger.open += 1;
            ledger.peers.push(peer.ip());
            ledger.peak = ledger.peak.max(ledger.open);
            ledger.kernel_peak = ledger.kernel_peak.max(sockets);
        });
        connections.spawn(serve(socket, Arc::clone(&server), number));
    }
}

async fn serve(socket: TcpStream, server: Arc<Server>, number: usize) {
    drop(socket.set_nodelay(true));
    let io = match &server.acceptor {
        None => Ok(Io::Plain(socket)),
        Some(acceptor) => {
            if let Some(gate) = &server.gate {
                gate.pass().await;
            }
            acceptor.accept(socket).await.map(|stream| Io::Tls(Box::new(stream)))
        }
    };
    let end = match io {
        Ok(io) => {
            if let Io::Tls(stream) = &io {
                let tls = stream.get_ref().1;
                let name = tls.server_name().map(str::to_owned);
                let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
                let client = tls.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
                server.books.send_modify(|ledger| {
                    ledger.handshakes.push(name);
                    ledger.resumed.push(resumed);
                    ledger.clients.push(client);
                });
            }
            let mut connection = Connection { io, unread: BytesMut::new(), books: Arc::clone(&server.books), number };
            connection.run(&server.script).await
        }
        Err(error) => {
            server.books.send_modify(|ledger| ledger.refused.push(error.to_string()));
            End::Broken
        }
    };
    server.books.send_modify(|ledger| {
        ledger.open -= 1;
        ledger.ends.push((number, end));
    });
}

fn complain(books: &watch::Sender<Ledger>, complaint: String) {
    books.send_modify(|ledger| ledger.complaints.push(complaint));
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read_buf(buffer).await,
            Self::Tls(stream) => stream.read_buf(buffer).await,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

struct Connection {
    io: Io,
    unread: BytesMut,
    books: Arc<watch::Sender<Ledger>>,
    number: usize,
}

impl Connection {
    async fn run(&mut self, script: &Script) -> End {
        for nth in 0.. {
            let request = match self.request(nth, script.at_head).await {
                Ok(Some(request)) => request,
                Ok(None) => return End::Peer,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    complain(&self.books, error.to_string());
                    return End::Us;
                }
                Err(_) => return End::Broken,
            };
            let Answer { steps, then } = (script.answer)(&request);
            self.books.send_modify(|ledger| {
                ledger.requests.push(request);
                ledger.busy += 1;
                ledger.busy_peak = ledger.busy_peak.max(ledger.busy);
            });
            let result = self.answer(steps).await;
            if let Err(end) = result {
                return end;
            }
            if let Some(end) = self.then(then, script.at_head).await {
                return end;
            }
        }
        End::Us
    }

    async fn answer(&mut self, mut steps: Vec<Step>) -> Result<(), End> {
        let last = steps.pop();
        let mut result = Ok(());
        for step in steps {
            result = self.step(step).await;
            if result.is_err() {
                break;
            }
        }
        // Before the last byte leaves: the peer may act on it faster than these books are written.
        self.books.send_modify(|ledger| ledger.busy -= 1);
        match (result, last) {
            (Ok(()), Some(last)) => self.step(last).await,
            (result, _) => result,
        }
    }

    /// One step of an answer; the peer may go away while it waits.
    async fn step(&mut self, step: Step) -> Result<(), End> {
        match step {
            Step::Write(bytes) => {
                self.io.write(&bytes).await.map_err(|_| End::Broken)?;
                self.books.send_modify(|ledger| ledger.written += bytes.len());
                Ok(())
            }
            Step::Wait(gate) => tokio::select! {
                () = gate.pass() => Ok(()),
                end = gone(&mut self.io, &mut self.unread) => Err(end),
            },
        }
    }

    /// What follows an answer; absent if the connection goes on.
    async fn then(&mut self, then: Then, unread_body: bool) -> Option<End> {
        match then {
            Then::Keep => return None,
            Then::Close => {
                drop(self.io.shutdown().await);
                // What the peer still sends would turn our close into a reset, which could overtake the answer.
                if unread_body {
                    let bound = Duration::from_secs(1);
                    drop(tokio::time::timeout(bound, gone(&mut self.io, &mut self.unread)).await);
                }
            }
            Then::Drop => {}
            Then::Reset => {
                drop(SockRef::from(self.io.socket()).set_linger(Some(Duration::ZERO)));
                return Some(End::Us);
            }
            Then::CloseIn(idle) | Then::HalfCloseIn(idle) => {
                match tokio::time::timeout(idle, self.io.read(&mut self.unread)).await {
                    Ok(Ok(0)) => return Some(End::Peer),
                    Ok(Ok(_)) => return None,
                    Ok(Err(_)) => return Some(End::Broken),
                    // As servers do, it looks at its socket once more before it acts on its clock.
                    Err(_) if SockRef::from(self.io.socket()).peek(&mut [MaybeUninit::uninit()]).is_ok() => {
                        return None;
                    }
                    Err(_) if matches!(then, Then::CloseIn(_)) => {}
                    Err(_) => {
                        drop(self.io.shutdown().await);
                        return None;
                    }
                }
            }
            Then::Hang => return Some(gone(&mut self.io, &mut self.unread).await),
            Then::Ignore => std::future::pending().await,
        }
        Some(End::Us)
    }

    /// The next request; absent if the peer closed before its first byte.
    async fn request(&mut self, nth: usize, at_head: bool) -> io::Result<Option<Request>> {
        let head = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break self.unread.split_to(end + 4);
            }
            if self.unread.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
                return Err(invalid(format!(
                    "a request that begins with {:?}",
                    &self.unread[..self.unread.len().min(3)]
                )));
            }
            if self.io.read(&mut self.unread).await? == 0 {
                return if self.unread.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        };
        let (request, framing) = Request::parse(&String::from_utf8_lossy(&head)).map_err(invalid)?;
        let (body, trailers) = match framing {
            _ if at_head => Default::default(),
            Framing::None => Default::default(),
            Framing::Length(length) => (self.take(length).await?, Vec::new()),
            Framing::Chunked => self.chunks().await?,
        };
        Ok(Some(Request { connection: self.number, nth, body, trailers, ..request }))
    }

    async fn take(&mut self, length: usize) -> io::Result<Bytes> {
        while self.unread.len() < length {
            if self.io.read(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.split_to(length).freeze())
    }

    async fn chunks(&mut self) -> io::Result<(Bytes, Vec<String>)> {
        let mut body = BytesMut::new();
        loop {
            let text = self.line().await?;
            let length =
                usize::from_str_radix(&text, 16).map_err(|_| invalid(format!("not a chunk's size: {text:?}")))?;
            if length == 0 {
                break;
            }
            let piece = self.take(length + 2).await?;
            body.extend_from_slice(&piece[..length]);
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok((body.freeze(), trailers));
            }
            trailers.push(line);
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                let line = self.unread.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.io.read(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Waits until the peer has closed. What it still sends is thrown away.
async fn gone(io: &mut Io, unread: &mut BytesMut) -> End {
    loop {
        match io.read(unread).await {
            Ok(0) => return End::Peer,
            Ok(_) => unread.clear(),
            Err(_) => return End::Broken,
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn invalid(complaint: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, complaint)
}
