//! Who we are to a proxy: a user and a password.
//!
//! Made at load, or when the file that holds them changes. A part of the route, so that two logins never share a tunnel.
//! The invariant of every secret: neither `Debug` nor an error shows one.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::credentials::sensitive;

/// A user and a password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Login {
    /// `user:password`; kept as a header's value because that wipes itself and can be compared.
    plain: HeaderValue,
    basic: HeaderValue,
}

impl Login {
    /// From `user:password`, nothing of it encoded.
    ///
    /// # Errors
    /// What is wrong, without a part of it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        if !text.contains(&b':') {
            return Err("is not user:password");
        }
        let unfit = "holds a control character, a line break perhaps";
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(text));
        // https://www.rfc-editor.org/rfc/rfc7617#section-2
        let basic = sensitive([b"Basic ", encoded.as_bytes()].concat()).ok_or(unfit)?;
        Ok(Self { plain: sensitive(text.to_vec()).ok_or(unfit)?, basic })
    }

    /// From the part of a URL before its `@`, percent-encoded; without a colon the password is empty.
    ///
    /// # Errors
    /// What is wrong, without a part of it.
    pub(super) fn of_url(text: &str) -> Result<Self, &'static str> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let (user, password) = (decoded(user), decoded(password));
        if user.contains(&b':') {
            // https://www.rfc-editor.org/rfc/rfc7617#section-2
            return Err("its user has a colon, which no proxy can be told");
        }
        let text = Zeroizing::new([&user[..], b":", &password[..]].concat());
        Self::parse(&text).map_err(|_| "its user or password holds a control character")
    }

    /// The user and the password.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        let text = self.plain.as_bytes();
        let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        (&text[..colon], text.get(colon + 1..).unwrap_or_default())
    }

    /// The value of `Proxy-Authorization`.
    pub(super) fn basic(&self) -> &HeaderValue {
        &self.basic
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Login")
    }
}

/// Percent-decoded (RFC 3986, section 2.1); what is no escape stays as it is, as curl leaves it.
fn decoded(text: &str) -> Zeroizing<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return bytes,
            [b'%', high, low, after @ ..] if digit(*high).is_some() && digit(*low).is_some() => {
                bytes.push(digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0));
                after
            }
            [byte, after @ ..] => {
                bytes.push(*byte);
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_what_the_rfc_says() {
        // https://www.rfc-editor.org/rfc/rfc7617#section-2
        let login = Login::parse(b"Aladdin:open sesame").unwrap();
        assert_eq!(login.basic(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(login.basic().is_sensitive());
        assert_eq!(login.parts(), (&b"Aladdin"[..], &b"open sesame"[..]));
        assert_eq!(format!("{login:?}"), "Login");
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        assert!(Login::parse(b"user").is_err());
        assert!(Login::parse(b"user:pass\nword").is_err());
        for text in ["a%3Ab:c", "a:%0d%0ax", "%00:b"] {
            assert!(Login::of_url(text).is_err(), "{text}");
        }
        assert_eq!(Login::of_url("u:%e4%zz%").unwrap().parts(), (&b"u"[..], &b"\xe4%zz%"[..]));
    }
}
