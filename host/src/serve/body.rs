//! The body of an answer, as the client gets it.
//!
//! Holds the call's seat and its line of the log until the last byte is handed over. Invariant: dropping it, because the
//! client has gone or the answer is told, ends the call and gives the seat back; the component's trailers are the host's.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;

use super::answer::Seat;
use super::log::Line;
use super::quiet::Quiet;
use crate::runtime::{Body, CallError};

/// What a client gets.
pub(super) struct Outgoing {
    source: Source,
    /// What is left of the last frame.
    rest: Option<Bytes>,
    quiet: Option<Quiet>,
    line: Line,
}

enum Source {
    /// The server's own words.
    Own(Full<Bytes>),
    /// The component's.
    Guest { body: Box<Body>, _seat: Seat },
}

impl Outgoing {
    pub(super) fn own(body: Full<Bytes>, line: Line) -> Self {
        Self { source: Source::Own(body), rest: None, quiet: None, line }
    }

    pub(super) fn guest(body: Body, quiet: Option<Quiet>, seat: Seat, line: Line) -> Self {
        Self { source: Source::Guest { body: Box::new(body), _seat: seat }, rest: None, quiet, line }
    }
}

/// The most that is handed over at a time: so that it shows whether the client takes it.
const PIECE: usize = 16 << 10;

impl Outgoing {
    /// The next frame of the source, or a comment where none comes; without the component's trailers.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let polled = loop {
            let polled = match &mut self.source {
                Source::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
                Source::Guest { body, .. } => Pin::new(body).poll_frame(cx),
            };
            let Poll::Ready(Some(Ok(frame))) = &polled else { break polled };
            if frame.is_data() {
                break polled;
            }
            // The component's trailers: for this side alone.
            self.line.told(frame.trailers_ref());
        };
        let frame = match (polled, &mut self.quiet) {
            (Poll::Ready(frame), _) => frame,
            (Poll::Pending, None) => return Poll::Pending,
            (Poll::Pending, Some(quiet)) => Some(Ok(Frame::data(ready!(quiet.poll(cx))))),
        };
        if let (Some(Ok(frame)), Some(quiet)) = (&frame, &mut self.quiet) {
            quiet.told(frame.data_ref().map_or(b"", |data| data));
        }
        Poll::Ready(frame)
    }

    /// Its begin; what is left is told next.
    fn piece(&mut self, mut bytes: Bytes) -> Bytes {
        self.rest = (bytes.len() > PIECE).then(|| bytes.split_off(PIECE));
        bytes
    }
}

impl Drop for Outgoing {
    /// A client's connection that knows the length stops at the last byte, before the trailers.
    fn drop(&mut self) {
        if let Source::Guest { body, .. } = &mut self.source {
            self.line.told(body.rest().as_ref());
        }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let this = self.get_mut();
        let frame = match this.rest.take() {
            Some(rest) => Some(Ok(Frame::data(rest))),
            None => ready!(this.next(cx)),
        };
        let piece = frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| this.piece(bytes))));
        match &piece {
            Some(Ok(piece)) => this.line.wrote(piece.data_ref().map_or(0, Bytes::len)),
            Some(Err(error)) => this.line.failed(error),
            None => {}
        }
        // A body of known length is not asked for its end.
        if this.is_end_stream() || this.size_hint().exact() == Some(0) {
            this.line.whole();
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
            && match &self.source {
                Source::Own(body) => body.is_end_stream(),
                Source::Guest { body, .. } => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let come = match &self.source {
            Source::Own(body) => body.size_hint(),
            Source::Guest { body, .. } => body.size_hint(),
        };
        match (&self.rest, come.exact()) {
            (None, _) => come,
            (Some(rest), Some(length)) => SizeHint::with_exact(length + rest.len() as u64),
            (Some(_), None) => SizeHint::default(),
        }
    }
}
