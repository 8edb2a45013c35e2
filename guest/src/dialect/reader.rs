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
    /// Some dialects say in the head what others say in the body.
    head: Head,
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
        Self {
            dialect,
            framing: dialect.framing(),
            decoder: dialect.decoder(),
            shape: Shape::Unknown,
            head: Head::ok(),
        }
    }

    /// The same, for the answer under this head.
    #[must_use]
    pub fn under(self, head: Head) -> Self {
        Self { head, ..self }
    }

    /// Takes more bytes, and adds what they say to `deltas`.
    ///
    /// # Errors
    /// The provider's, if it reports one, or `provider` if the bytes make no sense. What came before is in `deltas`.
    pub fn push(&mut self, mut bytes: &[u8], deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if matches!(self.shape, Shape::Unknown) {
            match bytes.iter().position(|byte| !byte.is_ascii_whitespace()) {
                None => {}
                // White space before it may have come by itself, so it is no part of the answer either way.
                Some(first) if self.framing.is_whole(bytes[first]) => {
                    bytes = &bytes[first..];
                    self.shape = Shape::Whole(Vec::new());
                }
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
        let before = deltas.len();
        let decoder = &mut self.decoder;
        let result = self.framing.push(bytes, &mut |event| decoder.event(event, deltas));
        self.name(&mut deltas[before..]);
        result
    }

    /// Gives the answer its head's name, if its body has given it none.
    fn name(&self, deltas: &mut [Delta]) {
        let Some(id) = self.dialect.id(&self.head) else { return };
        for delta in deltas {
            if let Delta::Start(start) = delta
                && start.id.is_empty()
            {
                id.clone_into(&mut start.id);
            }
        }
    }

    /// The bytes have come to a good end: adds the last deltas.
    ///
    /// # Errors
    /// `connection` unless the dialect's terminal event was seen; otherwise as `push`.
    pub fn end(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if let Shape::Whole(body) = &self.shape {
            deltas.extend(self.dialect.decode(&self.head, body)?);
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
