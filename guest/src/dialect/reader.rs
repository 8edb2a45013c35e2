//! A streamed answer's bytes -> deltas: framing and decoder together.
//!
//! Before: `component` reads bytes from a provider. After: `api` or a typed caller takes the deltas. Invariant: the end of
//! the bytes alone is never the end of the answer.

use super::{Decoder, Dialect, Head, unexpected};
use crate::{
    bindings::{Delta, Error},
    frame::{Framing, MAX_EVENT},
};

/// Reads one streamed answer.
pub struct Reader {
    dialect: &'static dyn Dialect,
    framing: Box<dyn Framing>,
    decoder: Box<dyn Decoder>,
    shape: Shape,
}

/// What the first byte said the answer is.
enum Shape {
    /// Only white space has come.
    Unknown,
    /// Events.
    Events,
    /// A whole answer in place of a stream: an error with a successful status, or a provider that does not stream.
    Whole(Vec<u8>),
}

impl Reader {
    /// A reader for one answer.
    pub fn new(dialect: &'static dyn Dialect) -> Self {
        Self { dialect, framing: dialect.framing(), decoder: dialect.decoder(), shape: Shape::Unknown }
    }

    /// Takes more bytes, and adds what they say to `deltas`.
    ///
    /// # Errors
    /// The provider's, if it reports one, or `provider` if the bytes make no sense. What came before is in `deltas`.
    pub fn push(&mut self, bytes: &[u8], deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if matches!(self.shape, Shape::Unknown) {
            match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => {}
                Some(first) if self.framing.is_whole(*first) => self.shape = Shape::Whole(Vec::new()),
                Some(_) => self.shape = Shape::Events,
            }
        }
        if let Shape::Whole(body) = &mut self.shape {
            if body.len() + bytes.len() > MAX_EVENT {
                return Err(unexpected(body, "it is too long"));
            }
            body.extend_from_slice(bytes);
            return Ok(());
        }
        let decoder = &mut self.decoder;
        self.framing.push(bytes, &mut |event| decoder.event(event, deltas))
    }

    /// The bytes have come to a good end: adds the last deltas.
    ///
    /// # Errors
    /// `connection` unless the dialect's terminal event was seen; otherwise as `push`.
    pub fn end(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if let Shape::Whole(body) = &self.shape {
            deltas.extend(self.dialect.decode(&Head::ok(), body)?);
            return Ok(());
        }
        if matches!(self.shape, Shape::Unknown) {
            return Err(unexpected(&[], ""));
        }
        let decoder = &mut self.decoder;
        self.framing.end(&mut |event| decoder.event(event, deltas))?;
        self.decoder.end(deltas)
    }
}
