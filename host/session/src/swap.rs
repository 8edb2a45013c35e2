//! A policy in the place of another: what that would do, and what is in force.
//!
//! Beside the path. Invariant: to ask changes nothing.

use std::sync::PoisonError;

use crate::proxy::Proxy;
use crate::snapshot::Snapshot;
use crate::{Destinations, Environment, Inner, Policy, Session, policy};

/// Connections that a swap retires: those in use close when their exchange ends, the others at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retiring {
    /// Where they lead: `scheme://host[:port]`.
    pub origin: String,
    /// The proxy that they go through, without user information; absent where they go directly.
    pub proxy: Option<String>,
    /// How many.
    pub connections: usize,
}

impl Session {
    /// The number of the policy that the next exchange is under; 0 is the one that the session began with. Files of `[tls]`
    /// that have changed count as a policy too.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.snapshot.load().generation
    }

    /// Which connections [`Session::swap`] would retire, because the policy would not open them just so. Those beyond a lower
    /// limit are not among them. Arguments as for [`Session::new`]; nothing changes.
    ///
    /// # Errors
    /// What of the policy cannot be used, as [`Session::swap`] would say.
    pub fn retiring(
        &self,
        policy: Policy,
        environment: &Environment,
        destinations: Destinations,
    ) -> Result<Vec<Retiring>, policy::Error> {
        let Inner { snapshot, swapping, pool, counters } = &*self.inner;
        let _one_at_a_time = swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let old = snapshot.load();
        let new = Snapshot::build(policy, environment, destinations, counters, old.lower.clone(), Some(&old))?;
        let mut all: Vec<Retiring> = Vec::new();
        for (route, connections) in pool.retiring(&new) {
            let origin = route.origin().to_string();
            let proxy = route.proxy().map(Proxy::via).map(|via| via.proxy);
            match all.iter_mut().find(|known| known.origin == origin && known.proxy == proxy) {
                Some(known) => known.connections += connections,
                None => all.push(Retiring { origin, proxy, connections }),
            }
        }
        all.sort_by(|one, other| (&one.origin, &one.proxy).cmp(&(&other.origin, &other.proxy)));
        Ok(all)
    }
}
