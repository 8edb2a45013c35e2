//! Names to addresses: the system's resolver behind a cache.
//!
//! Runs in the pool's task, after `pool` has made room and before egress looks at the addresses. However many callers ask
//! for a name at once, one lookup is made for them all, and an answer lives for `dns.ttl`. A failure is not kept.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use lru::LruCache;
use serde::Deserialize;
use tokio::time::Instant;

use crate::error::{Error, Kind};
use crate::policy::units::{Period, Timeout};
use crate::route::Origin;
use crate::stage::Stage;

/// `[dns]`: how names become addresses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long an answer is reused. Default 10 s; `"off"` asks for every connection.
    pub ttl: Timeout,
    /// Deadline of one lookup. Default 5 s.
    pub timeout: Period,
    /// Names kept; the least recently used goes first. Default 1000; 0 keeps none.
    pub max_entries: usize,
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
        Self { ttl: Timeout::seconds(10), timeout: Period::seconds(5), max_entries: 1000, family: Family::Any }
    }
}

impl Family {
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
type Lookup = Shared<BoxFuture<'static, Result<Addresses, Arc<io::Error>>>>;

/// The cache over the system's resolver, shared by all of a session's connections.
#[derive(Debug)]
pub(crate) struct Resolver {
    names: Mutex<Names>,
}

#[derive(Debug)]
struct Names {
    /// Answers, least recently used first.
    kept: LruCache<String, Answer>,
    /// Lookups under way, which later callers join.
    asked: Vec<(String, Lookup)>,
}

#[derive(Debug)]
struct Answer {
    addresses: Addresses,
    since: Instant,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self { names: Mutex::new(Names { kept: LruCache::unbounded(), asked: Vec::new() }) }
    }

    /// The addresses of the origin's host that the family allows. An address in the name's place is its own answer.
    ///
    /// Cancel safe: others who wait for the same lookup keep it going.
    pub(crate) async fn resolve(&self, settings: &Settings, origin: &Origin) -> Result<Addresses, Error> {
        let addresses = match origin.address() {
            Some(address) => Arc::from([address]),
            None => self.find(settings, origin.host(), system).await.map_err(|source| {
                Error::new(Stage::Dns, Kind::DnsFailed, format!("`{}` did not resolve: {source}", origin.host()))
                    .with_source(source)
            })?,
        };
        if addresses.iter().all(|address| settings.family.allows(address)) {
            return Ok(addresses);
        }
        let allowed: Addresses = addresses.iter().copied().filter(|address| settings.family.allows(address)).collect();
        match allowed.is_empty() {
            false => Ok(allowed),
            true => Err(Error::new(
                Stage::Dns,
                Kind::DnsFailed,
                format!("`{}` has no address of the wanted family", origin.host()),
            )
            .with_hint("`dns.family = \"any\"` uses every address")),
        }
    }

    async fn find<F>(
        &self,
        settings: &Settings,
        host: &str,
        ask: impl FnOnce(String) -> F,
    ) -> Result<Addresses, Arc<io::Error>>
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        let lookup = match self.lock().known(host, settings.ttl.0, ask) {
            Ok(addresses) => return Ok(addresses),
            Err(lookup) => lookup,
        };
        let result = lookup.clone().await;
        let mut names = self.lock();
        // The first caller to come back books the answer, for all who waited.
        if let Some(index) = names.asked.iter().position(|(_, asked)| asked.ptr_eq(&lookup)) {
            drop(names.asked.swap_remove(index));
            if let (Ok(addresses), Some(capacity)) = (&result, NonZeroUsize::new(settings.max_entries)) {
                names.kept.resize(capacity);
                names.kept.put(host.to_owned(), Answer { addresses: Arc::clone(addresses), since: Instant::now() });
            }
        }
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// A fresh answer, or the lookup to wait for.
    fn known<F>(
        &mut self,
        host: &str,
        ttl: Option<Duration>,
        ask: impl FnOnce(String) -> F,
    ) -> Result<Addresses, Lookup>
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        if let (Some(ttl), Some(answer)) = (ttl, self.kept.get(host))
            && answer.since.elapsed() < ttl
        {
            return Ok(Arc::clone(&answer.addresses));
        }
        // A lookup that every caller has left is asked anew: its answer may be old by the time that somebody looks.
        let awaited = |lookup: &Lookup| lookup.peek().is_none() && lookup.strong_count().is_some_and(|count| count > 1);
        if let Some((_, lookup)) = self.asked.iter().find(|(asked, lookup)| asked == host && awaited(lookup)) {
            return Err(lookup.clone());
        }
        self.asked.retain(|(asked, _)| asked != host);
        let question = ask(host.to_owned());
        let lookup = async move {
            match question.await {
                Ok(addresses) if addresses.is_empty() => Err(Arc::new(io::Error::other("the name has no address"))),
                Ok(addresses) => Ok(addresses.into()),
                Err(error) => Err(Arc::new(error)),
            }
        };
        let lookup = lookup.boxed().shared();
        self.asked.push((host.to_owned(), lookup.clone()));
        Err(lookup)
    }
}

/// Asks the system's resolver (`getaddrinfo`, on a thread for blocking work), which brings hosts files and search lists.
async fn system(host: String) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for address in tokio::net::lookup_host((host, 0)).await?.map(|address: SocketAddr| address.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// Answers every question with one address, a millisecond later, and counts them.
    fn counting(
        asked: &Arc<AtomicUsize>,
    ) -> impl FnOnce(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + use<> {
        let asked = Arc::clone(asked);
        move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(vec![ADDRESS])
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn callers_at_once_share_one_lookup() {
        let (resolver, asked) = (Resolver::new(), Arc::default());
        let settings = Settings::default();
        let all = (0..50).map(|_| resolver.find(&settings, "a.example", counting(&asked)));
        for answer in futures::future::join_all(all).await {
            assert_eq!(*answer.unwrap(), [ADDRESS]);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_lives_for_its_ttl() {
        let (resolver, asked) = (Resolver::new(), Arc::default());
        let settings = Settings::default();
        for (wait, lookups) in [(0, 1), (9, 1), (2, 2)] {
            tokio::time::advance(Duration::from_secs(wait)).await;
            resolver.find(&settings, "a.example", counting(&asked)).await.unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), lookups);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ttl_that_is_off_asks_each_time() {
        let (resolver, asked) = (Resolver::new(), Arc::default());
        let settings = Settings { ttl: Timeout::OFF, ..Settings::default() };
        for lookups in 1..4 {
            resolver.find(&settings, "a.example", counting(&asked)).await.unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), lookups);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_outlives_the_caller_that_began_it() {
        let (resolver, asked) = (Resolver::new(), Arc::default());
        let settings = Settings::default();
        let mut first = Box::pin(resolver.find(&settings, "a.example", counting(&asked)));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(resolver.find(&settings, "a.example", counting(&asked)));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(*second.await.unwrap(), [ADDRESS]);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_kept() {
        let (resolver, asked) = (Resolver::new(), Arc::default());
        let settings = Settings::default();
        let fail = |_| async { Err(io::Error::other("no")) };
        assert!(resolver.find(&settings, "a.example", fail).await.is_err());
        assert!(resolver.find(&settings, "a.example", counting(&asked)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_recently_used_name_goes_first() {
        let (resolver, asked) = (Resolver::new(), Arc::default());
        let settings = Settings { max_entries: 2, ..Settings::default() };
        for (host, lookups) in [("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)] {
            resolver.find(&settings, host, counting(&asked)).await.unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), lookups, "{host}");
        }
    }

    #[tokio::test]
    async fn a_literal_address_is_its_own_answer_and_obeys_the_family() {
        let resolver = Resolver::new();
        let origin = Origin::parse("http://192.0.2.1:80").unwrap();
        assert_eq!(*resolver.resolve(&Settings::default(), &origin).await.unwrap(), [ADDRESS]);
        let settings = Settings { family: Family::Ipv6, ..Settings::default() };
        assert_eq!(resolver.resolve(&settings, &origin).await.unwrap_err().kind(), Kind::DnsFailed);
    }
}
