//! `NO_PROXY`: destinations that are reached directly.
//!
//! Matches as curl does, and understands what curl does not: a port behind a name, `*.sub`, and `*` among other entries.
//! Names are never resolved to be matched. In a variable an entry that means nothing matches nothing, so that what it was
//! about goes through the proxy; in the policy file it is an error.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use crate::route::Origin;

/// Destinations that are reached directly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Bypass(Vec<Entry>);

/// How the policy file writes them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a list of names, or one string with commas between them")]
enum Written {
    Text(String),
    List(Vec<String>),
}

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
    pub(crate) fn parse(text: &str) -> Self {
        Self(words(text).filter_map(entry).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its entries, as they can be written.
    pub(crate) fn entries(&self) -> impl Iterator<Item = impl fmt::Display> {
        self.0.iter()
    }

    /// True if the destination is reached directly.
    pub(crate) fn covers(&self, origin: &Origin) -> bool {
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

impl TryFrom<Written> for Bypass {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let list = match written {
            Written::Text(text) => vec![text],
            Written::List(list) => list,
        };
        let entry = |word| entry(word).ok_or_else(|| format!("`{word}` is no name, *.name, address or range"));
        list.iter().flat_map(|text| words(text)).map(entry).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, port } = self;
        match hosts {
            Hosts::All => out.write_str("*")?,
            Hosts::Name(name) => out.write_str(name)?,
            Hosts::Below(suffix) => write!(out, "*{suffix}")?,
            Hosts::Range(range) if range.prefix_len() < range.max_prefix_len() => range.fmt(out)?,
            Hosts::Range(range) if port.is_some() && range.addr().is_ipv6() => write!(out, "[{}]", range.addr())?,
            Hosts::Range(range) => range.addr().fmt(out)?,
        }
        port.map_or(Ok(()), |port| write!(out, ":{port}"))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|word| !word.is_empty())
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
            (Some(below), _) => Hosts::Below(format!(".{}", hosts_name(below)?)),
            (None, Some(name)) => Hosts::Name(hosts_name(name)?.to_owned()),
            (None, None) => Hosts::Name(hosts_name(name)?.to_owned()),
        },
    };
    Some(Entry { hosts, port })
}

/// The name, if a host can be called so; else what is written is not what was meant.
fn hosts_name(name: &str) -> Option<&str> {
    let is_label = |label: &str| !label.is_empty() && !label.contains(['*', ':', '[', ']']);
    Some(name).filter(|name| name.split('.').all(is_label) && name.parse::<IpAddr>().is_err())
}

#[cfg(test)]
mod curl;

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
        ("..api.test", "https://api.test", false),
        ("*..api.test", "https://x..api.test", false),
    ];

    #[test]
    fn a_list_matches_as_curls_does_and_ports_stars_and_dots_too() {
        for (text, destination, direct) in TABLE {
            let origin = Origin::parse(destination).unwrap();
            assert_eq!(Bypass::parse(text).covers(&origin), *direct, "`{text}` {destination}");
        }
    }

    #[derive(Deserialize)]
    struct Section {
        no_proxy: Bypass,
    }

    #[test]
    fn a_file_may_write_a_list_or_a_string_and_nothing_that_means_nothing() {
        let read = |text: &str| toml::from_str::<Section>(text).map(|section| section.no_proxy);
        let list = read(r#"no_proxy = [".a.test", "*.b.test:8443", "10.0.0.0/8", "[::1]:99", "::1", "*"]"#).unwrap();
        assert_eq!(list, read(r#"no_proxy = ".a.test,*.b.test:8443, 10.0.0.0/8 [::1]:99 ::1 *""#).unwrap());
        let shown: Vec<String> = list.entries().map(|entry| entry.to_string()).collect();
        assert_eq!(shown, ["a.test", "*.b.test:8443", "10.0.0.0/8", "[::1]:99", "::1", "*"]);
        assert_eq!(list, read(&format!("no_proxy = {shown:?}")).unwrap());
        assert!(read("no_proxy = []").unwrap().is_empty());
        let bad = ["[\"10.0.0.0/99\"]", "\"a.test:x\"", "[\".\"]", "5", "[5]", "{ a = 1 }"];
        // No host is called so: who writes it meant another.
        let nobody = [
            "\".*\"",
            "\"a*.test\"",
            "\"..a.test\"",
            "\"a..test\"",
            "\"a.test..\"",
            "\"*..a.test\"",
            "\"[a:b]\"",
            "\"[::1(1]\"",
            "\"a]\"",
        ];
        for bad in bad.into_iter().chain(nobody) {
            assert!(read(&format!("no_proxy = {bad}")).is_err(), "{bad}");
        }
    }
}
