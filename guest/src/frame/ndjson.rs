//! JSON, one value a line.
//!
//! Before: bytes of an `application/x-ndjson`. After: a dialect's decoder. Invariant: exactly CR and LF end a line - inside
//! JSON both are always escaped - so that U+2028, U+2029 and U+0085 do not; an empty line is no event.
//! <https://github.com/ndjson/ndjson-spec>

use memchr::memchr2;

use super::{Event, Framing, MAX_EVENT, Sink};
use crate::bindings::{Error, ErrorKind};

/// The state between two reads.
#[derive(Debug, Default)]
pub struct Ndjson {
    /// A line whose end has not come yet.
    line: Vec<u8>,
}

impl Framing for Ndjson {
    fn push(&mut self, mut bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.line.is_empty() {
                dispatch(line, sink)?;
            } else {
                self.keep(line)?;
                let whole = std::mem::take(&mut self.line);
                dispatch(&whole, sink)?;
            }
        }
        self.keep(bytes)
    }

    fn end(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.line);
        dispatch(&rest, sink)
    }

    /// Every event is an object.
    fn is_whole(&self, first: u8) -> bool {
        matches!(first, b'[' | b'<')
    }
}

impl Ndjson {
    fn keep(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.line.len() + bytes.len() > MAX_EVENT {
            let message = format!("an event of the stream is longer than {MAX_EVENT} bytes");
            return Err(Error::new(ErrorKind::Provider, message));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

fn dispatch(line: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
    let data = String::from_utf8_lossy(line);
    if data.trim_ascii().is_empty() { Ok(()) } else { sink(Event { name: None, data: &data }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut framing = Ndjson::default();
        let mut events = Vec::new();
        let mut sink = |event: Event<'_>| {
            events.push(event.data.to_owned());
            Ok(())
        };
        for piece in pieces {
            framing.push(piece, &mut sink).unwrap();
        }
        framing.end(&mut sink).unwrap();
        events
    }

    #[test]
    fn every_line_ending_gives_the_same_events_at_every_cut() {
        let stream = "{\"a\":\"\u{2028}\u{85}\"}\n\n  \n{\"b\":1}\n{\"last\":true}";
        let wanted = ["{\"a\":\"\u{2028}\u{85}\"}", "{\"b\":1}", "{\"last\":true}"];
        for ending in ["\n", "\r", "\r\n"] {
            let bytes = stream.replace('\n', ending).into_bytes();
            for first in 0..=bytes.len() {
                for second in [first, (first + 1).min(bytes.len()), bytes.len()] {
                    let pieces = [&bytes[..first], &bytes[first..second], &[], &bytes[second..]];
                    assert_eq!(events(&pieces), wanted, "{ending:?} cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn an_endless_line_is_an_error() {
        let mut framing = Ndjson::default();
        let piece = vec![b'x'; 1 << 20];
        let failed = (0..40).find_map(|_| framing.push(&piece, &mut |_| Ok(())).err());
        assert_eq!(failed.unwrap().kind, ErrorKind::Provider);
    }
}
