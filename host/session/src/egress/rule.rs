//! The entries of `egress.allow`, `egress.private` and `egress.methods`, parsed once, at load.
//!
//! An entry limits what it names: without a scheme it means both, without a scheme and a port it means every port.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use http::Method;
use ipnet::IpNet;
use serde::Deserialize;

use super::address::{self, Host};
use super::{Egress, Trust};
use crate::route::{Origin, Scheme};

/// An entry of `egress.allow`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Rule {
    /// `scheme://host[:port]`: this destination, which may be loopback, private or shared.
    Exact(Origin),
    /// `*.sub`, with or without a scheme before and a port behind: every name below `sub`, not `sub` itself.
    Wildcard {
        /// Absent: both.
        scheme: Option<Scheme>,
        /// With the dot before it, lower case.
        suffix: String,
        /// Absent: any.
        port: Option<u16>,
    },
    /// A range, for hosts that are addresses: any scheme and port. One that holds a single address names it exactly.
    Range(IpNet),
}

impl Rule {
    /// What addresses the destination may have by this entry; absent if the entry is not about it.
    pub(super) fn trust(&self, origin: &Origin) -> Option<Trust> {
        match self {
            Self::Exact(exact) => (exact == origin).then_some(Trust::Named),
            Self::Wildcard { scheme, suffix, port } => {
                let fits = scheme.is_none_or(|scheme| scheme == origin.scheme())
                    && port.is_none_or(|port| port == origin.port())
                    && below(origin.host(), suffix);
                fits.then_some(Trust::Public)
            }
            Self::Range(range) => {
                let single = range.prefix_len() == range.max_prefix_len();
                let trust = if single { Trust::Named } else { Trust::Public };
                origin.address().filter(|address| range.contains(address)).map(|_| trust)
            }
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('@') {
            return Err("an entry holds no user information; write scheme://host[:port]".to_owned());
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let rest = rest.strip_suffix('/').unwrap_or(rest);
            if rest.contains(['/', '?', '#']) {
                return Err(format!("`{text}` has a path; an entry is scheme://host[:port]"));
            }
            let scheme = match scheme {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                _ => return Err(format!("`{text}` begins with neither http:// nor https://")),
            };
            return match rest.strip_prefix("*.") {
                Some(below) => Self::wildcard(Some(scheme), below, &text),
                None => exact(&text).map(Self::Exact),
            };
        }
        if let Some(below) = text.strip_prefix("*.") {
            return Self::wildcard(None, below, &text);
        }
        if text.contains('/') {
            return text
                .parse()
                .map(Self::Range)
                .map_err(|_| format!("`{text}` is not an address range, as in 10.0.0.0/8"));
        }
        Err(format!("`{text}` has no scheme; write \"https://{text}\""))
    }
}

impl Rule {
    fn wildcard(scheme: Option<Scheme>, below: &str, text: &str) -> Result<Self, String> {
        let (name, port) = match below.split_once(':') {
            Some((name, digits)) => match digits.parse::<u16>() {
                Ok(port) if port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
                _ => return Err(format!("`{text}`: port `{digits}` is not a number between 1 and 65535")),
            },
            None => (below, scheme.map(Scheme::default_port)),
        };
        suffix(name).map(|suffix| Self::Wildcard { scheme, suffix, port }).ok_or_else(|| not_a_name(text))
    }
}

impl Egress {
    /// What allows a destination: the entry of `egress.allow`, a `base_url` that the operator wrote, a row of the built-in
    /// `providers`; or `none`, as under `egress.mode = "count"`.
    pub(crate) fn rule(&self, origin: &Origin) -> Cow<'static, str> {
        let entry = self.allow.iter().position(|rule| rule.trust(origin).is_some());
        match (entry, self.exact.get(origin)) {
            (Some(place), _) => Cow::Owned(format!("egress.allow[{place}]")),
            (None, Some(Trust::Named)) => Cow::Borrowed("base_url"),
            (None, Some(Trust::Public | Trust::Local)) => Cow::Borrowed("providers"),
            (None, None) => Cow::Borrowed("none"),
        }
    }
}

/// An entry of `egress.private`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Private {
    /// This name, whatever the port.
    Name(String),
    /// `*.sub`: every name below `sub`. With the dot before it.
    Below(String),
    /// Addresses of this range, whatever name led to them.
    Range(IpNet),
}

impl Private {
    pub(super) fn has_name(&self, host: &str) -> bool {
        match self {
            Self::Name(name) => name == host,
            Self::Below(suffix) => below(host, suffix),
            Self::Range(_) => false,
        }
    }

    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Name(_) | Self::Below(_) => false,
            Self::Range(range) => range.contains(&address),
        }
    }
}

impl TryFrom<String> for Private {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Range(address.into()));
        }
        if text.contains("://") {
            return Err(format!("`{text}`: an entry is a name, *.sub or an address range, without scheme and port"));
        }
        if text.contains('/') {
            return text
                .parse()
                .map(Self::Range)
                .map_err(|_| format!("`{text}` is not an address range, as in 10.0.0.0/8"));
        }
        match text.strip_prefix("*.") {
            Some(name) => suffix(name).map(Self::Below),
            None => suffix(&text).map(|name| Self::Name(name[1..].to_owned())),
        }
        .ok_or_else(|| not_a_name(&text))
    }
}

impl fmt::Display for Private {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Below(suffix) => write!(out, "*{suffix}"),
            Self::Range(range) => range.fmt(out),
        }
    }
}

/// An entry of `egress.methods`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Verb(pub Method);

impl TryFrom<String> for Verb {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let method: Method = text.parse().map_err(|_| format!("`{text}` is not a method"))?;
        if method == Method::CONNECT || method == Method::TRACE {
            return Err(format!("the method {method} is never sent"));
        }
        // Methods are case-sensitive (RFC 9110, section 9.1): https://www.rfc-editor.org/rfc/rfc9110#section-9.1
        match text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            true => Err(format!("methods are in capitals; write \"{}\"", text.to_ascii_uppercase())),
            false => Ok(Self(method)),
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// True if `host` is at least one label longer than `suffix`, which begins with a dot.
fn below(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

fn exact(text: &str) -> Result<Origin, String> {
    let origin = Origin::parse(text)?;
    match address::read(origin.host()) {
        Host::Name | Host::Address(_) => Ok(origin),
        Host::Unusual(address) => Err(format!("`{text}` is an address in an unusual spelling; write {address}")),
        Host::Neither => Err(not_a_name(text)),
    }
}

/// `.name`, if it is a host name.
fn suffix(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    matches!(address::read(&name), Host::Name).then(|| format!(".{name}"))
}

fn not_a_name(text: &str) -> String {
    format!("`{text}` is neither a host name nor an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<Rule, String> {
        Rule::try_from(text.to_owned())
    }

    #[test]
    fn an_entry_limits_what_it_names() {
        // entry, destination, does the entry name it
        let table = [
            ("https://api.example.com", "https://api.example.com", true),
            ("https://api.example.com/", "https://API.Example.com.:443", true),
            ("https://api.example.com", "http://api.example.com", false),
            ("https://api.example.com", "https://api.example.com:8443", false),
            ("*.example.com", "https://a.b.example.com:8443", true),
            ("*.example.com", "http://a.example.com", true),
            ("*.example.com", "https://example.com", false),
            ("*.example.com", "https://badexample.com", false),
            ("*.example.com", "https://a.example.com.evil.test", false),
            ("*.example.com:8443", "http://a.example.com:8443", true),
            ("*.example.com:8443", "https://a.example.com", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "http://a.example.com", false),
            ("https://*.example.com", "https://a.example.com:8443", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("8.8.0.0/16", "http://8.8.8.8:53", true),
            ("8.8.0.0/16", "http://8.9.8.8", false),
            ("8.8.0.0/16", "http://8.8.8.8.example.com", false),
            ("2001:4860::/32", "https://[2001:4860:4860::8888]", true),
        ];
        for (entry, destination, named) in table {
            let origin = Origin::parse(destination).unwrap();
            assert_eq!(rule(entry).unwrap().trust(&origin).is_some(), named, "{entry} {destination}");
        }
    }

    #[test]
    fn an_entry_that_means_nothing_is_refused() {
        for bad in [
            "",
            "*",
            "*.",
            "api.example.com",
            "https://",
            "https://*",
            "ftp://x.test",
            "https://a.test/v1",
            "https://u@a.test",
            "https://a.test?x",
            "10.0.0.0/33",
            "10/8",
            "*.1.2",
            "https://127.1",
            "https://a..b",
            "*.a.test:0",
            "*.a.test:x",
            "https://*.a.test/v1",
            "*.a*.test",
            "https://0x7f000001",
        ] {
            assert!(rule(bad).is_err(), "{bad}");
        }
        assert_eq!(
            rule("api.example.com").unwrap_err(),
            "`api.example.com` has no scheme; write \"https://api.example.com\""
        );
        for bad in ["", "*", "https://a.test", "10.0.0.0/99", "127.1", "a b"] {
            assert!(Private::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        for bad in ["", "CONNECT", "TRACE", "get", "A B"] {
            assert!(Verb::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
