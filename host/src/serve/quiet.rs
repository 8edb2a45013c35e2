//! Comments in a stream that is silent, so that nobody between here and the client takes it for dead.
//!
//! Beside the body of a stream of events. Invariant: a comment stands between two events, never within one.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes>

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::time::{Instant, Sleep};

/// A comment, as the specification suggests it.
const COMMENT: &[u8] = b":\n\n";

/// Watches over one stream.
pub(super) struct Quiet {
    every: Duration,
    due: Pin<Box<Sleep>>,
    between: bool,
}

impl Quiet {
    /// Watches over an answer, if it is a stream of events.
    pub(super) fn over(headers: &HeaderMap, every: Option<Duration>) -> Option<Self> {
        let every = every?;
        let events = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        events.then(|| Self { every, due: Box::pin(tokio::time::sleep(every)), between: true })
    }

    /// Something of the stream was told.
    pub(super) fn told(&mut self, data: &[u8]) {
        self.between = data.ends_with(b"\n\n");
        self.again();
    }

    /// Nothing comes at the moment; ready with a comment once that has lasted too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if !self.between || self.due.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.again();
        Poll::Ready(Bytes::from_static(COMMENT))
    }

    fn again(&mut self) {
        let next = Instant::now() + self.every;
        self.due.as_mut().reset(next);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::HeaderValue;

    use super::*;

    fn headers(kind: &'static str) -> HeaderMap {
        [(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect()
    }

    #[tokio::test]
    async fn a_comment_never_stands_within_an_event() {
        let every = Some(Duration::from_millis(1));
        let mut quiet = Quiet::over(&headers("text/event-stream; charset=utf-8"), every).unwrap();
        assert_eq!(poll_fn(|cx| quiet.poll(cx)).await, COMMENT);
        assert_eq!(poll_fn(|cx| quiet.poll(cx)).await, COMMENT);
        quiet.told(b"data: 1\n");
        let never = tokio::time::timeout(Duration::from_millis(20), poll_fn(|cx| quiet.poll(cx)));
        assert!(never.await.is_err());
        quiet.told(b"\ndata: 2\n\n");
        assert_eq!(poll_fn(|cx| quiet.poll(cx)).await, COMMENT);
    }

    #[tokio::test]
    async fn only_a_stream_of_events_has_comments() {
        assert!(Quiet::over(&headers("application/json"), Some(Duration::from_secs(1))).is_none());
        assert!(Quiet::over(&headers("text/event-stream"), None).is_none());
    }
}
