//! A policy, built whole: what every exchange takes one of, at its start, and keeps to its end.
//!
//! Built when a session is and at every swap, before anything of it is used: either all of it is good or the old one
//! stays. The pool asks the newest one which of its connections may still be used.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::dns::{self, Resolver, Resolvers};
use crate::egress::Trust;
use crate::error::Error;
use crate::lent::Lower;
use crate::monitor::Counters;
use crate::policy::{self, Policy};
use crate::pool::Domain;
use crate::route::{Origin, Route, Shape};
use crate::{Destinations, Environment, credentials, egress, proxy, retry, tcp, tls, wire};

/// A policy, built whole.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Counts the policies of the session.
    pub(crate) generation: u64,
    pub(crate) egress: Arc<egress::Egress>,
    pub(crate) credentials: Arc<credentials::Credentials>,
    pub(crate) budgets: retry::Budgets,
    /// What holds for all origins, and for those that have no scope of their own.
    pub(crate) base: Scope,
    origins: HashMap<Origin, Scope>,
    pub(crate) lower: Lower,
}

/// What may differ from origin to origin.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) policy: Arc<Policy>,
    /// Shared with every scope that asks the same servers.
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) proxies: Arc<proxy::Proxies>,
    pub(crate) tls: Arc<tls::Tls>,
    pub(crate) shape: Arc<Shape>,
}

impl Scope {
    fn build(
        policy: Policy,
        environment: &Environment,
        counters: &Arc<Counters>,
        resolver: Arc<Resolver>,
        previous: Option<&Self>,
    ) -> Result<Self, policy::Error> {
        dns::check(&policy.dns)?;
        tcp::check(&policy.tcp)?;
        wire::check(&policy.wire, &policy.tls.alpn)?;
        let offered = tls::Settings { alpn: policy.offered(), ..policy.tls.clone() };
        let tls = tls::Tls::new(&offered, environment, counters, previous.map(|previous| &previous.tls))?;
        let proxies = previous.map(|previous| &*previous.proxies);
        Ok(Self {
            proxies: Arc::new(proxy::Proxies::new(&policy.proxy, &policy.tls, environment, counters, proxies)?),
            shape: Arc::new(Shape::of(&policy, tls.identity())),
            tls,
            resolver,
            policy: Arc::new(policy),
        })
    }

    /// What it asks for addresses, and how.
    fn dns(&self) -> (&dns::Settings, &Arc<Resolver>) {
        (&self.policy.dns, &self.resolver)
    }

    /// The same with its TLS files as they are now, if they have changed.
    fn renewed(&self) -> Option<Self> {
        let tls = self.tls.renewed()?;
        let shape = Arc::new(Shape::of(&self.policy, tls.identity()));
        Some(Self { tls: Arc::new(tls), shape, ..self.clone() })
    }
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
        lower: Lower,
        previous: Option<&Self>,
    ) -> Result<Self, policy::Error> {
        let mut origins = HashMap::new();
        let mut resolvers = Resolvers::default();
        let resolver = resolvers.of(&policy.dns, previous.map(|previous| previous.base.dns()));
        for (origin, policy) in &policy.origins {
            // Its own only: a change is told once, so nobody shares with others what was read.
            let before = previous.and_then(|previous| previous.origins.get(origin));
            let resolver = resolvers.of(&policy.dns, before.map(Scope::dns));
            let scope = Scope::build(policy.clone(), environment, counters, resolver, before)
                .map_err(|error| error.within(&policy::section_of(origin)))?;
            origins.insert(origin.clone(), scope);
        }
        let egress = egress::Egress::new(&policy.egress, destinations, origins.keys(), counters);
        let credentials = credentials::Credentials::new(
            policy.credentials.clone(),
            &policy.monitor.redact,
            environment,
            previous.map(|previous| &*previous.credentials),
        )?;
        let budgets = retry::Budgets::of(&policy, previous.map(|previous| &previous.budgets));
        let base = Scope::build(policy, environment, counters, resolver, previous.map(|previous| &previous.base))?;
        lower.check(&base.proxies)?;
        for (origin, scope) in &origins {
            lower.check(&scope.proxies).map_err(|error| error.within(&policy::section_of(origin)))?;
        }
        Ok(Self {
            generation: previous.map_or(0, |previous| previous.generation + 1),
            egress: Arc::new(egress),
            credentials: Arc::new(credentials),
            budgets,
            base,
            origins,
            lower,
        })
    }

    /// What holds for an origin.
    pub(crate) fn scope(&self, origin: &Origin) -> &Scope {
        if self.origins.is_empty() {
            return &self.base;
        }
        self.origins.get(origin).unwrap_or(&self.base)
    }

    /// True if it is time to look whether a TLS file has changed.
    pub(crate) fn is_due(&self) -> bool {
        self.base.tls.is_due() || self.origins.values().any(|scope| scope.tls.is_due())
    }

    /// The same with its TLS files as they are now, if one of them has changed.
    pub(crate) fn renewed(&self) -> Option<Self> {
        let base = self.base.renewed();
        let changed = self.origins.iter().filter_map(|(origin, scope)| Some((origin.clone(), scope.renewed()?)));
        let changed: Vec<_> = changed.collect();
        if base.is_none() && changed.is_empty() {
            return None;
        }
        let mut origins = self.origins.clone();
        origins.extend(changed);
        Some(Self {
            generation: self.generation + 1,
            egress: Arc::clone(&self.egress),
            credentials: Arc::clone(&self.credentials),
            budgets: self.budgets.clone(),
            base: base.unwrap_or_else(|| self.base.clone()),
            origins,
            lower: self.lower.clone(),
        })
    }

    /// The way of a request to `origin`, for a caller of `domain`.
    ///
    /// # Errors
    /// The login of the proxy that applies cannot be read.
    pub(crate) fn route(&self, origin: &Origin, trust: Trust, domain: Domain) -> Result<Route, Error> {
        let Scope { policy, resolver: _, proxies, tls: _, shape } = self.scope(origin);
        let domain = domain.under(policy.pool.isolation);
        Ok(Route::new(origin.clone(), trust, proxies.choose(origin)?, domain, &policy.dns.hosts, shape))
    }

    /// True if a connection of `route` to `peer` is one that this policy would open just so. A peer that is absent was
    /// found by a proxy, and is for it to judge.
    pub(crate) fn keeps(&self, route: &Route, peer: Option<IpAddr>) -> bool {
        let trust = self.egress.trust(route.origin());
        trust.is_some_and(|trust| {
            self.route(route.origin(), trust, route.domain()).is_ok_and(|now| now == *route)
                && peer.is_none_or(|peer| self.egress.reaches(trust, peer))
        })
    }
}
