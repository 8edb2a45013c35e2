//! Bytes -> events, at any cut.
//!
//! Before: `component` reads bytes. After: a dialect's decoder takes the events. Invariant: however the bytes are cut into
//! reads, the events are the same.

pub mod coding;
pub mod sse;
pub mod ndjson;
pub mod eventstream;

use crate::bindings::Error;

/// One event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// Its content.
    pub data: &'a str,
}

/// The longest event that is put together, in bytes: 32 MiB, for a picture in base64.
pub const MAX_EVENT: usize = 32 << 20;

/// Takes the events out of bytes.
pub trait Framing: Send {
    /// Takes more bytes, and hands over the events that they complete.
    ///
    /// # Errors
    /// The sink's own, and `provider` if an event passes [`MAX_EVENT`].
    fn push(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Error>;

    /// The bytes have come to an end: hands over an event that lacks only its blank line.
    ///
    /// # Errors
    /// The sink's own.
    fn end(&mut self, sink: &mut Sink<'_>) -> Result<(), Error>;

    /// Whether what begins with this byte is no stream but a whole answer, or a page.
    fn is_whole(&self, first: u8) -> bool {
        matches!(first, b'{' | b'[' | b'<')
    }
}

/// Where events go. An error stops the framing.
pub type Sink<'a> = dyn FnMut(Event<'_>) -> Result<(), Error> + 'a;
