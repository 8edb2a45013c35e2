//! An answer's content coding, undone.
//!
//! Before: `component` reads bytes. After: a framing, or a decoder of whole answers. Invariant: the request asked for
//! `identity`; gzip is undone all the same, within [`MAX_DECODED`], and any other coding is an error that names it.
//! <https://www.rfc-editor.org/rfc/rfc9110#section-8.4>

use std::{borrow::Cow, io::Write};

use flate2::write::GzDecoder;

use crate::bindings::{Error, ErrorKind};

/// The most bytes that a coded answer may grow to: 64 MiB.
pub const MAX_DECODED: usize = 64 << 20;

/// Undoes one answer's coding, read by read.
#[derive(Debug)]
pub enum Coding {
    /// There is none.
    Identity,
    /// gzip. <https://www.rfc-editor.org/rfc/rfc1952>
    Gzip {
        /// Undoes it.
        decoder: Box<GzDecoder<Vec<u8>>>,
        /// How many bytes have come out.
        decoded: usize,
    },
}

impl Coding {
    /// The coding that a `content-encoding` names.
    ///
    /// # Errors
    /// `provider`, naming a coding that is not known here.
    pub fn of(encoding: Option<&str>) -> Result<Self, Error> {
        let encoding = encoding.map(str::trim).unwrap_or_default();
        if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
            return Ok(Self::Identity);
        }
        if encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip") {
            return Ok(Self::Gzip { decoder: Box::new(GzDecoder::new(Vec::new())), decoded: 0 });
        }
        let message =
            format!("the provider answered with content-encoding `{encoding}`, though `identity` was asked for");
        Err(Error::new(ErrorKind::Provider, message))
    }

    /// Undoes the coding of more bytes.
    ///
    /// # Errors
    /// `provider` for bytes that are not what the coding says, or too many of them.
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, Error> {
        let Self::Gzip { decoder, decoded } = self else { return Ok(Cow::Borrowed(bytes)) };
        // A small piece at a time, so that the cap is seen before a bomb has gone off: gzip grows a thousandfold at most.
        let mut out = Vec::new();
        for piece in bytes.chunks(4096) {
            decoder.write_all(piece).map_err(|error| broken(&error.to_string()))?;
            *decoded += decoder.get_ref().len();
            if *decoded > MAX_DECODED {
                return Err(broken(&format!("it grows beyond {MAX_DECODED} bytes")));
            }
            out.append(decoder.get_mut());
        }
        Ok(Cow::Owned(out))
    }

    /// The bytes have come to an end: the last of them.
    ///
    /// # Errors
    /// `connection` if they ended too early.
    pub fn end(&mut self) -> Result<Vec<u8>, Error> {
        let Self::Gzip { decoder, .. } = self else { return Ok(Vec::new()) };
        if decoder.try_finish().is_err() {
            return Err(Error::new(ErrorKind::Connection, "the answer's gzip ended before it was complete"));
        }
        Ok(std::mem::take(decoder.get_mut()))
    }
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::Provider, format!("the answer's gzip makes no sense: {why}"))
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_undone_at_every_cut() {
        let text = "data: {\"a\": 1}\n\n".repeat(20).into_bytes();
        let zipped = zipped(&text);
        for cut in 0..=zipped.len() {
            let mut coding = Coding::of(Some("GZIP")).unwrap();
            let mut out = coding.push(&zipped[..cut]).unwrap().into_owned();
            out.extend_from_slice(&coding.push(&zipped[cut..]).unwrap());
            out.extend_from_slice(&coding.end().unwrap());
            assert_eq!(out, text);
        }
    }

    #[test]
    fn gzip_that_ends_early_is_an_error() {
        let zipped = zipped(b"some text that is long enough");
        for cut in 0..zipped.len() {
            let mut coding = Coding::of(Some("gzip")).unwrap();
            coding.push(&zipped[..cut]).unwrap();
            assert_eq!(coding.end().unwrap_err().kind, ErrorKind::Connection, "cut at {cut}");
        }
    }

    #[test]
    fn a_bomb_is_an_error_and_not_out_of_memory() {
        let zipped = zipped(&vec![0; MAX_DECODED + (1 << 20)]);
        let mut coding = Coding::of(Some("gzip")).unwrap();
        let error = coding.push(&zipped).err().map(|error| error.kind);
        assert_eq!(error, Some(ErrorKind::Provider));
    }

    #[test]
    fn another_coding_is_named() {
        let error = Coding::of(Some("br")).unwrap_err();
        assert!(error.message.contains("`br`"), "{}", error.message);
    }
}
