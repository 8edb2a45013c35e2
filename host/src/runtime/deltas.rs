//! A typed stream: deltas as the guest writes them, and at last its finish.
//!
//! Holds its call and drives it, as `body` does for the HTTP answer. Invariant: a stream that ends without its finish is
//! an error, and what a guest wrote before it failed comes before that error.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use wasmtime::StoreContextMut;
use wasmtime::component::{FutureConsumer, Source, StreamConsumer, StreamResult};

use super::bindings::seaway::completion::types::{Delta, Error as GuestError, Finish};
use super::body::Running;
use super::error::CallError;
use super::instances::State;
use super::record::CallRecord;

/// What a typed stream brings.
#[derive(Clone, Debug)]
pub enum Event {
    /// More of the answer.
    Delta(Delta),
    /// The answer is complete. The last event of every stream that does not fail.
    Finish(Finish),
}

/// A streamed completion: deltas, and then its finish or an error, and nothing after either. Dropping it cancels the call.
pub struct Deltas {
    channel: Channel,
    call: Option<Running>,
    record: CallRecord,
    failed: Option<CallError>,
    ended: bool,
}

impl Deltas {
    pub(crate) fn new(channel: Channel, call: Option<Running>, record: CallRecord) -> Self {
        Self { channel, call, record, failed: None, ended: false }
    }

    /// Lets the guest run; true if it has ended.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(call) = &mut self.call else { return true };
        let Poll::Ready(outcome) = call.as_mut().poll(cx) else { return false };
        self.failed = outcome.err();
        self.call = None;
        true
    }

    /// What a stream says that ends without its finish.
    fn cut(&mut self) -> CallError {
        self.ended = true;
        let what = "its stream ended without a finish";
        self.failed.take().unwrap_or_else(|| CallError::Broken(what.to_owned()))
    }

    fn finish(&mut self, finish: Result<Finish, GuestError>) -> Result<Event, CallError> {
        self.ended = true;
        match finish {
            Ok(finish) => Ok(Event::Finish(finish)),
            Err(error) => Err(guest_error(error, &self.record)),
        }
    }
}

impl Stream for Deltas {
    type Item = Result<Event, CallError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let mut driven = false;
        loop {
            if let Some(delta) = this.channel.take() {
                return Poll::Ready(Some(Ok(Event::Delta(delta))));
            }
            if let Some(finish) = this.channel.finish() {
                // One more turn, so that the guest can end and its instance can go back.
                this.drive(cx);
                return Poll::Ready(Some(this.finish(finish)));
            }
            match (this.call.is_some(), driven) {
                (false, _) => return Poll::Ready(Some(Err(this.cut()))),
                // The channel was asked again after the guest had run: nothing more can come before a wake-up.
                (true, true) => return Poll::Pending,
                // What a guest wrote before it ended, well or not, is still the reader's.
                (true, false) => driven = !this.drive(cx),
            }
        }
    }
}

impl std::fmt::Debug for Deltas {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Deltas").field("running", &self.call.is_some()).finish_non_exhaustive()
    }
}

/// The session's own error where the guest's stands for it, else the guest's.
pub(crate) fn guest_error(error: GuestError, record: &CallRecord) -> CallError {
    match record.error() {
        Some(session) if error.code.is_some() => CallError::Session(session),
        Some(_) | None => CallError::Guest(Box::new(error)),
    }
}

/// Between the guest's stream and future and their reader, who are polled by the same task.
#[derive(Clone, Default)]
pub(crate) struct Channel(Arc<Mutex<Inbox>>);

#[derive(Default)]
struct Inbox {
    deltas: VecDeque<Delta>,
    finish: Option<Result<Finish, GuestError>>,
    /// The guest's write that waits until the deltas before it have been read.
    writer: Option<Waker>,
}

impl Channel {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Delta> {
        let mut inbox = self.inbox();
        let delta = inbox.deltas.pop_front();
        if inbox.deltas.is_empty()
            && let Some(writer) = inbox.writer.take()
        {
            writer.wake();
        }
        delta
    }

    fn finish(&self) -> Option<Result<Finish, GuestError>> {
        self.inbox().finish.take()
    }

    /// The two ends that the guest writes to.
    pub(crate) fn ends(&self) -> (DeltaEnd, FinishEnd) {
        (DeltaEnd(self.clone()), FinishEnd(self.clone()))
    }
}

/// Takes the guest's deltas: one write at a time, the next only when the reader has taken the last.
pub(crate) struct DeltaEnd(Channel);

impl StreamConsumer<State> for DeltaEnd {
    type Item = Delta;

    fn poll_consume(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'_, State>,
        mut source: Source<'_, Delta>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut inbox = self.0.inbox();
        if !inbox.deltas.is_empty() {
            if finish {
                return Poll::Ready(Ok(StreamResult::Cancelled));
            }
            inbox.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut deltas = Vec::with_capacity(source.remaining(&mut store));
        source.read(&mut store, &mut deltas)?;
        inbox.deltas.extend(deltas);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// Takes the guest's finish.
pub(crate) struct FinishEnd(Channel);

impl FutureConsumer<State> for FinishEnd {
    type Item = Result<Finish, GuestError>;

    fn poll_consume(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, State>,
        mut source: Source<'_, Self::Item>,
        _: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut finish = None;
        source.read(store, &mut finish)?;
        self.0.inbox().finish = finish;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::super::bindings::seaway::completion::types::TextDelta;
    use super::*;

    fn running(outcome: Result<(), CallError>) -> Option<Running> {
        Some(Box::pin(std::future::ready(outcome)))
    }

    fn trapped() -> Result<(), CallError> {
        Err(CallError::Trapped("unreachable".to_owned()))
    }

    fn text(text: &str) -> Delta {
        Delta::Text(TextDelta { choice: 0, text: text.to_owned() })
    }

    fn finish() -> Finish {
        Finish { choices: Vec::new(), usage: None }
    }

    #[tokio::test]
    async fn deltas_from_before_a_trap_come_before_its_error() {
        let channel = Channel::default();
        channel.inbox().deltas.extend([text("one"), text("two")]);
        let mut deltas = Deltas::new(channel, running(trapped()), CallRecord::new());
        assert!(matches!(deltas.next().await, Some(Ok(Event::Delta(_)))));
        assert!(matches!(deltas.next().await, Some(Ok(Event::Delta(_)))));
        assert!(matches!(deltas.next().await, Some(Err(CallError::Trapped(_)))));
        assert!(deltas.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_merely_stops_is_an_error() {
        let mut deltas = Deltas::new(Channel::default(), running(Ok(())), CallRecord::new());
        assert!(matches!(deltas.next().await, Some(Err(CallError::Broken(_)))));
        assert!(deltas.next().await.is_none());
    }

    #[tokio::test]
    async fn a_finish_is_the_last_event() {
        let channel = Channel::default();
        channel.inbox().deltas.push_back(text("all"));
        channel.inbox().finish = Some(Ok(finish()));
        let mut deltas = Deltas::new(channel, running(Ok(())), CallRecord::new());
        assert!(matches!(deltas.next().await, Some(Ok(Event::Delta(_)))));
        assert!(matches!(deltas.next().await, Some(Ok(Event::Finish(_)))));
        assert!(deltas.next().await.is_none());
    }
}
