//! The hand-over of one thing to one waiter, whichever of the two acts first: given and taken, or given back.
//!
//! The waiter may go away at any moment, so what is given lies either in its [`Palm`] or with its giver, never nowhere.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// The giver's side.
#[derive(Debug)]
pub(super) struct Hand<T>(Mutex<Option<oneshot::Sender<T>>>);

/// The waiter's side: comes to what was given. Fails once nobody is left who could give.
#[derive(Debug)]
pub(super) struct Palm<T>(oneshot::Receiver<T>);

/// Both sides.
pub(super) fn pair<T>() -> (Hand<T>, Palm<T>) {
    let (sender, receiver) = oneshot::channel();
    (Hand(Mutex::new(Some(sender))), Palm(receiver))
}

impl<T> Hand<T> {
    /// Gives it; what the waiter does not take comes back, as does all but the first.
    pub(super) fn give(&self, value: T) -> Option<T> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match sender {
            Some(sender) => sender.send(value).err(),
            None => Some(value),
        }
    }
}

impl<T> Palm<T> {
    /// Takes nothing from now on; what lies in it already is the caller's.
    pub(super) fn close(&mut self) -> Option<T> {
        self.0.close();
        self.0.try_recv().ok()
    }
}

impl<T> Future for Palm<T> {
    type Output = Result<T, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}
