//! `wire.http`: which HTTP is spoken, and so what ALPN offers.
//!
//! Read with the policy, asked where TLS begins and where a connection is made ready.

use serde::Deserialize;

use crate::tls;

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "HttpText")]
pub enum Http {
    /// Over TLS what both sides prefer (ALPN, RFC 7301), else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    One,
    /// HTTP/2 only; without TLS by prior knowledge (RFC 9113, section 3.3).
    Two,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"auto\", \"1\" or \"2\"")]
enum HttpText {
    Word(String),
    Number(u64),
}

impl TryFrom<HttpText> for Http {
    type Error = String;

    fn try_from(text: HttpText) -> Result<Self, String> {
        let text = match text {
            HttpText::Word(word) => word,
            HttpText::Number(number) => number.to_string(),
        };
        let known = [Self::Auto, Self::One, Self::Two].into_iter().find(|http| http.word() == text);
        known.ok_or_else(|| format!("`{}` is none of \"auto\", \"1\" and \"2\"", text.escape_debug()))
    }
}

impl Http {
    /// The word as the file writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::One => "1",
            Self::Two => "2",
        }
    }

    /// What of this is offered to a server.
    pub(crate) fn offered(self, alpn: &[tls::Alpn]) -> Vec<tls::Alpn> {
        let wanted = |alpn: &tls::Alpn| match self {
            Self::Auto => true,
            Self::One => *alpn == tls::Alpn::Http11,
            Self::Two => *alpn == tls::Alpn::H2,
        };
        alpn.iter().copied().filter(wanted).collect()
    }
}
