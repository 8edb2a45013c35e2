//! `NO_PROXY`: destinations that are reached directly.
//!
//! Matches as curl does, and understands what curl does not: a port behind a name, `*.sub`, and `*` among other entries.
//! Names are never resolved to be matched. An entry that means nothing matches nothing, so that what it was about goes
//! through the proxy.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::route::Origin;

/// The entries of a `NO_PROXY` variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bypass(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    /// Absent: any.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// `*`.
    All,
    /// `example.com` or `.example.com`: the name and every name below it.
    Name(String),
    /// `*.example.com`: every name below it; with the dot before it.
    Below(String),
    /// An address or a range, for hosts that are addresses.
    Range(IpNet),
}

impl Bypass {
    /// Reads entries between commas or white space.
    pub(super) fn parse(text: &str) -> Self {
        let words = text.split(|letter: char| letter == ',' || letter.is_whitespace());
        Self(words.filter(|word| !word.is_empty()).filter_map(entry).collect())
    }

    /// True if the destination is reached directly.
    pub(super) fn covers(&self, origin: &Origin) -> bool {
        let address = origin.address();
        self.0.iter().any(|Entry { hosts, port }| {
            let fits = match (hosts, address) {
                (Hosts::All, _) => true,
                (Hosts::Range(range), Some(address)) => range.contains(&address),
                (Hosts::Name(name), None) => {
                    let rest = origin.host().strip_suffix(name.as_str());
                    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                }
                (Hosts::Below(suffix), None) => {
                    origin.host().strip_suffix(suffix.as_str()).is_some_and(|rest| !rest.is_empty())
                }
                (Hosts::Range(_), None) | (Hosts::Name(_) | Hosts::Below(_), Some(_)) => false,
            };
            fits && port.is_none_or(|port| port == origin.port())
        })
    }
}

/// An entry; absent if it means nothing.
fn entry(word: &str) -> Option<Entry> {
    let range = |range: IpNet, port: Option<u16>| Some(Entry { hosts: Hosts::Range(range), port });
    if let Some((network, bits)) = word.split_once('/') {
        let network = network.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(network);
        return range(format!("{network}/{bits}").parse().ok()?, None);
    }
    // An IPv6 address without brackets is full of colons: none of them begins a port.
    if let Ok(address) = word.parse::<IpAddr>() {
        return range(address.into(), None);
    }
    let (host, port) = match word.strip_prefix('[') {
        None => word.split_once(':').map_or((word, None), |(host, port)| (host, Some(port))),
        Some(rest) => match rest.split_once(']')? {
            (host, "") => (host, None),
            (host, after) => (host, Some(after.strip_prefix(':')?)),
        },
    };
    let port = match port {
        None => None,
        Some(digits) => Some(digits.parse::<u16>().ok().filter(|port| *port != 0 && !digits.starts_with('+'))?),
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        return range(address.into(), port);
    }
    if host == "*" {
        return Some(Entry { hosts: Hosts::All, port });
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let hosts = match host.as_str() {
        "" | "*" => return None,
        name => match (name.strip_prefix("*."), name.strip_prefix('.')) {
            (Some(below), _) => Hosts::Below(format!(".{}", some(below)?)),
            (None, Some(name)) => Hosts::Name(some(name)?.to_owned()),
            (None, None) => Hosts::Name(name.to_owned()),
        },
    };
    Some(Entry { hosts, port })
}

fn some(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NO_PROXY, destination, is it reached directly.
    const TABLE: &[(&str, &str, bool)] = &[
        ("", "https://api.test", false),
        ("api.test", "https://api.test", true),
        ("API.Test", "https://api.test", true),
        ("api.test", "https://API.TEST", true),
        ("api.test", "https://sub.api.test", true),
        (".api.test", "https://sub.api.test", true),
        (".api.test", "https://api.test", true),
        ("api.test.", "https://api.test", true),
        ("api.test", "https://api.test.", true),
        (".api.test.", "https://a.api.test.", true),
        ("api.test", "https://notapi.test", false),
        ("api.test", "https://api.test.evil.test", false),
        ("test", "https://api.test", true),
        ("*.api.test", "https://sub.api.test", true),
        ("*.api.test", "https://a.b.api.test", true),
        ("*.api.test", "https://api.test", false),
        ("*.api.test", "https://notapi.test", false),
        ("a*.test", "https://api.test", false),
        ("*", "https://api.test", true),
        ("other.test, *", "https://api.test", true),
        ("*", "https://10.0.0.1", true),
        ("a.test,api.test", "https://api.test", true),
        ("a.test api.test", "https://api.test", true),
        (" , a.test ,\tapi.test ", "https://api.test", true),
        ("api.test:443", "https://api.test", true),
        ("api.test:8443", "https://api.test", false),
        ("api.test:8443", "https://sub.api.test:8443", true),
        (".api.test:8443", "https://sub.api.test:8443", true),
        ("*.api.test:8443", "https://sub.api.test:443", false),
        ("*:8443", "https://sub.api.test:8443", true),
        ("api.test:", "https://api.test", false),
        ("api.test:x", "https://api.test", false),
        ("api.test:+443", "https://api.test", false),
        ("api.test:0", "https://api.test", false),
        ("10.0.0.0/8", "http://10.1.2.3", true),
        ("10.1.2.3/8", "http://10.200.0.1", true),
        ("10.0.0.0/8", "http://11.1.2.3", false),
        ("10.0.0.0/33", "http://10.1.2.3", false),
        ("10/8", "http://10.1.2.3", false),
        ("10.1.2.3", "http://10.1.2.3:99", true),
        ("10.1.2.3:80", "http://10.1.2.3", true),
        ("10.1.2.3:81", "http://10.1.2.3", false),
        ("2.3", "http://10.1.2.3", false),
        ("10.0.0.0/8", "http://10.1.2.3.test", false),
        ("0.0.0.0/0", "http://api.test", false),
        ("::1", "http://[::1]", true),
        ("[::1]", "http://[::1]:99", true),
        ("[::1]:99", "http://[::1]:99", true),
        ("[::1]:98", "http://[::1]:99", false),
        ("0:0:0:0:0:0:0:1", "http://[::1]", true),
        ("fd00::/8", "http://[fd12::1]", true),
        ("[fd00::]/8", "http://[fd12::1]", true),
        ("fd00::/8", "http://[fe80::1]", false),
        ("[::1", "http://[::1]", false),
        (".", "https://api.test", false),
        ("*.", "https://api.test", false),
    ];

    #[test]
    fn a_list_matches_as_curls_does_and_ports_stars_and_dots_too() {
        for (text, destination, direct) in TABLE {
            let origin = Origin::parse(destination).unwrap();
            assert_eq!(Bypass::parse(text).covers(&origin), *direct, "`{text}` {destination}");
        }
    }
}
