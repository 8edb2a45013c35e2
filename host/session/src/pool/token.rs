//! The two tokens: a [`Slot`] is an open socket, a [`Lease`] is a connection in use.
//!
//! A slot lives in the I/O object, a lease in the answer's body; each gives back what it stands for when it is dropped,
//! whichever way its owner ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::state::SlotId;
use super::{Connection, Shared};
use crate::error::{Error, Kind};
use crate::monitor::{Closed, Exchange, Retry};
use crate::retry::Memory;
use crate::route::Route;
use crate::stage::Stage;
use crate::wire;

/// An open socket's place in the limits, given back when it is dropped: after the descriptor has closed.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(super) shared: Arc<Shared>,
    pub(super) route: Arc<Route>,
    pub(super) id: SlotId,
    pub(super) reset: Arc<AtomicBool>,
}

impl Slot {
    pub(crate) fn id(&self) -> SlotId {
        self.id
    }

    /// Where one more socket for the same connection would come from.
    pub(crate) fn room(&self) -> Room {
        let Self { shared, route, reset, .. } = self;
        Room { shared: Arc::clone(shared), route: Arc::clone(route), reset: Arc::clone(reset) }
    }

    /// How the socket learns whether it is to be reset when it closes.
    pub(crate) fn reset(&self) -> Reset {
        Reset(Arc::clone(&self.reset))
    }
}

#[cfg(test)]
impl Slot {
    /// One of a session's, for a socket that a test opens itself.
    pub(crate) fn of(session: &crate::Session, route: &Arc<Route>) -> Self {
        let shared = Arc::clone(&session.inner.pool.shared);
        let room = Room { shared, route: Arc::clone(route), reset: Arc::default() };
        room.extra().expect("a new session has room")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.change(|inner, actions| inner.machine.closed(self.id, actions));
    }
}

/// Whether a socket is to be reset when it closes.
#[derive(Debug, Default)]
pub(crate) struct Reset(Arc<AtomicBool>);

impl Reset {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Room for more sockets of a connection that is being opened.
pub(crate) struct Room {
    shared: Arc<Shared>,
    route: Arc<Route>,
    reset: Arc<AtomicBool>,
}

impl Room {
    /// One more socket, if there is room that nobody waits for.
    pub(crate) fn extra(&self) -> Option<Slot> {
        let Self { shared, route, reset } = self;
        let id = shared.lock().machine.extra(route)?;
        Some(Slot { shared: Arc::clone(shared), route: Arc::clone(route), id, reset: Arc::clone(reset) })
    }
}

/// How long the rest of an answer is waited for that nobody wants: who gives up has its connection closed this soon.
const DRAIN: Duration = Duration::from_millis(50);

/// What is left of an answer is read to its end, so that its connection is kept, if it is no more than this; for more, a new
/// connection is cheaper.
const DRAINED: u64 = 64 * 1024;

/// How long a request may go on once its answer is over, and how long it may take to end once it is cut off.
const REST: Duration = Duration::from_secs(5);
const CUT: Duration = Duration::from_secs(1);

/// A connection in use. Dropping it closes the connection, unless others share it; [`Lease::finish`] keeps it.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Absent once it has been given back.
    pub(super) connection: Option<Box<Connection>>,
    pub(super) shared: Arc<Shared>,
    /// True if an earlier exchange has used the connection.
    pub(crate) reused: bool,
}

impl Lease {
    pub(crate) fn sender(&mut self) -> Result<&mut wire::Sender, Error> {
        let gone = || Error::new(Stage::Pool, Kind::Terminated, "the connection has been given back");
        self.connection.as_mut().map(|connection| &mut connection.sender).ok_or_else(gone)
    }

    /// Memory to hold a request in while it is sent.
    pub(crate) fn take_memory(&mut self) -> Memory {
        self.connection.as_mut().map(|connection| std::mem::take(&mut connection.memory)).unwrap_or_default()
    }

    /// Gives it back.
    pub(crate) fn give_memory(&mut self, memory: Memory) {
        if let Some(connection) = &mut self.connection {
            connection.memory = memory;
        }
    }

    /// True if several exchanges share the connection.
    pub(crate) fn is_shared(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.sender.is_shared())
    }

    /// Where the connection leads; absent once it has been given back.
    pub(crate) fn route(&self) -> Option<&Route> {
        self.connection.as_ref().map(|connection| &*connection.route)
    }

    /// True if more of the request's body may come, and others share the connection.
    pub(crate) fn is_sending(&self) -> bool {
        self.upload().is_some()
    }

    fn upload(&self) -> Option<Arc<wire::Upload>> {
        self.connection.as_ref().and_then(|connection| connection.sender.upload())
    }

    /// Why the connection closes, if it is not given back.
    pub(crate) fn closes_for(&mut self, reason: Closed) {
        if let Some(connection) = &mut self.connection {
            connection.closes_for = reason;
        }
    }

    /// Books what an exchange on it came to, where that was no answer.
    pub(crate) fn judge(&mut self, sent: &Result<wire::Sent, Error>, exchange: &Exchange) {
        match sent {
            Ok(wire::Sent::Answered(_)) => {}
            Ok(wire::Sent::NotSent(_)) => {
                self.closes_for(Closed::Peer);
                exchange.repeats(Retry::Unsent, false);
            }
            Ok(wire::Sent::Stale(..) | wire::Sent::Unseen(_)) => self.closes_for(Closed::Peer),
            Err(_) => self.closes_for(Closed::Error),
        }
    }

    /// The server keeps idle connections for this long only.
    pub(crate) fn shorten_idle_life(&mut self, life: Duration) {
        if let Some(connection) = &mut self.connection {
            connection.life.idle = connection.life.idle.min(life);
        }
    }

    /// Ends an exchange whose answer nobody wants. What is left of it is read if it is short and comes at once; else the
    /// connection closes, or the stream is reset where others share it.
    pub(crate) fn abandon(self, body: Incoming, reusable: bool) {
        if !reusable {
            self.cancel(body);
        } else if body.is_end_stream() {
            self.finish();
        } else if body.size_hint().exact().is_some_and(|left| left <= DRAINED) {
            self.drain(body);
        } else {
            self.cancel(body);
        }
    }

    /// Drops what holds a stream of a shared connection, which resets it, no faster than servers bear; of a connection of its
    /// own, closes it. The place is taken for as long as the peer may think so.
    fn cancel(mut self, stream: impl Send + 'static) {
        let Some(resets) = self.sender().ok().and_then(wire::Sender::give_up) else { return };
        let connection = self.connection.as_ref().map(|connection| (Arc::clone(&connection.route), connection.slot));
        let shared = Arc::clone(&self.shared);
        if let (false, Some((route, slot))) = (resets.reset((stream, self)), connection) {
            shared.change(|inner, actions| inner.machine.retire(&route, slot, Some(Closed::Dropped), actions));
        }
    }

    /// The connection takes no further exchange. One that is not shared is closed by dropping the lease.
    pub(super) fn retire(&self, why: Closed) {
        if let Some(connection) = self.connection.as_ref().filter(|connection| connection.sender.is_shared()) {
            let (route, slot) = (&connection.route, connection.slot);
            self.shared.change(|inner, actions| inner.machine.retire(route, slot, Some(why), actions));
        }
    }

    /// Reads what is left of an answer that nobody wants, then gives the connection back; closes it where that takes long.
    fn drain(self, mut body: Incoming) {
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            let drained = timeout(DRAIN, async { while let Some(Ok(_)) = body.frame().await {} }).await;
            match drained.is_ok() && body.is_end_stream() {
                true => self.finish(),
                false => self.cancel(body),
            }
        });
    }

    /// Gives a healthy connection back; a place on a shared one once the request's body has been taken, too.
    pub(crate) fn finish(mut self) {
        if let Some(upload) = self.upload() {
            self.outlast(upload);
        } else if let Some(connection) = self.connection.take() {
            self.shared.give_back(connection);
        }
    }

    /// Waits until the connection has taken the request's body, whatever has been answered. Where that takes long its stream
    /// is reset.
    fn outlast(self, upload: Arc<wire::Upload>) {
        // Without an executor nothing can be waited for.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            match timeout(REST, upload.over()).await {
                Ok(()) => self.finish(),
                Err(_) => self.cancel(()),
            }
        });
    }

    /// Waits until a body that was cut off has ended. Where that takes long the connection closes with the last exchange on it.
    fn end(self, upload: Arc<wire::Upload>) {
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            if timeout(CUT, upload.over()).await.is_err() {
                self.retire(Closed::Error);
            }
        });
    }

    /// The lease of a connection that was taken out of this one.
    fn with(&self, connection: Box<Connection>) -> Self {
        Self { connection: Some(connection), shared: Arc::clone(&self.shared), reused: self.reused }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if !connection.sender.is_shared() {
            return self.shared.change(|inner, actions| inner.machine.discard(connection.slot, connection, actions));
        }
        if let Some(parked) = connection.sender.parked() {
            self.with(connection).cancel(parked);
        } else if let Some(upload) = connection.sender.take_upload() {
            // What is left of the request is for nobody.
            upload.cut();
            self.with(connection).end(upload);
        } else {
            self.shared.give_back(connection);
        }
    }
}
