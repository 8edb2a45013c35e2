//! Where a proxy is, how it is spoken to and who we are to it, from one text.
//!
//! Parsed at load, from a variable or a key. No message repeats any part of the text, because a password may be in it.

use std::fmt;

use serde::Deserialize;
use smol_str::SmolStr;
use zeroize::Zeroizing;

use super::login::Login;

/// `[scheme://][user[:password]@]host[:port]`; without a scheme it is an HTTP proxy, as for curl.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address {
    pub(super) server: Server,
    /// Who we are to it, where the text says so.
    pub(super) login: Option<Login>,
}

/// How a proxy is spoken to, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(super) scheme: Scheme,
    /// Lower case, an IPv6 address without its brackets.
    pub(super) host: SmolStr,
    pub(super) port: u16,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Http,
    /// HTTP within TLS.
    Https,
    /// SOCKS 5; we resolve the name.
    Socks5,
    /// SOCKS 5; the proxy resolves the name.
    Socks5h,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Socks5, Self::Socks5h];

    const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

impl Address {
    /// # Errors
    /// What is wrong with the text, without a part of it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Http, text),
            Some((word, rest)) => {
                let scheme = Scheme::ALL.into_iter().find(|scheme| scheme.word().eq_ignore_ascii_case(word));
                (scheme.ok_or("its scheme is none of http, https, socks5 and socks5h")?, rest)
            }
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err("it has a path, a query or a character in its password that must be percent-encoded");
        }
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user).filter(|user| !user.is_empty()), place),
            None => (None, authority),
        };
        let (host, port) = host_and_port(place)?;
        let port = match port {
            None | Some("") => scheme.default_port(),
            Some(digits) => match digits.parse::<u16>() {
                Ok(port) if port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
                _ => return Err("its port is not a number between 1 and 65535"),
            },
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        if host.is_empty() || !host.bytes().all(fits) {
            return Err("it has no host, or one that is not a host's name");
        }
        let login = user.map(Login::of_url).transpose()?;
        Ok(Self { server: Server { scheme, host: host.to_ascii_lowercase().into(), port }, login })
    }
}

fn host_and_port(place: &str) -> Result<(&str, Option<&str>), &'static str> {
    match place.strip_prefix('[').map(|place| place.split_once(']')) {
        Some(Some((host, after))) if host.parse::<std::net::Ipv6Addr>().is_ok() => match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("something other than a port follows its host"),
        },
        Some(_) => Err("its host is not an IPv6 address"),
        None => Ok(place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)))),
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&Zeroizing::new(text)).map_err(|reason| format!("not a proxy that can be used: {reason}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(out)
    }
}

impl fmt::Display for Server {
    /// `http://proxy.corp.example:3128`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match host.contains(':') {
            true => write!(out, "{}://[{host}]:{port}", scheme.word()),
            false => write!(out, "{}://{host}:{port}", scheme.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_how_and_who() {
        let table = [
            ("http://p:3128", "http://p:3128", None),
            (" P.Corp:3128/ ", "http://p.corp:3128", None),
            ("p", "http://p:80", None),
            ("https://p", "https://p:443", None),
            ("SOCKS5://p", "socks5://p:1080", None),
            ("socks5h://[::1]", "socks5h://[::1]:1080", None),
            ("http://@p:1", "http://p:1", None),
            ("user:pa@ss@[::1]:8080", "http://[::1]:8080", Some(("user", "pa@ss"))),
            ("http://u@p:1", "http://p:1", Some(("u", ""))),
            ("http://a%40b:%3a%2Fx%@p:1", "http://p:1", Some(("a@b", ":/x%"))),
        ];
        for (text, shown, login) in table {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.server.to_string(), shown, "{text}");
            let found = address.login.as_ref().map(|login| login.parts());
            assert_eq!(found, login.map(|(user, password)| (user.as_bytes(), password.as_bytes())), "{text}");
        }
    }

    #[test]
    fn user_information_does_not_show() {
        let address = Address::parse("http://hidden:hidden@p:1").unwrap();
        assert!(!format!("{address:?} {}", address.server).contains("hidden"));
    }
}
