//! `proxy.headers`: what a `CONNECT` says beside where it leads.

use std::collections::BTreeMap;
use std::fmt;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::credentials::Secret;

/// Header fields of a `CONNECT`. Their values may be secrets, and none shows in `Debug` or an error.
#[derive(Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "BTreeMap<String, Secret>")]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    pub(super) fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }

    /// True if they say who we are.
    pub(super) fn authorize(&self) -> bool {
        self.0.iter().any(|(name, _)| *name == PROXY_AUTHORIZATION)
    }
}

impl TryFrom<BTreeMap<String, Secret>> for Headers {
    type Error = String;

    fn try_from(written: BTreeMap<String, Secret>) -> Result<Self, String> {
        let field = |(name, value): (String, Secret)| {
            let parsed: HeaderName =
                name.parse().map_err(|_| format!("`{}` is no header's name", name.escape_debug()))?;
            if [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].contains(&parsed) {
                return Err(format!("`{name}` is the session's own to write"));
            }
            let value = value.header().ok_or_else(|| format!("the value of `{name}` does not fit into a header"))?;
            Ok((parsed, value))
        };
        let mut fields = written.into_iter().map(field).collect::<Result<Vec<_>, _>>()?;
        fields.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
        match fields.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(format!("`{}` is there twice", pair[0].0)),
            None => Ok(Self(fields)),
        }
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_sensitive_and_bad_ones_are_not_repeated() {
        let read = |text: &str| toml::from_str::<Headers>(text);
        let headers = read("X-Department = 'hidden'\nproxy-authorization = 'Bearer hidden'").unwrap();
        assert!(headers.authorize() && headers.iter().all(|(_, value)| value.is_sensitive()));
        assert!(!format!("{headers:?}").contains("hidden"));
        for bad in [
            "host = 'hidden'",
            "'a b' = 'hidden'",
            "a = \"hid\\nden\"",
            "a = 5",
            "a = ['hidden']",
            "a = 'x'\nA = 'hidden'",
        ] {
            let error = read(bad).unwrap_err();
            assert!(!error.message().contains("hid"), "{error}");
        }
    }
}
