//! A secret, and the header values made of it.
//!
//! The invariant: no `Debug`, `Display` or `Serialize` shows one, its memory is wiped when it is dropped, and a header
//! value made of it is marked sensitive.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use serde::de::{Deserialize, Deserializer, Visitor};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret, without the line end that a file or a shell leaves behind it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text = Zeroizing::new(text.into());
        let trimmed = text.trim_end_matches(['\n', '\r']);
        match trimmed.len() == text.len() {
            true => Self(text),
            false => Self(Zeroizing::new(trimmed.to_owned())),
        }
    }

    /// The secret itself.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// True if `offered` is this secret. How long it takes tells of its length alone.
    #[must_use]
    pub fn is(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(offered).into()
    }

    /// As a header's value, if it can be one.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        sensitive(self.0.as_bytes().to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_string(Text)
    }
}

/// Takes a string; whatever else stands there is refused without being repeated.
struct Text;

impl Visitor<'_> for Text {
    type Value = Secret;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a quoted string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom("a secret is a quoted string"))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom("a secret is a quoted string"))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom("a secret is a quoted string"))
    }
}

/// The header values of a secret, ready made: an exchange only counts a reference up.
#[derive(Clone)]
pub(crate) struct Ready {
    plain: HeaderValue,
    bearer: HeaderValue,
}

impl Ready {
    /// # Errors
    /// What is wrong with the secret, without a byte of it.
    pub(super) fn new(secret: &Secret) -> Result<Self, &'static str> {
        let text = secret.0.as_bytes();
        if text.is_empty() {
            return Err("is empty");
        }
        if text.iter().any(u8::is_ascii_control) {
            return Err("holds a control character, a line break perhaps");
        }
        let unfit = "does not fit into a header";
        Ok(Self {
            plain: sensitive(text.to_vec()).ok_or(unfit)?,
            bearer: sensitive([BEARER, text].concat()).ok_or(unfit)?,
        })
    }

    /// The value with the secret between `before` and `after`. Absent if they do not fit into a header.
    pub(super) fn between(&self, before: &[u8], after: &[u8]) -> Option<HeaderValue> {
        match (before, after) {
            (b"", b"") => Some(self.plain.clone()),
            (BEARER, b"") => Some(self.bearer.clone()),
            (before, after) => sensitive([before, self.plain.as_bytes(), after].concat()),
        }
    }
}

const BEARER: &[u8] = b"Bearer ";

/// A header value that owns its bytes and wipes them when its last copy is dropped.
pub(crate) fn sensitive(bytes: Vec<u8>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Zeroizing::new(bytes))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("sk-hidden\r\n");
        assert_eq!(format!("{secret:?}"), "Secret");
        let ready = Ready::new(&secret).unwrap();
        for (before, after, expected) in
            [("", "", "sk-hidden"), ("Bearer ", "", "Bearer sk-hidden"), ("token=", "; x", "token=sk-hidden; x")]
        {
            let value = ready.between(before.as_bytes(), after.as_bytes()).unwrap();
            assert_eq!((value.to_str().unwrap(), format!("{value:?}").as_str()), (expected, "Sensitive"));
        }
    }

    #[test]
    fn a_secret_that_no_header_can_hold_is_refused_without_being_repeated() {
        for (text, reason) in
            [("", "is empty"), ("\n", "is empty"), ("a\nb", "control"), ("a\tb", "control"), ("a\0", "control")]
        {
            assert!(Ready::new(&Secret::new(text)).err().unwrap().contains(reason), "{text:?}");
        }
    }
}
