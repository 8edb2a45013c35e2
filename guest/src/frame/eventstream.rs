//! AWS's binary event stream.
//!
//! Before: bytes of an `application/vnd.amazon.eventstream`. After: a dialect's decoder. Invariant: a message is believed only
//! when both its checksums agree, and the end of the bytes within a message is an error.
//!
//! ```text
//! length of all u32 | length of headers u32 | CRC32 of these 8 bytes | headers | payload | CRC32 of all before it
//! ```
//! <https://smithy.io/2.0/aws/amazon-eventstream.html> (2026-11)

use super::{Event, Framing, MAX_EVENT, Sink};
use crate::bindings::{Error, ErrorKind};

/// What stands before the name of an event that reports a failure: an exception that the service's model knows by that
/// name, or an error that it does not.
pub const EXCEPTION: &str = "exception:";

/// Both lengths and their checksum.
const PRELUDE: usize = 12;
/// What a message is at least: the prelude and its own checksum.
const LEAST: usize = PRELUDE + 4;

/// The state between two reads.
#[derive(Debug, Default)]
pub struct EventStream {
    /// A message whose end has not come yet.
    message: Vec<u8>,
}

impl Framing for EventStream {
    fn push(&mut self, mut bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        // What was cut is put together first: its prelude, and then as much as that says.
        while !self.message.is_empty() {
            let wanted = length(&self.message)?.unwrap_or(PRELUDE);
            let (more, rest) = bytes.split_at(bytes.len().min(wanted - self.message.len()));
            self.message.extend_from_slice(more);
            bytes = rest;
            match length(&self.message)? {
                Some(length) if length == self.message.len() => {
                    let mut whole = std::mem::take(&mut self.message);
                    dispatch(&whole, sink)?;
                    whole.clear();
                    self.message = whole;
                }
                Some(_) | None if bytes.is_empty() => return Ok(()),
                Some(_) | None => {}
            }
        }
        while let Some(length) = length(bytes)?
            && length <= bytes.len()
        {
            let (message, rest) = bytes.split_at(length);
            dispatch(message, sink)?;
            bytes = rest;
        }
        self.message.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, _sink: &mut Sink<'_>) -> Result<(), Error> {
        if self.message.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Connection, "the stream ended within a message"))
    }
}

/// The length of the message that begins here, once its prelude is there.
fn length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
    let (lengths, sum) = prelude.split_at(8);
    if crc32fast::hash(lengths) != number(sum) {
        return Err(damaged("the checksum of a message's lengths is wrong"));
    }
    let length = number(&lengths[..4]) as usize;
    if length > MAX_EVENT {
        return Err(damaged(&format!("an event is longer than {MAX_EVENT} bytes")));
    }
    if length < LEAST || number(&lengths[4..]) as usize > length - LEAST {
        return Err(damaged("a message's lengths contradict each other"));
    }
    Ok(Some(length))
}

/// Hands over a whole message, whose prelude has been checked.
fn dispatch(message: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
    let (message, sum) = message.split_at(message.len() - 4);
    if crc32fast::hash(message) != number(sum) {
        return Err(damaged("the checksum of a message is wrong"));
    }
    let (headers, payload) = message[PRELUDE..].split_at(number(&message[4..8]) as usize);
    let Headers { message_type, event_type, exception_type, error_code, error_message } =
        Headers::read(headers).ok_or_else(|| damaged("a message's headers make no sense"))?;
    let data = std::str::from_utf8(payload).map_err(|_| damaged("a message's payload is no text"))?;
    match message_type {
        "event" => sink(Event { name: event_type, data }),
        "exception" => sink(Event { name: Some(&format!("{EXCEPTION}{}", exception_type.unwrap_or_default())), data }),
        "error" => {
            let name = format!("{EXCEPTION}{}", error_code.unwrap_or_default());
            let message =
                error_message.or(error_code).unwrap_or("the provider reports an error and does not say which");
            let data = serde_json::json!({ "message": message }).to_string();
            sink(Event { name: Some(&name), data: &data })
        }
        other => Err(damaged(&format!("`{}` is no type of message", other.escape_debug()))),
    }
}

/// The headers that matter. <https://smithy.io/2.0/aws/amazon-eventstream.html#headers> (2026-11)
#[derive(Default)]
struct Headers<'m> {
    message_type: &'m str,
    event_type: Option<&'m str>,
    exception_type: Option<&'m str>,
    error_code: Option<&'m str>,
    error_message: Option<&'m str>,
}

impl<'m> Headers<'m> {
    /// Reads all headers; those of other names are passed over, whatever their type. `None` if they make no sense.
    fn read(mut bytes: &'m [u8]) -> Option<Self> {
        let mut headers = Self::default();
        while let [length, rest @ ..] = bytes {
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            let (kind, rest) = rest.split_first()?;
            let (value, rest) = match kind {
                // true and false have no more to say.
                0 | 1 => (&[][..], rest),
                2 => rest.split_at_checked(1)?,
                3 => rest.split_at_checked(2)?,
                4 => rest.split_at_checked(4)?,
                // A number of 64 bits, and a moment.
                5 | 8 => rest.split_at_checked(8)?,
                // Bytes, and text.
                6 | 7 => {
                    let (length, rest) = rest.split_at_checked(2)?;
                    rest.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])))?
                }
                // A UUID.
                9 => rest.split_at_checked(16)?,
                _ => return None,
            };
            bytes = rest;
            if *kind != 7 {
                continue;
            }
            let value = std::str::from_utf8(value).ok()?;
            match name {
                b":message-type" => headers.message_type = value,
                b":event-type" => headers.event_type = Some(value),
                b":exception-type" => headers.exception_type = Some(value),
                b":error-code" => headers.error_code = Some(value),
                b":error-message" => headers.error_message = Some(value),
                _ => {}
            }
        }
        Some(headers)
    }
}

/// A number in network order; the callers have its four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::Provider, format!("the provider's stream is damaged: {why}"))
}

#[cfg(test)]
mod tests;
