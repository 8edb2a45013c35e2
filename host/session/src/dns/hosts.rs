//! `dns.hosts`: names whose addresses the operator wrote, as in /etc/hosts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use super::Addresses;
use crate::egress;

/// Names and their addresses. Egress judges these addresses like any other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, Vec<IpAddr>>")]
pub struct Hosts(BTreeMap<String, Addresses>);

impl Hosts {
    /// The addresses of a name; absent if the table does not have it.
    pub(crate) fn of(&self, host: &str) -> Option<&Addresses> {
        self.0.get(host)
    }
}

impl TryFrom<BTreeMap<String, Vec<IpAddr>>> for Hosts {
    type Error = String;

    fn try_from(table: BTreeMap<String, Vec<IpAddr>>) -> Result<Self, String> {
        let mut hosts = BTreeMap::new();
        for (name, addresses) in table {
            let host = name.strip_suffix('.').unwrap_or(&name).to_ascii_lowercase();
            if !egress::is_name(&host) {
                return Err(format!("`{name}` is not a host name"));
            }
            if addresses.is_empty() {
                return Err(format!("`{name}` has no address; write {name} = [\"192.0.2.1\"], or leave it out"));
            }
            if hosts.insert(host, addresses.into()).is_some() {
                return Err(format!("`{name}` is there twice"));
            }
        }
        Ok(Self(hosts))
    }
}

impl fmt::Display for Hosts {
    /// As TOML.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = |(name, addresses): (&String, &Addresses)| {
            let addresses = addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>();
            format!(" \"{name}\" = [{}]", addresses.join(", "))
        };
        let entries = self.0.iter().map(entry).collect::<Vec<_>>();
        match entries.is_empty() {
            true => out.write_str("{}"),
            false => write!(out, "{{{} }}", entries.join(",")),
        }
    }
}
