//! The body of the component's HTTP answer.
//!
//! Holds its call and drives it: polling the body polls the guest, and dropping it drops the store in which the guest
//! runs. Invariant: an end is only believed when neither the guest nor the runtime says otherwise, so a trap in the
//! middle never looks like a finished answer.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use wasmtime_wasi_http::WasiBody;

use super::error::CallError;
use super::record::CallRecord;

/// A call under way: the future that owns its store and runs its guest.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// Polls `call` until `answer` is there; the call goes on for as long as the answer is read.
///
/// # Errors
/// The call's own failure, if it ends before there is an answer.
pub(crate) async fn first<A>(call: Running, answer: &Mutex<Option<A>>) -> Result<(A, Option<Running>), CallError> {
    let mut call = Some(call);
    std::future::poll_fn(|cx| {
        let running = call.as_mut().expect("polled on only while it runs");
        let outcome = running.as_mut().poll(cx);
        match answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A failure after the answer is the answer's to report: the call stays, to be asked for it.
            Some(answer) => match outcome {
                Poll::Ready(Ok(())) => Poll::Ready(Ok((answer, None))),
                Poll::Ready(Err(error)) => {
                    Poll::Ready(Ok((answer, Some(Box::pin(std::future::ready(Err(error))) as Running))))
                }
                Poll::Pending => Poll::Ready(Ok((answer, call.take()))),
            },
            None => match ready!(outcome) {
                Ok(()) => Poll::Ready(Err(CallError::Broken("it ended without an answer".to_owned()))),
                Err(error) => Poll::Ready(Err(error)),
            },
        }
    })
    .await
}

/// The body of the component's HTTP answer. Dropping it cancels the call.
pub struct Body {
    guest: WasiBody,
    call: Option<Running>,
    record: CallRecord,
    failed: Option<CallError>,
    ended: bool,
}

impl Body {
    pub(crate) fn new(guest: WasiBody, call: Option<Running>, record: CallRecord) -> Self {
        Self { guest, call, record, failed: None, ended: false }
    }

    /// Lets the guest run; true if it has ended.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(call) = &mut self.call else { return true };
        let Poll::Ready(outcome) = call.as_mut().poll(cx) else { return false };
        self.failed = outcome.err();
        self.call = None;
        true
    }

    /// The trailers of an answer whose last byte has been read, if its reader knew the length and so did not ask for them.
    /// The guest gets a few turns to tell them, as it may have to yield in one; outside an executor there is no such turn.
    pub(crate) fn rest(&mut self) -> Option<http::HeaderMap> {
        const TURNS: u32 = 16;
        let delivered = !self.ended && self.guest.size_hint().exact() == Some(0);
        if !delivered || tokio::runtime::Handle::try_current().is_err() {
            return None;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let told = (0..TURNS).find_map(|_| match Pin::new(&mut *self).poll_frame(&mut cx) {
            Poll::Ready(told) => Some(told),
            Poll::Pending => None,
        });
        told??.ok()?.into_trailers().ok()
    }

    fn end(&mut self) -> Option<Result<Frame<Bytes>, CallError>> {
        self.ended = true;
        self.failed.take().map(Err)
    }

    /// What a broken body means: the session's own error where there is one, else the guest's code.
    fn broken(&mut self, code: &wasmtime_wasi_http::Error) -> CallError {
        self.ended = true;
        match (self.failed.take(), self.record.error()) {
            (Some(failure), _) => failure,
            (None, Some(error)) => CallError::Session(error),
            (None, None) => CallError::Http(code.to_string()),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let mut driven = false;
        loop {
            match Pin::new(&mut this.guest).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
                Poll::Ready(Some(Err(code))) => return Poll::Ready(Some(Err(this.broken(&code)))),
                // A guest that was stopped leaves a body that ends cleanly: only its call knows better.
                Poll::Ready(None) => {
                    this.drive(cx);
                    return Poll::Ready(this.end());
                }
                // The body was asked again after the guest had run: nothing more can come before a wake-up.
                Poll::Pending if driven => return Poll::Pending,
                Poll::Pending => {
                    this.drive(cx);
                    driven = true;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.call.is_none() && self.failed.is_none() && self.guest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.guest.size_hint()
    }
}

impl Drop for Body {
    /// A reader that knows the length stops at the last byte and never asks for the end. The guest then gets one more
    /// turn to end, so that its instance can serve the next call; outside an executor there is no such turn.
    fn drop(&mut self) {
        let delivered = self.guest.is_end_stream() || self.guest.size_hint().exact() == Some(0);
        if delivered && self.call.is_some() && tokio::runtime::Handle::try_current().is_ok() {
            self.drive(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Body").field("running", &self.call.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn running(outcome: Result<(), CallError>) -> Option<Running> {
        Some(Box::pin(std::future::ready(outcome)))
    }

    fn trapped() -> Result<(), CallError> {
        Err(CallError::Trapped("unreachable".to_owned()))
    }

    fn body(call: Option<Running>) -> Body {
        let guest = Full::new(Bytes::from_static(b"half")).map_err(|never| match never {}).boxed_unsync();
        Body::new(guest, call, CallRecord::new())
    }

    #[tokio::test]
    async fn a_body_whose_guest_traps_ends_in_an_error() {
        let mut body = body(running(trapped()));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        assert!(matches!(body.frame().await, Some(Err(CallError::Trapped(_)))));
        assert!(body.frame().await.is_none());
    }

    /// One byte, and trailers once the guest has told them.
    struct Late {
        data: Option<Bytes>,
        told: Arc<AtomicBool>,
    }

    impl HttpBody for Late {
        type Data = Bytes;
        type Error = wasmtime_wasi_http::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match (self.data.take(), self.told.load(Ordering::Relaxed)) {
                (Some(data), _) => Poll::Ready(Some(Ok(Frame::data(data)))),
                (None, true) => Poll::Ready(Some(Ok(Frame::trailers(http::HeaderMap::default())))),
                (None, false) => Poll::Pending,
            }
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
        }
    }

    #[tokio::test]
    async fn trailers_are_told_though_the_guest_yields_before_them() {
        let told = Arc::new(AtomicBool::new(false));
        let guest = Late { data: Some(Bytes::from_static(b"x")), told: Arc::clone(&told) }.boxed_unsync();
        let call = async move {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            told.store(true, Ordering::Relaxed);
            Ok(())
        };
        let mut body = Body::new(guest, Some(Box::pin(call)), CallRecord::new());
        assert!(body.rest().is_none(), "nothing of it is read yet");
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
        assert!(body.rest().is_some());
    }

    #[tokio::test]
    async fn a_body_whose_guest_ends_well_is_whole() {
        assert_eq!(body(running(Ok(()))).collect().await.unwrap().to_bytes(), "half");
    }
}
