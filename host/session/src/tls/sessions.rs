//! What can be resumed, kept apart by isolation domain: a ticket is as good as a name by which a server knows its bearer.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::pool::{Domain, Isolation};

/// Domains that something is kept for; the least recently used is forgotten, and shakes hands in full again.
const DOMAINS: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");
/// Sessions kept a domain: servers, so to speak.
const SESSIONS: usize = 256;

/// One configuration a domain; they differ in what they can resume only.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Resumes nothing.
    bare: Arc<ClientConfig>,
    domains: Mutex<LruCache<Domain, Arc<ClientConfig>>>,
}

impl Sessions {
    pub(super) fn new(mut config: ClientConfig) -> Self {
        config.resumption = Resumption::disabled();
        Self { bare: Arc::new(config), domains: Mutex::new(LruCache::new(DOMAINS)) }
    }

    /// The configuration for a handshake of this domain.
    pub(super) fn of(&self, domain: Domain, isolation: Isolation) -> Arc<ClientConfig> {
        match isolation {
            Isolation::Call => Arc::clone(&self.bare),
            Isolation::Shared | Isolation::Guest => {
                let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(domains.get_or_insert(domain, || {
                    let mut config = ClientConfig::clone(&self.bare);
                    config.resumption = Resumption::in_memory_sessions(SESSIONS);
                    Arc::new(config)
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Sessions::new(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
    }

    #[test]
    fn a_domain_keeps_its_own_and_a_call_nothing() {
        let sessions = sessions();
        let (one, two) = (Domain::unique(), Domain::unique());
        let of = |domain, isolation| sessions.of(domain, isolation);
        assert!(Arc::ptr_eq(&of(one, Isolation::Guest), &of(one, Isolation::Guest)));
        assert!(!Arc::ptr_eq(&of(one, Isolation::Guest), &of(two, Isolation::Guest)));
        assert!(Arc::ptr_eq(&of(one, Isolation::Call), &sessions.bare));
        assert_eq!(sessions.domains.lock().unwrap().len(), 2);
    }

    #[test]
    fn the_domains_that_are_kept_are_bounded() {
        let sessions = sessions();
        for _ in 0..3 * DOMAINS.get() {
            sessions.of(Domain::unique(), Isolation::Guest);
        }
        assert_eq!(sessions.domains.lock().unwrap().len(), DOMAINS.get());
    }
}
