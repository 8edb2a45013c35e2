//! Server-sent events.
//!
//! Before: bytes of a `text/event-stream`. After: a dialect's decoder. Invariant: exactly CR, LF and CRLF end a line, so that
//! U+2028, U+2029 and U+0085 inside JSON do not, and an event is the same however its bytes were cut.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

use std::borrow::Cow;

use memchr::memchr2;

use super::{Event, Framing, MAX_EVENT, Sink};
use crate::bindings::{Error, ErrorKind};

/// The state between two reads.
#[derive(Debug, Default)]
pub struct Sse {
    /// A line whose end has not come yet.
    line: Vec<u8>,
    /// The lines of `data` so far, each with its line feed.
    data: Vec<u8>,
    /// The event's name so far.
    name: Vec<u8>,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    /// The first line is behind us: a byte order mark is no longer one.
    begun: bool,
}

impl Framing for Sse {
    fn push(&mut self, mut bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
            if self.line.is_empty() {
                self.line(line, sink)?;
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.line(&whole, sink)?;
                whole.clear();
                self.line = whole;
            }
        }
        if self.line.len() + self.data.len() + bytes.len() > MAX_EVENT {
            return Err(Error::new(
                ErrorKind::Provider,
                format!("an event of the stream is longer than {MAX_EVENT} bytes"),
            ));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            self.line(&rest, sink)?;
        }
        // The specification drops an event without its blank line; providers are known to forget the last one, and
        // whether the answer is complete is the decoder's to say.
        self.dispatch(sink)
    }
}

impl Sse {
    fn line(&mut self, mut line: &[u8], sink: &mut Sink<'_>) -> Result<(), Error> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(sink);
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() > MAX_EVENT {
                    return Err(Error::new(
                        ErrorKind::Provider,
                        format!("an event of the stream is longer than {MAX_EVENT} bytes"),
                    ));
                }
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // A line that begins with a colon is a comment; `id` and `retry` are for clients that reconnect.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let mut result = Ok(());
        if let Some(data) = self.data.strip_suffix(b"\n") {
            let data = text(data);
            let name = text(&self.name);
            result = sink(Event { name: Some(&*name).filter(|name| !name.is_empty()), data: &data });
        }
        self.data.clear();
        self.name.clear();
        result
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<(Option<String>, String)> {
        let mut framing = Sse::default();
        let mut events = Vec::new();
        let mut sink = |event: Event<'_>| {
            events.push((event.name.map(str::to_owned), event.data.to_owned()));
            Ok(())
        };
        for piece in pieces {
            framing.push(piece, &mut sink).unwrap();
        }
        framing.end(&mut sink).unwrap();
        events
    }

    fn data(text: &str) -> (Option<String>, String) {
        (None, text.to_owned())
    }

    #[test]
    fn every_line_ending_gives_the_same_events_at_every_cut() {
        let stream = "\u{feff}: hello\n\ndata: a\u{2028}b\u{85}c\n\nevent: error\ndata: one\ndata:two\ndata\n\nid: 7\n\ndata: last";
        let wanted = vec![data("a\u{2028}b\u{85}c"), (Some("error".to_owned()), "one\ntwo\n".to_owned()), data("last")];
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
    fn an_event_without_data_is_none() {
        assert_eq!(events(&[b"event: ping\n\ndata: x\n\n"]), [data("x")]);
    }

    #[test]
    fn an_endless_line_is_an_error() {
        let mut framing = Sse::default();
        let mut result = Ok(());
        for _ in 0..40 {
            result = framing.push(&vec![b'x'; 1 << 20], &mut |_| Ok(()));
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result.unwrap_err().kind, ErrorKind::Provider);
    }

    #[test]
    fn endless_data_lines_are_an_error() {
        let mut framing = Sse::default();
        let mut line = b"data: ".to_vec();
        line.resize(1 << 20, b'x');
        line.push(b'\n');
        let failed = (0..40).any(|_| framing.push(&line, &mut |_| Ok(())).is_err());
        assert!(failed);
    }
}
