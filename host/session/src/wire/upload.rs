//! How far a request's body has come.
//!
//! The body tells it, whoever has the exchange waits for it, and a lease whose answer is over may cut it off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;

use futures::task::AtomicWaker;
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
    /// Who reads it.
    reader: AtomicWaker,
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

    /// Ends the body in an error as soon as its reader looks, which resets the stream that it is sent on. A reader that waits
    /// for the peer's window does not look.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// What was wrong with the body itself, once.
    pub(super) fn error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body's side of it.
#[derive(Debug, Default)]
pub(crate) struct Reader(Arc<Upload>);

impl Reader {
    pub(super) fn upload(&self) -> Arc<Upload> {
        Arc::clone(&self.0)
    }

    /// Nobody asks for more: all of it was taken, or this is wrong with it.
    pub(super) fn end(&self, error: Option<Error>) {
        self.0.end(error);
    }

    /// True once the body is cut off; until then its reader is woken by that.
    pub(super) fn is_cut(&self, context: &Context<'_>) -> bool {
        self.0.reader.register(context.waker());
        self.0.cut.load(Ordering::Acquire)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        if !self.0.ended.load(Ordering::Acquire) {
            self.0.end(None);
        }
        self.0.changed.notify_waiters();
    }
}
