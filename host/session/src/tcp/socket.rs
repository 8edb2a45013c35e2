//! A connected socket: its bytes, its place in the pool's limits, and what it tells those who do not own it.
//!
//! The connection's task owns the socket. Who leases the connection holds a [`Handle`], which keeps nothing open: through
//! it the pool asks whether an idle connection is still there, and `wire` what became of a request whose connection ended.

use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::pool::{Reset, Slot, SlotId};
use crate::sys;

/// A connected socket with its place in the pool's limits, which is given back once the descriptor has closed.
#[derive(Debug)]
pub(crate) struct Stream(Arc<Held>);

#[derive(Debug)]
struct Held {
    // Before the slot: fields are dropped in this order.
    socket: Mutex<Socket>,
    slot: Slot,
    peer: IpAddr,
}

/// A socket that is reset when it closes, if its connection was given up so.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    reset: Reset,
    /// True once reading or writing has failed, unless because the peer had closed and takes no more. The kernel tells an
    /// error once; after it, a connection that was reset reads like one that was closed.
    failed: bool,
    /// True once a write has met a peer that had closed and takes no more.
    refused: bool,
}

/// What lies in an idle socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Nothing: the connection is there, as far as anybody knows.
    Quiet,
    /// Bytes that nobody has read yet.
    Bytes,
    /// Its end.
    Gone,
}

/// What is known of a connection before something is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// The peer has closed it: what would be written now would be for nobody.
    Gone,
    /// It is open.
    Open {
        /// Bytes that the peer's kernel has acknowledged so far; absent where this system does not say.
        acknowledged: Option<u64>,
    },
}

/// What became of bytes that were written to a connection whose end has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The peer's kernel has refused them all: it had closed before, then reset, and acknowledged none.
    Refused,
    /// It took some, or may have.
    Unknown,
    /// It has not said yet.
    Open,
}

/// Looks at a socket that somebody else owns.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Weak<Held>);

impl Stream {
    pub(super) fn new(stream: TcpStream, slot: Slot, peer: IpAddr) -> Self {
        let socket = Socket::new(stream, slot.reset());
        Self(Arc::new(Held { socket: Mutex::new(socket), slot, peer }))
    }

    /// Closes the socket and returns the slot; absent while somebody looks at it.
    pub(super) fn close(self) -> Option<Slot> {
        let Held { socket, slot, peer: _ } = Arc::into_inner(self.0)?;
        drop(socket);
        Some(slot)
    }

    /// The address at the other end.
    pub(crate) fn peer(&self) -> IpAddr {
        self.0.peer
    }

    /// The same with its port.
    pub(super) fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.0.lock().stream.peer_addr()
    }

    pub(crate) fn slot(&self) -> SlotId {
        self.0.slot.id()
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(Arc::downgrade(&self.0))
    }
}

impl Held {
    /// Held for the length of one call to the kernel.
    fn lock(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// Looks at a connection on which nothing is expected.
    pub(crate) fn idle(&self) -> Idle {
        self.ask(Idle::Gone, Socket::idle)
    }

    /// Looks at a connection to which nothing has been written of what is to come.
    pub(crate) fn before(&self) -> Before {
        self.ask(Before::Gone, Socket::before)
    }

    /// What became of the bytes that were written after [`Self::before`] had said what was `acknowledged`.
    pub(crate) fn fate(&self, acknowledged: u64) -> Fate {
        self.ask(Fate::Unknown, |socket| socket.fate(acknowledged))
    }

    fn ask<T>(&self, gone: T, question: impl FnOnce(&mut Socket) -> T) -> T {
        self.0.upgrade().map_or(gone, |held| question(&mut held.lock()))
    }
}

impl Socket {
    fn new(stream: TcpStream, reset: Reset) -> Self {
        Self { stream, reset, failed: false, refused: false }
    }

    fn idle(&mut self) -> Idle {
        match self.peek() {
            Ok(0) => Idle::Gone,
            Ok(_) => Idle::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Idle::Quiet,
            Err(_) => Idle::Gone,
        }
    }

    fn before(&mut self) -> Before {
        match (sys::facts(&self.stream), self.failed) {
            (_, true) => Before::Gone,
            (Ok(facts), _) if !facts.established => Before::Gone,
            (Ok(facts), _) => Before::Open { acknowledged: Some(facts.acknowledged) },
            (Err(_), _) if self.idle() == Idle::Gone => Before::Gone,
            (Err(_), _) => Before::Open { acknowledged: None },
        }
    }

    /// The peer's kernel acknowledges what it has taken before its FIN with that FIN, and what comes after it at the latest
    /// 200 ms later, unless it resets the connection; it resets at once when the process has closed the socket, and so
    /// can take nothing. So a FIN, then a reset, and nothing acknowledged means that nothing was taken. What is left is
    /// a peer that closes its own half alone while the bytes are on their way, reads on, and resets within those 200 ms:
    /// it could not have answered.
    ///
    /// The order matters. Once the connection is over, nothing changes what has been acknowledged; before, an
    /// acknowledgement may still come. A reset without a FIN proves nothing: the process may have read everything.
    fn fate(&mut self, acknowledged: u64) -> Fate {
        let facts = match sys::facts(&self.stream) {
            Ok(facts) if facts.acknowledged == acknowledged && !self.failed => facts,
            Ok(_) | Err(_) => return Fate::Unknown,
        };
        if !facts.over {
            return Fate::Open;
        }
        // The end was a FIN if it reads as one and no error came before it. The error of a reset behind a FIN is EPIPE,
        // which readers are not told; ECONNRESET stands for a reset without a FIN, ETIMEDOUT for no word at all.
        let ended = self.idle() == Idle::Gone;
        match SockRef::from(&self.stream).take_error() {
            Ok(Some(error)) => self.note(&error),
            Ok(None) => {}
            Err(_) => return Fate::Unknown,
        }
        match ended && self.refused && !self.failed {
            true => Fate::Refused,
            false => Fate::Unknown,
        }
    }

    /// Looks at the next byte without taking it.
    fn peek(&mut self) -> io::Result<usize> {
        let peeked = SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]);
        peeked.inspect_err(|error| self.note(error))
    }

    /// Remembers an error, which the kernel tells once.
    fn note(&mut self, error: &io::Error) {
        let is = |kind| error.kind() == kind;
        if is(io::ErrorKind::BrokenPipe) {
            self.refused = true;
        } else if !is(io::ErrorKind::WouldBlock) && !is(io::ErrorKind::Interrupted) {
            self.failed = true;
        }
    }

    /// Runs an operation on the bytes, and remembers its error.
    fn poll<T>(&mut self, operation: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        operation(Pin::new(&mut self.stream)).map_err(|error| {
            self.note(&error);
            error
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.is_set() {
            // What it waits to send is thrown away with it; an error here would change nothing.
            drop(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll(|stream| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll(|stream| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll(|stream| stream.poll_write_vectored(context, pieces))
    }

    /// A socket always can.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll(|stream| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests;
