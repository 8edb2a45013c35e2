//! The exchanges of one client's connection, and how they move.
//!
//! `connection` looks now and then. Invariant: an exchange is open until the client has had room for its answer, but for the
//! last piece.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::Outgoing;
use crate::runtime::CallError;

/// The exchanges of one connection.
#[derive(Default)]
pub(super) struct Exchanges {
    open: AtomicUsize,
    /// Those of them that have more to tell than their client takes.
    full: AtomicUsize,
    /// How often one began, or a client wanted more of an answer.
    moves: AtomicUsize,
}

impl Exchanges {
    /// True if none is open, nor was any since the last look.
    pub(super) fn rest_since(&self, last: &mut usize) -> bool {
        self.unmoved_since(last) && self.open.load(Ordering::Relaxed) == 0
    }

    /// True if all that are open wait for the client, and it has taken nothing since the last look.
    pub(super) fn stand_since(&self, last: &mut usize) -> bool {
        let (open, full) = (self.open.load(Ordering::Relaxed), self.full.load(Ordering::Relaxed));
        self.unmoved_since(last) && open > 0 && open == full
    }

    fn unmoved_since(&self, last: &mut usize) -> bool {
        let moves = self.moves.load(Ordering::Relaxed);
        std::mem::replace(last, moves) == moves
    }
}

/// One of them, until its answer has been told.
pub(super) struct Open(Arc<Exchanges>);

impl Open {
    pub(super) fn begin(exchanges: &Arc<Exchanges>) -> Self {
        exchanges.moves.fetch_add(1, Ordering::Relaxed);
        exchanges.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(exchanges))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The most of an answer that lies in HTTP/2 where nobody sees it, once its exchange is over: one frame, as every client
/// takes it (RFC 9113, section 4.2).
const PIECE: usize = 16 << 10;

/// An answer's body, while which the exchange is open.
pub(super) struct Held {
    body: Outgoing,
    /// What is left of a frame that is told in pieces.
    rest: Option<Bytes>,
    in_pieces: bool,
    /// The client takes no more for now.
    full: bool,
    open: Open,
}

impl Held {
    /// Over HTTP/2 an answer is told in pieces: what is in it is held until the client's window has room.
    pub(super) fn new(body: Outgoing, in_pieces: bool, open: Open) -> Self {
        open.0.full.fetch_add(1, Ordering::Relaxed);
        Self { body, rest: None, in_pieces, full: true, open }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let frame = match self.rest.take() {
            Some(rest) => Frame::data(rest),
            None => match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            },
        };
        let piece = frame.into_data().map(|mut bytes| {
            if self.in_pieces && bytes.len() > PIECE {
                self.rest = Some(bytes.split_off(PIECE));
            }
            bytes
        });
        Poll::Ready(Some(Ok(piece.map_or_else(|frame| frame, Frame::data))))
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let exchanges = Arc::clone(&self.open.0);
        exchanges.moves.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut self.full) {
            exchanges.full.fetch_sub(1, Ordering::Relaxed);
        }
        let next = ready!(self.next(cx));
        self.full = true;
        exchanges.full.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.full {
            self.open.0.full.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
