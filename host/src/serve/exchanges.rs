//! The exchanges of one client's connection, and how they move.
//!
//! `connection` looks now and then. Invariant: an exchange is open until its answer has been told, but for what lies between
//! hyper and the client: the rest of a window or of a socket, `UNSENT` of it at most.

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
        let open = self.open.load(Ordering::Acquire);
        self.unmoved_since(last) && open == 0
    }

    /// True if all that are open wait for the client, and it has taken nothing since the last look.
    pub(super) fn stand_since(&self, last: &mut usize) -> bool {
        let (open, full) = (self.open.load(Ordering::Acquire), self.full.load(Ordering::Acquire));
        self.unmoved_since(last) && open > 0 && open == full
    }

    fn unmoved_since(&self, last: &mut usize) -> bool {
        let moves = self.moves.load(Ordering::Acquire);
        std::mem::replace(last, moves) == moves
    }
}

/// One of them, until its answer has been told.
pub(super) struct Open(Arc<Exchanges>);

impl Open {
    pub(super) fn begin(exchanges: &Arc<Exchanges>) -> Self {
        exchanges.moves.fetch_add(1, Ordering::AcqRel);
        exchanges.open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(exchanges))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer's body, while which the exchange is open.
pub(super) struct Held {
    body: Outgoing,
    /// The client takes no more for now.
    full: bool,
    open: Open,
}

impl Held {
    pub(super) fn new(body: Outgoing, open: Open) -> Self {
        open.0.full.fetch_add(1, Ordering::AcqRel);
        open.0.moves.fetch_add(1, Ordering::AcqRel);
        Self { body, full: true, open }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let Self { body, full, open: Open(exchanges) } = self.get_mut();
        exchanges.moves.fetch_add(1, Ordering::AcqRel);
        if std::mem::take(full) {
            exchanges.full.fetch_sub(1, Ordering::AcqRel);
        }
        let frame = ready!(Pin::new(body).poll_frame(cx));
        *full = true;
        exchanges.full.fetch_add(1, Ordering::AcqRel);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.full {
            self.open.0.full.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
