//! `dns.servers`: who is asked for names, in the place of the system's resolver.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

/// Where a server listens that names no port.
const PORT: u16 = 53;

/// Servers, in the order that they are asked in; none for the system's resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Servers(Vec<SocketAddr>);

impl Servers {
    /// The servers, in the order that they are asked in.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &SocketAddr> {
        self.0.iter()
    }

    /// True if it is the system's resolver that is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for Servers {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let mut servers = Vec::with_capacity(texts.len());
        for text in &texts {
            let server = parse(text)?;
            if servers.contains(&server) {
                return Err(format!("`{}` is there twice", text.escape_debug()));
            }
            servers.push(server);
        }
        Ok(Self(servers))
    }
}

/// An address with or without a port; one of IPv6 with a port is in brackets.
fn parse(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let server = text.parse().or_else(|_| bare.parse().map(|address: IpAddr| SocketAddr::new(address, PORT)));
    // An address with a zone loses it on the way to the socket.
    let server = server.ok().filter(|server| !matches!(server, SocketAddr::V6(server) if server.scope_id() != 0));
    let shown = text.escape_debug();
    match server {
        None => Err(format!(
            "`{shown}` is not the address of a server; write it as in \"10.0.0.53\", \"10.0.0.53:5353\" or \"[fd00::53]:53\""
        )),
        Some(server) if server.port() == 0 => {
            Err(format!("`{shown}` has no port that can be asked; {PORT} is the usual one"))
        }
        Some(server) if server.ip().is_unspecified() || server.ip().is_multicast() => {
            Err(format!("`{shown}` is nobody's own address; write that of a server"))
        }
        Some(server) => Ok(server),
    }
}

impl fmt::Display for Servers {
    /// As TOML.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.0.iter().map(|server| format!("\"{server}\"")).collect::<Vec<_>>();
        write!(out, "[{}]", servers.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(texts: &[&str]) -> Result<String, String> {
        Servers::try_from(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
            .map(|servers| servers.to_string())
    }

    #[test]
    fn a_server_is_an_address_with_or_without_a_port() {
        let texts = ["10.0.0.53", "10.0.0.53:5353", "[fd00::53]:54", "fd00::54", "[fd00::55]"];
        let shown = "[\"10.0.0.53:53\", \"10.0.0.53:5353\", \"[fd00::53]:54\", \"[fd00::54]:53\", \"[fd00::55]:53\"]";
        assert_eq!(servers(&texts).unwrap(), shown);
        assert_eq!(servers(&[]).unwrap(), "[]");
    }

    #[test]
    fn what_cannot_be_asked_is_refused_and_says_how_to_write_it() {
        for (texts, words) in [
            (
                &["dns.corp.example"][..],
                "`dns.corp.example` is not the address of a server; write it as in \"10.0.0.53\"",
            ),
            (&["10.0.0.53:dns"], "is not the address of a server"),
            (&["10.0.0.53:65536"], "is not the address of a server"),
            (&["udp://10.0.0.53"], "is not the address of a server"),
            (&["[10.0.0.53"], "is not the address of a server"),
            (&[""], "`` is not the address of a server"),
            (&["[fe80::53%2]:53"], "is not the address of a server"),
            (&["10.0.0.53:0"], "has no port"),
            (&["0.0.0.0"], "is nobody's own address"),
            (&["[ff02::fb]:5353"], "is nobody's own address"),
            (&["10.0.0.53", "10.0.0.53:53"], "`10.0.0.53:53` is there twice"),
        ] {
            let error = servers(texts).unwrap_err();
            assert!(error.contains(words), "{texts:?}: {error}");
        }
    }
}
