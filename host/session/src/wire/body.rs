//! A request's body in the form in which a connection takes it.
//!
//! `outgoing` makes it. A connection of its own has a whole body in one write; one that exchanges share has every body in
//! pieces, and hears how far it has come: HTTP/2 holds what was handed over until the peer's window has room for it, and the
//! stream is open for as long.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;

use super::outgoing::{clean, mismatch, own_failure, too_large};
use super::upload::{Began, Reader, Upload};
use crate::error::{BoxError, Error};
use crate::monitor::{Signal, Teller};

/// The most that waits for the peer's window where nobody sees it: what every peer takes in one frame (RFC 9113, section 4.2).
const PIECE: usize = 16 << 10;

/// A request body as hyper takes it.
#[derive(Debug)]
pub(crate) enum WireBody {
    /// What is left of one that is whole; it is read in pieces where somebody hears of it.
    Full(Option<Bytes>, Option<Reader>),
    Stream(Box<Streamed>),
}

/// A body that is sent as it comes.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// What has come and is to be sent next: what was collected before the body turned out to be long, or to have
    /// trailers; and what is left of a frame that is read in pieces.
    next: Option<Bytes>,
    rest: UnsyncBoxBody<Bytes, BoxError>,
    /// What was collected behind all that.
    pub(super) trailers: Option<HeaderMap>,
    /// The length that the request's head promises.
    declared: Option<u64>,
    limit: u64,
    /// How much has come.
    come: u64,
    in_pieces: bool,
    reader: Reader,
    /// Tells of each piece, where somebody hears.
    pub(super) teller: Option<Teller>,
}

impl WireBody {
    /// One that is whole, and not empty where it is there.
    pub(crate) fn full(bytes: Option<Bytes>) -> Self {
        Self::Full(bytes, None)
    }

    /// The body, unless it is streamed.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Full(bytes, _) => Some(bytes.as_deref().unwrap_or_default()),
            Self::Stream(_) => None,
        }
    }

    /// The length of the body, unless it is streamed.
    pub(crate) fn length(&self) -> Option<u64> {
        self.whole().map(|bytes| bytes.len() as u64)
    }

    /// Where a streamed body reports to, and one that is read in pieces.
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
        match self {
            Self::Full(_, reader) => reader.as_ref().map(Reader::upload),
            Self::Stream(streamed) => Some(streamed.reader.upload()),
        }
    }

    /// Has the body read in pieces of at most 16 KiB, each once the last has found room, and the connection told of the first;
    /// or as it comes, and at once where it is whole.
    pub(super) fn read_in_pieces(&mut self, shared: Option<&Began>) {
        match self {
            Self::Full(bytes, reader) => {
                *reader = shared.filter(|_| bytes.is_some()).map(|_| Reader::default());
                reader.iter_mut().for_each(|reader| reader.tell(shared));
            }
            Self::Stream(streamed) => {
                streamed.in_pieces = shared.is_some();
                streamed.reader.tell(shared);
            }
        }
    }
}

impl Body for WireBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Full(bytes, None) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Full(bytes, Some(reader)) => {
                reader.begin();
                Poll::Ready(next_piece(bytes).map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Stream(streamed) => streamed.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes, _) => bytes.is_none(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(streamed) => streamed.declared.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// Takes a piece from the front; what is left then is not empty.
fn next_piece(bytes: &mut Option<Bytes>) -> Option<Bytes> {
    match bytes {
        Some(more) if more.len() > PIECE => Some(more.split_to(PIECE)),
        last => last.take(),
    }
}

impl Streamed {
    /// `begun` is what has been read of it, `trailers` what follows the rest.
    pub(super) fn new(
        begun: Option<Bytes>,
        rest: UnsyncBoxBody<Bytes, BoxError>,
        trailers: Option<HeaderMap>,
        declared: Option<u64>,
        limit: u64,
    ) -> Self {
        let come = begun.as_ref().map_or(0, Bytes::len) as u64;
        Self {
            next: begun,
            rest,
            trailers,
            declared,
            limit,
            come,
            in_pieces: false,
            reader: Reader::default(),
            teller: None,
        }
    }

    /// What has come of the body, and where nothing has, what comes.
    fn frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.next.is_none() {
            let frame = std::task::ready!(Pin::new(&mut self.rest).poll_frame(context))
                .or_else(|| self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => {
                    self.come += bytes.len() as u64;
                    self.next = Some(bytes);
                }
                Some(Ok(Err(frame))) => {
                    return Poll::Ready(
                        frame.into_trailers().ok().map(|trailers| Ok(Frame::trailers(clean(trailers)))),
                    );
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(own_failure(error)))),
                None => return Poll::Ready(None),
            }
        }
        let piece = if self.in_pieces { next_piece(&mut self.next) } else { self.next.take() };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.reader.begin();
        let next = std::task::ready!(self.frame(context));
        let bytes = next.as_ref().and_then(|next| next.as_ref().ok()?.data_ref()).map_or(0, Bytes::len) as u64;
        let sent = self.come - self.next.as_ref().map_or(0, Bytes::len) as u64;
        let ends = next.as_ref().is_none_or(|next| next.as_ref().is_ok_and(Frame::is_trailers));
        let wrong = match self.declared {
            Some(declared) if self.come > declared || (ends && self.come < declared) => {
                Some(mismatch(declared, self.come))
            }
            Some(_) | None => (self.come > self.limit).then(|| too_large(None, self.limit)),
        };
        let next = match (wrong, next) {
            (Some(error), Some(Ok(_)) | None) => Some(Err(error)),
            (_, next) => next,
        };
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                self.tell(Signal::RequestChunk { bytes }, bytes > 0);
                // Nobody asks for more after trailers, nor beyond the promised length.
                let last = ends || self.declared == Some(sent);
                self.tell(Signal::RequestEnd { bytes: sent }, last);
                if last {
                    self.reader.end(None);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.reader.end(Some(error));
                Some(Err("the request's body ended early".into()))
            }
            None => {
                self.tell(Signal::RequestEnd { bytes: sent }, self.declared != Some(sent));
                self.reader.end(None);
                None
            }
        })
    }

    fn tell(&self, signal: Signal, applies: bool) {
        if let Some(teller) = self.teller.as_ref().filter(|_| applies) {
            teller.tell(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;
    use crate::error::Kind;

    fn bodies(length: usize) -> [WireBody; 3] {
        let bytes = Bytes::from(vec![0; length]);
        let rest = Full::new(bytes.clone()).map_err(BoxError::from).boxed_unsync();
        let none = Full::default().map_err(BoxError::from).boxed_unsync();
        let streamed = |begun, rest| Streamed::new(begun, rest, None, None, u64::MAX);
        [
            WireBody::full(Some(bytes.clone())),
            WireBody::Stream(Box::new(streamed(None, rest))),
            WireBody::Stream(Box::new(streamed(Some(bytes), none))),
        ]
    }

    #[tokio::test]
    async fn a_body_is_read_at_once_or_in_pieces() {
        for (length, pieces) in [(1, 1), (PIECE, 1), (PIECE + 1, 2), (5 * PIECE, 5)] {
            for mut body in bodies(length) {
                // A connection that exchanges share gave it back.
                body.read_in_pieces(Some(&Began::default()));
                body.read_in_pieces(None);
                let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert_eq!(frame.len(), length);
            }
            for mut body in bodies(length) {
                body.read_in_pieces(Some(&Began::default()));
                let upload = body.upload().unwrap();
                let mut found = Vec::new();
                while let Some(frame) = body.frame().await {
                    found.push(frame.unwrap().into_data().unwrap().len());
                }
                found.retain(|length| *length > 0);
                assert_eq!((found.len(), found.iter().sum()), (pieces, length));
                assert!(found.iter().all(|length| *length <= PIECE) && !upload.is_over());
                drop(body);
                assert!(upload.is_over());
            }
        }
        let mut empty = WireBody::full(None);
        empty.read_in_pieces(Some(&Began::default()));
        assert!(empty.upload().is_none());
    }

    /// Though its first piece would be in order.
    #[tokio::test]
    async fn nothing_is_sent_of_a_frame_that_is_too_long() {
        let frame = Full::new(Bytes::from(vec![0; 5 * PIECE])).map_err(BoxError::from).boxed_unsync();
        let mut body = WireBody::Stream(Box::new(Streamed::new(None, frame, None, Some(2 * PIECE as u64), u64::MAX)));
        body.read_in_pieces(Some(&Began::default()));
        let upload = body.upload().unwrap();
        assert!(body.frame().await.unwrap().is_err());
        assert_eq!(upload.error().unwrap().kind(), Kind::RequestTooLarge(Some(5 * PIECE as u64)));
    }
}
