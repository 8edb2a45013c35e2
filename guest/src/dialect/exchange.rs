//! What goes to a provider and what heads its answer: HTTP, as values.
//!
//! Before: a dialect's `encode`. After: `component` sends it. Invariant: a [`Url`] has an origin and no credentials in it.

use std::fmt;

use crate::{
    bindings::{Error, ErrorKind},
    provider::{Auth, Key, Target},
};

/// A request to a provider. Always a POST.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Where it goes.
    pub url: Url,
    /// The header fields that the dialect needs, the key's included; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Header fields that a caller may not set: they carry credentials, or belong to the connection or to a dialect.
pub(super) const FORBIDDEN: &[&str] = &[
    "authorization",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "cookie",
    "proxy-authorization",
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
];

impl Exchange {
    /// The header field for the target's key, if it has one.
    ///
    /// # Errors
    /// `authentication` if the key is still missing: a placeholder never leaves a foreign host.
    pub fn key_header(target: &Target<'_>) -> Result<Option<(String, String)>, Error> {
        let key = match &target.key {
            Key::None => return Ok(None),
            Key::Placeholder(name) => format!("seaway-credential:{name}"),
            Key::Own(key) => key.clone(),
            Key::Missing(name) => {
                let message = format!("there is no key for `{name}`");
                return Err(Error::new(ErrorKind::Authentication, message).from(target.provider));
            }
        };
        Ok(Some(match target.auth {
            Auth::Bearer => ("authorization".to_owned(), format!("Bearer {key}")),
            Auth::ApiKey => ("api-key".to_owned(), key),
            Auth::XGoogApiKey => ("x-goog-api-key".to_owned(), key),
            Auth::XApiKey => ("x-api-key".to_owned(), key),
        }))
    }
}

/// An absolute `http` or `https` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub secure: bool,
    /// Host and port.
    pub authority: String,
    /// Path and query, from the first `/`.
    pub path: String,
}

impl Url {
    /// Reads an absolute address.
    ///
    /// # Errors
    /// `configuration`, saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            // What stands before an `@` is a secret and stays out of the message.
            let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
            Err(Error::new(ErrorKind::Configuration, format!("base URL `{shown}`: {why}")))
        };
        let (secure, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return wrong("it has to begin with http:// or https://"),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return wrong("it has no host");
        }
        if authority.contains('@') {
            return wrong("credentials do not belong in an address");
        }
        if path.contains('#') {
            return wrong("it has a fragment");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("it has a character that has to be percent-encoded");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, authority: authority.to_owned(), path })
    }

    /// Where a redirect's Location points, seen from here. `None` if that is another origin, or no address.
    pub fn within_origin(&self, location: &str) -> Option<Self> {
        if location.starts_with("//") || location.starts_with("/\\") {
            return None;
        }
        if location.starts_with('/') {
            let clean = location.bytes().all(|byte| byte.is_ascii_graphic());
            return clean.then(|| Self { path: location.to_owned(), ..self.clone() });
        }
        let other = Self::parse(location).ok()?;
        let same = other.secure == self.secure && other.origin() == self.origin();
        same.then_some(other)
    }

    /// Host and port, in lower case and with the scheme's own port left out.
    fn origin(&self) -> String {
        let authority = self.authority.to_ascii_lowercase();
        let default = if self.secure { ":443" } else { ":80" };
        authority.strip_suffix(default).map(str::to_owned).unwrap_or(authority)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}{}", if self.secure { "https" } else { "http" }, self.authority, self.path)
    }
}

/// What heads an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// The header fields; empty where nobody needs them.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The head of an answer of which only the body matters.
    pub fn ok() -> Self {
        Self { status: 200, headers: Vec::new() }
    }

    /// A header field's value, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        field.and_then(|(_, value)| std::str::from_utf8(value).ok()).map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_within_the_origin_is_told_from_any_other() {
        let url = Url::parse("https://api.example.com/v1/chat").unwrap();
        let path = |location| url.within_origin(location).map(|url| url.path);
        assert_eq!(path("/v2/chat?x=1").as_deref(), Some("/v2/chat?x=1"));
        assert_eq!(path("https://API.example.com:443/v2").as_deref(), Some("/v2"));
        for elsewhere in
            ["//evil.example/v2", "/\\evil.example", "http://api.example.com/v2", "https://evil.example/", "v2", "/a b"]
        {
            assert_eq!(path(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn an_address_with_credentials_is_refused_without_repeating_them() {
        let error = Url::parse("https://me:secret@api.example.com/v1").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(!error.message.contains("secret"), "{}", error.message);
    }

    #[test]
    fn an_address_without_scheme_or_host_is_refused() {
        for text in ["api.example.com/v1", "ftp://x/", "https:///v1", "", "https://x/a b", "https://x/#y"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
