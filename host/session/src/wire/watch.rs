//! A connection and a request on it, watched from both sides: is it still there before, and what became of it after.
//!
//! The connection's task moves bytes through [`Watched`]; who leases the connection holds the same [`Watch`]. Where a
//! reused connection ends before a byte of the answer, the end is kept from hyper until the kernel has said what became of
//! the request: hyper closes the descriptor, and with it goes all that the kernel knows.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::tcp::{Before, Fate, Handle, Idle};

/// What both sides know of a connection.
#[derive(Debug)]
pub(super) struct Watch {
    /// Absent where a connector opened the stream: nobody can look beneath it.
    socket: Option<Handle>,
    /// True if what lies in the socket need not be an answer: a TLS 1.3 server sends tickets when it likes (RFC 8446,
    /// section 4.6).
    encrypted: bool,
    phase: Mutex<Phase>,
}

/// How far a request that could be sent again has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none, or a byte of its answer has come.
    Unwatched,
    /// It has been handed over, and no byte of it has been written.
    Handed,
    /// It is being written, or has been.
    Written {
        /// What the peer's kernel had acknowledged before; absent where this system does not say.
        acknowledged: Option<u64>,
    },
    /// The connection ended before a byte of its answer.
    Ended(Ending),
}

/// How a connection ended that was used before, with a request on it and no byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The peer had closed before a byte of the request was written, so none was.
    Unwritten,
    /// The peer's kernel refused every byte of the request.
    Attested,
    /// The peer closed it; it may have read the request.
    Closed,
}

/// How long a peer that has closed is given to say what became of a request: several round trips.
const VERDICT: Duration = Duration::from_secs(1);
/// The first look; each further one waits twice as long.
const LOOK: Duration = Duration::from_millis(1);
/// How long a connection's task may take for what it has to read before the connection can be used.
const SETTLE: Duration = Duration::from_secs(1);

impl Watch {
    pub(super) fn new(socket: Option<Handle>, encrypted: bool) -> Self {
        Self { socket, encrypted, phase: Mutex::new(Phase::Unwatched) }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if an idle connection can be used as far as its socket tells. What lies in the socket is no answer, because
    /// nothing has been asked: in plain text it is the end of trust; under TLS it is left to the connection's task, which
    /// then knows whether it was a ticket or the end.
    pub(super) async fn is_there(&self) -> bool {
        let Some(socket) = &self.socket else { return true };
        let begun = Instant::now();
        loop {
            match socket.idle() {
                Idle::Quiet => return true,
                Idle::Gone => return false,
                Idle::Bytes if !self.encrypted || begun.elapsed() > SETTLE => return false,
                Idle::Bytes => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// A request is about to be handed over that could be sent again; not a byte of it has been written.
    pub(super) fn begin(&self) {
        *self.phase() = Phase::Handed;
    }

    /// How the connection ended under the request that was handed over last; absent where it did not end so.
    pub(super) fn ending(&self) -> Option<Ending> {
        match *self.phase() {
            Phase::Ended(ending) => Some(ending),
            Phase::Unwatched | Phase::Handed | Phase::Written { .. } => None,
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(*self.phase(), Phase::Written { .. })
    }

    /// A byte of the answer has come, or what cannot be one.
    fn heard(&self) {
        *self.phase() = Phase::Unwatched;
    }

    /// Bytes are about to be written. The first of a request are not, if the peer has closed: our kernel may know what the
    /// connection's task has not heard yet.
    fn writes(&self) -> io::Result<()> {
        let mut phase = self.phase();
        if *phase != Phase::Handed {
            return Ok(());
        }
        match self.socket.as_ref().map(Handle::before) {
            Some(Before::Gone) => {
                *phase = Phase::Ended(Ending::Unwritten);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Some(Before::Open { acknowledged }) => *phase = Phase::Written { acknowledged },
            None => *phase = Phase::Written { acknowledged: None },
        }
        Ok(())
    }

    /// Finds out what the end of the connection means; false while the kernel has not said and there is patience.
    fn is_settled(&self, patient: bool) -> bool {
        let mut phase = self.phase();
        let Phase::Written { acknowledged } = *phase else { return true };
        let fate = match (&self.socket, acknowledged) {
            (Some(socket), Some(acknowledged)) => socket.fate(acknowledged),
            (None, _) | (_, None) => Fate::Unknown,
        };
        *phase = match fate {
            Fate::Open if patient => return false,
            Fate::Open | Fate::Unknown => Phase::Ended(Ending::Closed),
            Fate::Refused => Phase::Ended(Ending::Attested),
        };
        true
    }
}

/// The bytes of a watched connection.
#[derive(Debug)]
pub(super) struct Watched<T> {
    io: T,
    watch: Arc<Watch>,
    /// Runs while the end of the connection is known and its meaning is not.
    verdict: Option<Verdict>,
}

#[derive(Debug)]
struct Verdict {
    /// What is told once the meaning is known: TLS calls an end without a goodbye an error.
    end: io::Result<()>,
    since: Instant,
    next: Pin<Box<Sleep>>,
    pause: Duration,
}

impl<T> Watched<T> {
    pub(super) fn new(io: T, watch: Arc<Watch>) -> Self {
        Self { io, watch, verdict: None }
    }

    /// Waits until it is known what the end means, then tells it.
    fn poll_verdict(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { watch, verdict, .. } = self;
        let Some(Verdict { since, next, pause, .. }) = verdict else { return Poll::Ready(Ok(())) };
        while !watch.is_settled(since.elapsed() < VERDICT) {
            ready!(next.as_mut().poll(context));
            *pause *= 2;
            next.as_mut().reset(Instant::now() + *pause);
        }
        Poll::Ready(verdict.take().map_or(Ok(()), |verdict| verdict.end))
    }

    /// A write that the peer refuses is not the last word: what it said before is read first, and then its end.
    fn forgive<V>(&self, result: io::Result<V>, all: V) -> io::Result<V> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.watch.is_waiting() => Ok(all),
            result => result,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.verdict.is_some() {
            return this.poll_verdict(context);
        }
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut this.io).poll_read(context, buffer));
        let ended = match &result {
            Ok(()) => buffer.filled().len() == before,
            Err(error) => error.kind() == io::ErrorKind::UnexpectedEof,
        };
        if !ended {
            this.watch.heard();
            return Poll::Ready(result);
        }
        if this.watch.is_settled(true) {
            return Poll::Ready(result);
        }
        let next = Box::pin(tokio::time::sleep(LOOK));
        this.verdict = Some(Verdict { end: result, since: Instant::now(), next, pause: LOOK });
        this.poll_verdict(context)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.watch.writes()?;
        let result = ready!(Pin::new(&mut self.io).poll_write(context, bytes));
        Poll::Ready(self.forgive(result, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch.writes()?;
        let result = ready!(Pin::new(&mut self.io).poll_write_vectored(context, pieces));
        Poll::Ready(self.forgive(result, pieces.iter().map(|piece| piece.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.io).poll_flush(context));
        Poll::Ready(self.forgive(result, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
