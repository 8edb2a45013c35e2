//! Names to addresses: a table of the operator's own, then the system's resolver or `dns.servers`, behind a cache.
//!
//! Runs in the pool's task, after `pool` has made room and before egress looks at the addresses. However many callers ask
//! for a name at once, one lookup is made for them all. An answer lives for `dns.ttl`, a failure for `dns.negative_ttl`,
//! and an answer that has expired serves on for `dns.stale_if_error` while asking anew fails.

mod ttl;
mod servers;
mod hosts;
mod names;
mod answer;
mod failover;
mod question;
mod failure;
mod told;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Kind};
use crate::monitor::Exchange;
use crate::policy;
use crate::policy::units::{Period, Timeout};
use crate::stage::Stage;
use answer::Answer;
use failover::Failover;
pub use hosts::Hosts;
use names::Names;
pub use servers::Servers;
pub use ttl::Ttl;

/// `[dns]`: how names become addresses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who is asked, in this order, each as an address with or without a port; the hosts file and the search list of the
    /// system count for nothing then. Default none: the system's resolver.
    pub servers: Servers,
    /// How long an answer is reused. Default 10 s; `"off"` asks for every connection, `"record"` takes the records' own
    /// TTL, which needs `servers`: the system's resolver does not tell it.
    pub ttl: Ttl,
    /// The shortest life of an answer whose records decide, for those that would have every connection ask. Default 1 s.
    pub ttl_min: Period,
    /// The longest life of an answer whose records decide. Default 1 h.
    pub ttl_max: Period,
    /// Deadline of one lookup. Default 5 s. The lookup itself goes on, for who asks next.
    pub timeout: Period,
    /// How long a failure is the answer. Default 2 s; `"off"` asks again at once.
    pub negative_ttl: Timeout,
    /// How long after its end of life an answer serves on while asking anew fails. Default 30 s; `"off"` for not at all.
    pub stale_if_error: Timeout,
    /// Names kept; the least recently used goes first. Default 1000; 0 keeps none.
    pub max_entries: usize,
    /// Names with their addresses, which nobody is asked for: `{ "llm.corp.example" = ["10.1.2.3"] }`. Default none.
    pub hosts: Hosts,
    /// Which addresses are used. Default any.
    pub family: Family,
}

/// Address families that may be dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Servers::default(),
            ttl: Ttl::Fixed(Timeout::seconds(10)),
            ttl_min: Period::seconds(1),
            ttl_max: Period::seconds(3600),
            timeout: Period::seconds(5),
            negative_ttl: Timeout::seconds(2),
            stale_if_error: Timeout::seconds(30),
            max_entries: 1000,
            hosts: Hosts::default(),
            family: Family::Any,
        }
    }
}

impl Settings {
    /// How long an answer is reused whose records say `ttl`. Absent: not at all.
    fn life(&self, ttl: Option<Duration>) -> Option<Duration> {
        match self.ttl {
            Ttl::Fixed(life) => life.0,
            Ttl::Record => Some(ttl.unwrap_or_default().min(self.ttl_max.0).max(self.ttl_min.0)),
        }
    }
}

/// Refuses keys that contradict one another.
///
/// # Errors
/// `dns.ttl = "record"` where nobody tells the record's TTL; a `dns.ttl_min` that is longer than `dns.ttl_max`.
pub(crate) fn check(settings: &Settings) -> Result<(), policy::Error> {
    if settings.ttl == Ttl::Record && settings.servers.is_empty() {
        let message = "\"record\" needs `dns.servers`, because the system's resolver tells no TTL; \
                       write servers = [\"10.0.0.53\"], or a duration here";
        return Err(policy::Error::key("dns.ttl", message));
    }
    if settings.ttl_min > settings.ttl_max {
        let message = format!("{} is longer than `dns.ttl_max` of {}", settings.ttl_min, settings.ttl_max);
        return Err(policy::Error::key("dns.ttl_min", message));
    }
    Ok(())
}

impl Family {
    /// The addresses of the family; absent if there is none.
    fn select(self, addresses: Addresses) -> Option<Addresses> {
        if addresses.iter().all(|address| self.allows(address)) {
            return Some(addresses);
        }
        let allowed: Addresses = addresses.iter().copied().filter(|address| self.allows(address)).collect();
        Some(allowed).filter(|allowed| !allowed.is_empty())
    }

    fn allows(self, address: &IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

/// Addresses of a host, in the resolver's order; never empty.
pub(crate) type Addresses = Arc<[IpAddr]>;

/// What makes one resolver's answers others than another's: who is asked, and for which addresses.
type Asked = (Servers, Family);

/// The resolvers of one policy: one for each set of servers, whichever origins use it.
#[derive(Debug, Default)]
pub(crate) struct Resolvers(HashMap<Asked, Arc<Resolver>>);

impl Resolvers {
    /// The resolver for `settings`. Where the policy has none yet, it is `previous`, with all that it knows, if nothing
    /// of `[dns]` has changed since.
    pub(crate) fn of(&mut self, settings: &Settings, previous: Option<(&Settings, &Arc<Resolver>)>) -> Arc<Resolver> {
        // The system is always asked for all addresses, so its answers serve whatever the family.
        let family = if settings.servers.is_empty() { Family::Any } else { settings.family };
        let resolver = self.0.entry((settings.servers.clone(), family)).or_insert_with(|| {
            let known = previous.filter(|(previous, _)| *previous == settings).map(|(_, known)| Arc::clone(known));
            known.unwrap_or_else(|| Arc::new(Resolver::new(&settings.servers)))
        });
        Arc::clone(resolver)
    }
}

/// A resolver, shared by all connections that are opened under the same servers and family.
#[derive(Debug)]
pub(crate) struct Resolver {
    names: Names,
    /// Absent: the system's.
    servers: Option<Arc<Failover>>,
}

impl Resolver {
    fn new(servers: &Servers) -> Self {
        let failover = (!servers.is_empty()).then(|| Arc::new(Failover::new(servers)));
        Self { names: Names::default(), servers: failover }
    }

    /// The addresses of a host that the family allows. An address in the name's place is its own answer.
    ///
    /// Cancel safe: a lookup that was begun goes on.
    pub(crate) async fn resolve(&self, settings: &Settings, host: &str) -> Result<Addresses, Error> {
        let addresses = match (host.parse(), settings.hosts.of(host)) {
            (Ok(address), _) => Arc::from([address]),
            (Err(_), Some(written)) => Arc::clone(written),
            (Err(_), None) => self.find(settings, host).await.map_err(|source| {
                Error::new(Stage::Dns, Kind::DnsFailed, format!("`{host}` did not resolve: {source}"))
                    .with_source(source)
            })?,
        };
        settings.family.select(addresses).ok_or_else(|| {
            Error::new(Stage::Dns, Kind::DnsFailed, format!("`{host}` has no address of the wanted family"))
                .with_hint("`dns.family = \"any\"` uses every address")
        })
    }

    /// What is known of a name, or what whoever is to be asked says.
    async fn find(&self, settings: &Settings, host: &str) -> Result<Addresses, Arc<io::Error>> {
        let Some(servers) = &self.servers else { return self.names.find(settings, host, system).await };
        let (servers, family, deadline) = (Arc::clone(servers), settings.family, settings.timeout.0);
        self.names.find(settings, host, |host| async move { servers.ask(&host, family, deadline).await }).await
    }

    /// The last answer, where asking anew ended in `error` and the answer is not too old to stand in.
    ///
    /// # Errors
    /// `error`, where there is none.
    pub(crate) fn stale(
        &self,
        settings: &Settings,
        host: &str,
        exchange: &Exchange,
        error: Error,
    ) -> Result<Addresses, Error> {
        let stale = self.names.stale(settings, host).and_then(|addresses| settings.family.select(addresses));
        let Some(addresses) = stale else { return Err(error) };
        exchange.counters.add(|tally| &tally.stale);
        tracing::warn!(%host, "an answer of DNS that has expired serves on (`dns.stale_if_error`): {}", error.message());
        Ok(addresses)
    }
}

/// Asks the system's resolver (`getaddrinfo`, on a thread for blocking work), which brings hosts files and search lists.
async fn system(host: String) -> io::Result<Answer> {
    let mut addresses = Vec::new();
    for address in tokio::net::lookup_host((host, 0)).await?.map(|address: SocketAddr| address.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Answer::new(addresses, None).ok_or_else(|| io::Error::other("the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(table: &[(&str, &[&str])]) -> Result<Hosts, String> {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let table: std::collections::BTreeMap<_, _> =
            table.iter().map(|(name, texts)| ((*name).to_owned(), addresses(texts))).collect();
        Hosts::try_from(table)
    }

    #[tokio::test]
    async fn a_literal_address_is_its_own_answer_and_obeys_the_family() {
        let resolver = Resolver::new(&Servers::default());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(*resolver.resolve(&Settings::default(), "192.0.2.1").await.unwrap(), [address]);
        let settings = Settings { family: Family::Ipv6, ..Settings::default() };
        assert_eq!(resolver.resolve(&settings, "192.0.2.1").await.unwrap_err().kind(), Kind::DnsFailed);
    }

    #[tokio::test]
    async fn the_table_answers_for_its_names_and_obeys_the_family() {
        let table = hosts(&[("LLM.Corp.example.", &["10.1.2.3", "fd12::1"]), ("v4.example", &["192.0.2.1"])]).unwrap();
        let resolve = async |host: &str, family| {
            let settings = Settings { hosts: table.clone(), family, ..Settings::default() };
            let resolved = Resolver::new(&Servers::default()).resolve(&settings, host).await;
            resolved.map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(resolve("llm.corp.example", Family::Any).await.unwrap(), ["10.1.2.3", "fd12::1"]);
        assert_eq!(resolve("llm.corp.example", Family::Ipv6).await.unwrap(), ["fd12::1"]);
        assert_eq!(resolve("v4.example", Family::Ipv6).await.unwrap_err().kind(), Kind::DnsFailed);
    }

    #[test]
    fn an_entry_that_is_none_is_refused() {
        for (name, addresses, words) in [
            ("a b", &["192.0.2.1"][..], "is not a host name"),
            ("*.corp.example", &["192.0.2.1"], "is not a host name"),
            ("192.0.2.9", &["192.0.2.1"], "is not a host name"),
            ("127.1", &["192.0.2.1"], "is not a host name"),
            ("a.example", &[], "has no address"),
        ] {
            assert!(hosts(&[(name, addresses)]).unwrap_err().contains(words), "{name}");
        }
        assert!(hosts(&[("a.example", &["192.0.2.1"]), ("A.example.", &["192.0.2.2"])]).is_err());
    }
}
