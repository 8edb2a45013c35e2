//! A policy, built whole: what every exchange takes one of, at its start, and keeps to its end.
//!
//! Built when a session is and at every swap, before anything of it is used: either all of it is good or the old one
//! stays. The pool asks the newest one which of its connections may still be used.

use std::net::IpAddr;
use std::sync::Arc;

use crate::dns::Resolver;
use crate::policy::{self, Policy};
use crate::route::{Route, Shape};
use crate::{Destinations, Environment, credentials, egress, proxy, tcp, tls};

/// A policy, built whole.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Counts the policies of the session.
    pub(crate) generation: u64,
    pub(crate) policy: Policy,
    pub(crate) egress: egress::Egress,
    pub(crate) credentials: credentials::Credentials,
    pub(crate) proxies: proxy::Proxies,
    pub(crate) tls: tls::Tls,
    pub(crate) shape: Arc<Shape>,
    pub(crate) resolver: Arc<Resolver>,
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
        previous: Option<&Self>,
    ) -> Result<Self, policy::Error> {
        tcp::check(&policy.tcp)?;
        let tls = tls::Tls::new(&policy.tls, environment)?;
        let known = previous.filter(|previous| previous.policy.dns == policy.dns);
        Ok(Self {
            generation: previous.map_or(0, |previous| previous.generation + 1),
            egress: egress::Egress::new(&policy.egress, destinations),
            credentials: credentials::Credentials::new(policy.credentials.clone(), environment)?,
            proxies: proxy::Proxies::new(&policy.proxy, environment)?,
            shape: Arc::new(Shape::of(&policy, tls.identity())),
            resolver: known.map_or_else(Arc::default, |previous| Arc::clone(&previous.resolver)),
            tls,
            policy,
        })
    }

    /// True if a connection of `route` to `peer` is one that this policy would open just so.
    pub(crate) fn keeps(&self, route: &Route, peer: IpAddr) -> bool {
        let trust = self.egress.trust(route.origin());
        trust.is_some_and(|trust| {
            *route == Route::new(route.origin().clone(), trust, &self.policy.dns.hosts, &self.shape)
                && self.egress.admit_address(route.origin(), trust, peer).is_ok()
        })
    }
}
