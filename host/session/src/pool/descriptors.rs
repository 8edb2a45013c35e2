//! The budget of file descriptors: how many sockets `pool.limit` may mean on this machine.
//!
//! Asked once, when a policy is built. A limit beyond it would end in EMFILE, in the pool or, worse, elsewhere in the
//! process; so it is clamped, and the operator is told.

use super::state::Limits;
use crate::policy::Policy;
use crate::policy::units::Share;

/// The bounds of a policy, as far as the process has descriptors for them.
pub(super) fn limits(policy: &Policy) -> Limits {
    let Policy { pool: settings, proxy, origins, .. } = policy;
    let descriptors = descriptors();
    let total = clamp(settings.limit, settings.descriptors, descriptors);
    if let Some(descriptors) = descriptors.filter(|_| total != settings.limit) {
        let (wanted, share) = (settings.limit, settings.descriptors);
        tracing::warn!(
            "`pool.limit` of {wanted} is clamped to {total}: `pool.descriptors` allows {share} of the {descriptors} files \
             that this process may open; raise that with `ulimit -n`, or write a smaller `pool.limit`"
        );
    }
    let (per_host, per_proxy) = (settings.limit_per_host, proxy.limit);
    let hosts = origins.iter().map(|(origin, policy)| (origin.host_port(), policy.pool.limit_per_host)).collect();
    Limits { total, per_host, hosts, per_proxy, waiters: settings.max_waiters }
}

/// `limit`, or the share of the descriptors where that is less; 0 is no limit.
fn clamp(limit: usize, share: Share, descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else { return limit };
    let budget = usize::try_from(share.of(descriptors)).unwrap_or(usize::MAX).max(1);
    if limit == 0 { budget } else { limit.min(budget) }
}

/// Files that this process may have open at once; absent where there is no bound.
#[cfg(unix)]
fn descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn descriptors() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_clamped_to_its_share_of_the_descriptors() {
        let half = Share::percent(50);
        for (limit, descriptors, expected) in [
            (100, Some(1024), 100),
            (1000, Some(1024), 512),
            (1000, Some(256), 128),
            (0, Some(1024), 512),
            (5, Some(1), 1),
            (1000, None, 1000),
            (0, None, 0),
        ] {
            assert_eq!(clamp(limit, half, descriptors), expected, "{limit} of {descriptors:?}");
        }
        assert_eq!(clamp(1000, Share::percent(100), Some(u64::MAX)), 1000);
    }
}
