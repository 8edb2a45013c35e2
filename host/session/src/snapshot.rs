//! A policy, built whole: what every exchange takes one of, at its start, and keeps to its end.
//!
//! Built when a session is and at every swap, before anything of it is used: either all of it is good or the old one
//! stays. The pool asks the newest one which of its connections may still be used.

use std::net::IpAddr;
use std::sync::Arc;

use crate::dns::Resolver;
use crate::egress::Trust;
use crate::error::Error;
use crate::monitor::Counters;
use crate::policy::{self, Policy};
use crate::route::{Origin, Route, Shape};
use crate::{Destinations, Environment, credentials, egress, proxy, tcp, tls};

/// A policy, built whole.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Counts the policies of the session.
    pub(crate) generation: u64,
    pub(crate) policy: Arc<Policy>,
    pub(crate) egress: Arc<egress::Egress>,
    pub(crate) credentials: Arc<credentials::Credentials>,
    pub(crate) proxies: Arc<proxy::Proxies>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) tls: Arc<tls::Tls>,
    pub(crate) shape: Arc<Shape>,
}

impl Snapshot {
    /// Reads what the policy names. What `previous` has learnt stays where the new policy says the same of it.
    ///
    /// # Errors
    /// What of the policy cannot be used: a file, a variable, an empty certificate store.
    pub(crate) fn build(
        policy: Policy,
        environment: &Environment,
        destinations: Destinations,
        counters: &Arc<Counters>,
        previous: Option<&Self>,
    ) -> Result<Self, policy::Error> {
        tcp::check(&policy.tcp)?;
        let tls = tls::Tls::new(&policy.tls, environment, counters, previous.map(|previous| &previous.tls))?;
        let known = previous.filter(|previous| previous.policy.dns == policy.dns);
        Ok(Self {
            generation: previous.map_or(0, |previous| previous.generation + 1),
            egress: Arc::new(egress::Egress::new(&policy.egress, destinations, counters)),
            credentials: Arc::new(credentials::Credentials::new(policy.credentials.clone(), environment)?),
            proxies: Arc::new(proxy::Proxies::new(
                &policy.proxy,
                &policy.tls,
                environment,
                counters,
                previous.map(|previous| &*previous.proxies),
            )?),
            shape: Arc::new(Shape::of(&policy, tls.identity())),
            resolver: known.map_or_else(Arc::default, |previous| Arc::clone(&previous.resolver)),
            tls,
            policy: Arc::new(policy),
        })
    }

    /// The same policy with TLS settings that were read anew.
    pub(crate) fn with(&self, tls: tls::Tls) -> Self {
        let Self { generation, policy, egress, credentials, proxies, resolver, tls: _, shape: _ } = self;
        Self {
            generation: generation + 1,
            policy: Arc::clone(policy),
            egress: Arc::clone(egress),
            credentials: Arc::clone(credentials),
            proxies: Arc::clone(proxies),
            resolver: Arc::clone(resolver),
            shape: Arc::new(Shape::of(policy, tls.identity())),
            tls: Arc::new(tls),
        }
    }

    /// The way of a request to `origin`.
    ///
    /// # Errors
    /// The login of the proxy that applies cannot be read.
    pub(crate) fn route(&self, origin: &Origin, trust: Trust) -> Result<Route, Error> {
        let proxy = self.proxies.choose(origin)?;
        Ok(Route::new(origin.clone(), trust, proxy, &self.policy.dns.hosts, &self.shape))
    }

    /// True if a connection of `route` to `peer` is one that this policy would open just so. A peer that is absent was
    /// found by a proxy, and is for it to judge.
    pub(crate) fn keeps(&self, route: &Route, peer: Option<IpAddr>) -> bool {
        let trust = self.egress.trust(route.origin());
        trust.is_some_and(|trust| {
            self.route(route.origin(), trust).is_ok_and(|now| now == *route)
                && peer.is_none_or(|peer| self.egress.reaches(trust, peer))
        })
    }
}
