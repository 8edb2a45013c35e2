//! The proxy variables of an environment: which proxy, if any, a request would go through.
//!
//! Read once, when a session is built, from the variables that the caller hands over. It fails closed: a proxy that
//! cannot be used, or two spellings of a variable that disagree, is an error at load, never a direct connection. No
//! message repeats any part of a value, because user information may be in it.

mod bypass;

use std::fmt;

use crate::Environment;
use crate::policy::Error;
use crate::route::{Origin, Scheme};
use bypass::Bypass;

/// The variables that name a proxy, in the order in which a message would mention them.
pub(crate) const VARIABLES: [&str; 6] =
    ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

/// The proxies that an environment names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    all: Option<Proxy>,
    bypass: Bypass,
}

/// A proxy that a variable names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proxy {
    /// The variable, as the environment spells it.
    pub(crate) variable: &'static str,
    pub(crate) scheme: ProxyScheme,
    /// Lower case, an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProxyScheme {
    Http,
    Https,
    /// SOCKS 5; we resolve the name.
    Socks5,
    /// SOCKS 5; the proxy resolves the name.
    Socks5h,
}

impl ProxyScheme {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Socks5, Self::Socks5h];

    pub(crate) const fn word(self) -> &'static str {
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

impl fmt::Display for Proxy {
    /// `http://proxy.corp.example:3128`, without the user information that the variable may hold.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable: _, scheme, host, port } = self;
        match host.contains(':') {
            true => write!(out, "{}://[{host}]:{port}", scheme.word()),
            false => write!(out, "{}://{host}:{port}", scheme.word()),
        }
    }
}

impl Proxies {
    /// The proxies of `environment`. An empty variable counts as absent.
    ///
    /// # Errors
    /// A proxy that cannot be used; two spellings of a variable that disagree.
    pub(crate) fn from_env(environment: &Environment) -> Result<Self, Error> {
        // A CGI server puts the request's `Proxy` header into HTTP_PROXY, and REQUEST_METHOD beside it: https://httpoxy.org
        let is_cgi = environment.get("REQUEST_METHOD").is_some();
        let http = match is_cgi {
            true => environment.get("http_proxy").map(|value| ("http_proxy", value)),
            false => variable(environment, "http_proxy", "HTTP_PROXY")?,
        };
        let proxy = |found: Option<(&'static str, &str)>| {
            found
                .filter(|(_, value)| !value.trim().is_empty())
                .map(|(variable, value)| proxy(variable, value))
                .transpose()
        };
        let bypass = variable(environment, "no_proxy", "NO_PROXY")?.map_or("", |(_, value)| value);
        Ok(Self {
            http: proxy(http)?,
            https: proxy(variable(environment, "https_proxy", "HTTPS_PROXY")?)?,
            all: proxy(variable(environment, "all_proxy", "ALL_PROXY")?)?,
            bypass: Bypass::parse(bypass),
        })
    }

    /// The proxy that a request to `origin` goes through. Absent: directly.
    pub(crate) fn choose(&self, origin: &Origin) -> Option<&Proxy> {
        let of_scheme = match origin.scheme() {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        };
        of_scheme.as_ref().or(self.all.as_ref()).filter(|_| !self.bypass.covers(origin))
    }
}

/// The variable in the spelling that is set; both may be, if they agree.
fn variable<'e>(
    environment: &'e Environment,
    lower: &'static str,
    upper: &'static str,
) -> Result<Option<(&'static str, &'e str)>, Error> {
    match (environment.get(lower), environment.get(upper)) {
        (Some(one), Some(other)) if one.trim() != other.trim() => {
            Err(Error::new(format!("{lower} and {upper} are both set and disagree; unset one of them")))
        }
        (Some(value), _) => Ok(Some((lower, value))),
        (None, Some(value)) => Ok(Some((upper, value))),
        (None, None) => Ok(None),
    }
}

/// A proxy from `[scheme://][user[:password]@]host[:port][/]`; without a scheme it is an HTTP proxy, as for curl.
fn proxy(variable: &'static str, value: &str) -> Result<Proxy, Error> {
    let unusable = |reason: &str| Error::new(format!("{variable} is not a proxy that can be used: {reason}"));
    let value = value.trim();
    let (scheme, rest) = match value.split_once("://") {
        None => (ProxyScheme::Http, value),
        Some((word, rest)) => {
            let scheme = ProxyScheme::ALL.into_iter().find(|scheme| scheme.word().eq_ignore_ascii_case(word));
            (scheme.ok_or_else(|| unusable("its scheme is none of http, https, socks5 and socks5h"))?, rest)
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(unusable("it has a path, a query or a character in its password that must be percent-encoded"));
    }
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let (host, port) = match address.strip_prefix('[').map(|address| address.split_once(']')) {
        Some(Some((host, after))) if host.parse::<std::net::Ipv6Addr>().is_ok() => match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(unusable("something other than a port follows its host")),
        },
        Some(_) => return Err(unusable("its host is not an IPv6 address")),
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = match port {
        None | Some("") => scheme.default_port(),
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => port,
            _ => return Err(unusable("its port is not a number between 1 and 65535")),
        },
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if host.is_empty() || !host.bytes().all(fits) {
        return Err(unusable("it has no host, or one that is not a host's name"));
    }
    Ok(Proxy { variable, scheme, host: host.to_ascii_lowercase(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn chosen(pairs: &[(&str, &str)], destination: &str) -> Option<String> {
        let proxies = Proxies::from_env(&environment(pairs)).unwrap();
        proxies.choose(&Origin::parse(destination).unwrap()).map(|proxy| format!("{} {proxy}", proxy.variable))
    }

    #[test]
    fn the_variable_of_the_scheme_comes_before_the_one_for_all() {
        let https = "https://api.test";
        let http = "http://api.test";
        // environment, destination, variable and proxy
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, Option<&'a str>);
        let table: [Row<'_>; 19] = [
            (&[], https, None),
            (&[("https_proxy", "http://p:3128")], https, Some("https_proxy http://p:3128")),
            (&[("HTTPS_PROXY", "http://p:3128")], https, Some("HTTPS_PROXY http://p:3128")),
            (&[("HTTPS_PROXY", "http://p:3128")], http, None),
            (&[("http_proxy", "http://p:3128")], http, Some("http_proxy http://p:3128")),
            (&[("HTTP_PROXY", "http://p:3128")], http, Some("HTTP_PROXY http://p:3128")),
            (&[("HTTP_PROXY", "http://p:3128")], https, None),
            (&[("HTTP_PROXY", "http://p:3128"), ("REQUEST_METHOD", "GET")], http, None),
            (
                &[("http_proxy", "http://p:1"), ("HTTP_PROXY", "http://q:2"), ("REQUEST_METHOD", "GET")],
                http,
                Some("http_proxy http://p:1"),
            ),
            (&[("ALL_PROXY", "socks5://p")], https, Some("ALL_PROXY socks5://p:1080")),
            (&[("all_proxy", "socks5h://p"), ("https_proxy", "https://q")], https, Some("https_proxy https://q:443")),
            (&[("all_proxy", "socks5h://p"), ("https_proxy", "https://q")], http, Some("all_proxy socks5h://p:1080")),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "http://p:1")], https, Some("HTTPS_PROXY http://p:1")),
            (&[("https_proxy", " "), ("all_proxy", "")], https, None),
            (&[("https_proxy", "http://p:1"), ("HTTPS_PROXY", " http://p:1 ")], https, Some("https_proxy http://p:1")),
            (&[("https_proxy", "P.Corp:3128/")], https, Some("https_proxy http://p.corp:3128")),
            (&[("https_proxy", "user:pa@ss@[::1]:8080")], https, Some("https_proxy http://[::1]:8080")),
            (&[("https_proxy", "http://p:1"), ("NO_PROXY", "api.test")], https, None),
            (&[("all_proxy", "http://p:1"), ("no_proxy", "*")], http, None),
        ];
        for (pairs, destination, expected) in table {
            assert_eq!(chosen(pairs, destination).as_deref(), expected, "{pairs:?} {destination}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_without_its_password() {
        for value in [
            "socks4://hidden@p:1",
            "ftp://p",
            "http://",
            "http://u:hidden@",
            "http://u:hidden@p:0",
            "http://u:hidden@p:99999",
            "http://u:hid/den@p:1",
            "http://p:1/path",
            "http://u:hidden@[::1",
            "http://[hidden]:1",
            "http://p p:1",
            "http://p:+1",
            "hidden://u@p",
            "http://[::1]hidden",
            "http://u:hid#den@p",
        ] {
            for variable in VARIABLES {
                let error = Proxies::from_env(&environment(&[(variable, value)])).unwrap_err().to_string();
                assert!(error.starts_with(&format!("{variable} is not a proxy that can be used: ")), "{error}");
                assert!(!error.contains("hid"), "{error}");
            }
        }
    }

    #[test]
    fn two_spellings_that_disagree_are_refused() {
        for (lower, upper) in [
            ("http_proxy", "HTTP_PROXY"),
            ("https_proxy", "HTTPS_PROXY"),
            ("all_proxy", "ALL_PROXY"),
            ("no_proxy", "NO_PROXY"),
        ] {
            let error = Proxies::from_env(&environment(&[(lower, "http://a:1"), (upper, "http://b:2")])).unwrap_err();
            assert_eq!(error.to_string(), format!("{lower} and {upper} are both set and disagree; unset one of them"));
        }
    }
}
