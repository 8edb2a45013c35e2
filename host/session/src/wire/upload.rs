//! How far a request's body has come.
//!
//! The body tells it, whoever has the exchange waits for it, and a lease whose answer is over may cut it off. Invariant: that
//! needs nothing of who reads the body, which does not look at it while it waits for the peer's window.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::select;
use tokio::sync::Notify;

use crate::error::Error;

/// How far a body has come that is sent piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// Nobody asks for more of it.
    ended: AtomicBool,
    /// Nobody has it any more. What was taken last may yet wait, in HTTP/2, for the peer's window or the socket.
    over: AtomicBool,
    /// It is to end, whatever is left of it.
    cut: AtomicBool,
    changed: Notify,
    error: Mutex<Option<Error>>,
}

impl Upload {
    fn end(&self, error: Option<Error>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
        self.ended.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until the whole body has been handed to the connection, or nobody asks for more.
    pub(super) async fn ended(&self) {
        self.until(&self.ended).await;
    }

    /// Waits until the connection has taken the whole body, or lets go of it. Its stream is open until then, and for as long
    /// after it as what was taken last waits for the peer's window or the socket.
    pub(crate) async fn over(&self) {
        self.until(&self.over).await;
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    async fn until(&self, fact: &AtomicBool) {
        loop {
            let changed = self.changed.notified();
            if fact.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    /// Ends what sends it, through [`Upload::unless_cut`].
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Sends the body, until it is cut: dropped, its stream is reset once nobody holds its answer either.
    pub(super) async fn unless_cut(self: Arc<Self>, sending: impl Future<Output = ()>) {
        select(pin!(sending), pin!(self.until(&self.cut))).await;
    }

    /// What was wrong with the body itself, once.
    pub(super) fn error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body that a connection asked last for its first frame.
///
/// hyper asks while it begins a request; what it starts next sends the rest, where that does not come at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Began(Arc<Mutex<Option<Arc<Upload>>>>);

impl Began {
    /// The body, once.
    pub(super) fn take(&self) -> Option<Arc<Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body's side of it.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    upload: Arc<Upload>,
    /// Who is to be told that it was asked for its first frame.
    began: Option<Began>,
}

impl Reader {
    pub(super) fn upload(&self) -> Arc<Upload> {
        Arc::clone(&self.upload)
    }

    pub(super) fn tell(&mut self, began: Option<&Began>) {
        self.began = began.cloned();
    }

    /// It is asked for a frame.
    pub(super) fn begin(&mut self) {
        if let Some(Began(began)) = self.began.take() {
            *began.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.upload());
        }
    }

    /// Nobody asks for more: all of it was taken, or this is wrong with it.
    pub(super) fn end(&self, error: Option<Error>) {
        self.upload.end(error);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.upload.over.store(true, Ordering::Release);
        if !self.upload.ended.load(Ordering::Acquire) {
            self.upload.end(None);
        }
        self.upload.changed.notify_waiters();
    }
}
