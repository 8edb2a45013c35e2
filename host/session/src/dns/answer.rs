//! What a resolver answers: addresses in its order, and how long they are good for.
//!
//! Connections spread over the addresses of one answer, as aiohttp's do: the first of them is the resolver's own first
//! choice, the next one begins with the second address, and so on in turn. Families do not mix in this: where the resolver
//! put an IPv6 address there is one still, so that `tcp` prefers the family that the resolver does (RFC 8305, section 4).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::Addresses;

/// An answer, with at least one address.
#[derive(Debug)]
pub(super) struct Answer {
    addresses: Addresses,
    /// What the records say, or the shortest-lived of them. Absent where the resolver does not tell.
    pub(super) ttl: Option<Duration>,
    /// Connections that began with it.
    uses: AtomicUsize,
}

impl Answer {
    /// Absent if there is no address.
    pub(super) fn new(addresses: Vec<IpAddr>, ttl: Option<Duration>) -> Option<Self> {
        let addresses: Addresses = addresses.into();
        (!addresses.is_empty()).then(|| Self { addresses, ttl, uses: AtomicUsize::new(0) })
    }

    /// The addresses, in the order for one more connection.
    pub(super) fn next(&self) -> Addresses {
        let turn = self.uses.fetch_add(1, Ordering::Relaxed);
        let family = |v6| self.addresses.iter().copied().filter(move |address| address.is_ipv6() == v6);
        let first = |v6| turn % family(v6).count().max(1);
        let [v4, v6] = [false, true].map(first);
        if (v4, v6) == (0, 0) {
            return Arc::clone(&self.addresses);
        }
        let (mut v4, mut v6) = (family(false).cycle().skip(v4), family(true).cycle().skip(v6));
        let in_turn = |address: &IpAddr| if address.is_ipv6() { v6.next() } else { v4.next() };
        self.addresses.iter().filter_map(in_turn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_begins_with_the_next_address_of_either_family() {
        let addresses = ["::1", "::2", "10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap());
        let answer = Answer::new(addresses.to_vec(), None).unwrap();
        let next = || answer.next().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(next(), "::1 ::2 10.0.0.1 10.0.0.2 10.0.0.3");
        assert_eq!(next(), "::2 ::1 10.0.0.2 10.0.0.3 10.0.0.1");
        assert_eq!(next(), "::1 ::2 10.0.0.3 10.0.0.1 10.0.0.2");
        assert_eq!(next(), "::2 ::1 10.0.0.1 10.0.0.2 10.0.0.3");
    }

    #[test]
    fn families_stay_where_the_resolver_put_them() {
        let addresses = ["10.0.0.1", "::1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let answer = Answer::new(addresses.to_vec(), None).unwrap();
        let orders = [0, 1].map(|_| answer.next().iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(orders, ["10.0.0.1 ::1 10.0.0.2", "10.0.0.2 ::1 10.0.0.1"]);
        assert!(Answer::new(vec![], None).is_none());
    }
}
