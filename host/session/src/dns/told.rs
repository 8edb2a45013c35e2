//! A lookup as an exchange tells of it: known or not, and how long it took.
//!
//! Around [`Resolver::resolve`], which it changes nothing of.

use tokio::time::Instant;

use super::{Addresses, Resolver, Settings};
use crate::error::Error;
use crate::monitor::{Exchange, Lookup, Signal};

impl Resolver {
    /// [`Resolver::resolve`], told and recorded, where somebody has to be asked for the name.
    ///
    /// Cancel safe: a lookup that was begun goes on.
    pub(crate) async fn answer(
        &self,
        settings: &Settings,
        host: &str,
        exchange: &Exchange,
    ) -> Result<Addresses, Error> {
        if host.parse::<std::net::IpAddr>().is_ok() || settings.hosts.of(host).is_some() {
            return self.resolve(settings, host).await;
        }
        if self.names.knows(settings, host) {
            exchange.looks_up(Lookup::Hit);
            return self.resolve(settings, host).await;
        }
        exchange.looks_up(Lookup::Miss);
        let start = Instant::now();
        let answer = self.resolve(settings, host).await;
        exchange.tell(Signal::DnsEnd { took: start.elapsed(), found: answer.is_ok() });
        answer
    }
}
