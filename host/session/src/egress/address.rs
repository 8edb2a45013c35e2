//! What an address is, and whether a host is one.
//!
//! Pure. An address that carries another inside (IPv4-mapped, NAT64, 6to4) is judged by the one inside, because that is
//! where the packets go; and whatever the system's resolver would read as an IPv4 address is never taken for a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Public,
    Loopback,
    Private,
    /// 100.64.0.0/10: https://www.rfc-editor.org/rfc/rfc6598
    Shared,
    /// No policy allows it; the word says what it is.
    Never(&'static str),
}

/// What a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Name,
    Address(IpAddr),
    /// An IPv4 address as `inet_aton` reads it, which is not how an address is written.
    Unusual(IpAddr),
    /// Neither a name nor an address.
    Neither,
}

/// Services that give out credentials to whoever asks from within: AWS, Google, Alibaba, Oracle, Azure.
const METADATA: [IpAddr; 7] = [
    // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html (2026-11)
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    // https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html (2026-11)
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // https://cloud.google.com/compute/docs/metadata/querying-metadata (2026-11)
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata (2026-11)
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm (2026-11)
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16 (2026-11)
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// The address that packets to `address` end at, and what that one is.
pub(super) fn judge(address: IpAddr) -> (IpAddr, Class) {
    let effective = match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => inside(v6).map_or(address, IpAddr::V4),
    };
    if METADATA.contains(&effective) {
        return (effective, Class::Never("a metadata service's"));
    }
    let class = match effective {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    };
    // A network's own translation prefix leads into that network, whatever the address inside says.
    // https://www.rfc-editor.org/rfc/rfc8215
    let local_nat64 = matches!(address, IpAddr::V6(v6) if v6.segments()[..3] == [0x64, 0xff9b, 1]);
    let class = if local_nat64 && class == Class::Public { Class::Private } else { class };
    (effective, class)
}

/// The IPv4 address that an IPv6 address stands for.
fn inside(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        // IPv4-mapped, https://www.rfc-editor.org/rfc/rfc4291#section-2.5.5.2; NAT64, https://www.rfc-editor.org/rfc/rfc6052
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, ..] => Some(pair(g, h)),
        // IPv4-translated (SIIT), https://www.rfc-editor.org/rfc/rfc2765#section-2.1
        [0, 0, 0, 0, 0xffff, 0] => Some(pair(g, h)),
        // IPv4-compatible, but neither `::` nor `::1`: https://www.rfc-editor.org/rfc/rfc4291#section-2.5.5.1
        [0, 0, 0, 0, 0, 0] if g != 0 || h > 1 => Some(pair(g, h)),
        // 6to4, https://www.rfc-editor.org/rfc/rfc3056#section-2
        [0x2002, high, low, ..] => Some(pair(high, low)),
        // Teredo's client, its bits inverted: https://www.rfc-editor.org/rfc/rfc4380#section-4
        [0x2001, 0, ..] => Some(pair(!g, !h)),
        _ => None,
    }
}

/// https://www.iana.org/assignments/iana-ipv4-special-registry (2026-11)
fn class_v4(v4: Ipv4Addr) -> Class {
    match v4.octets() {
        // Linux takes 0.0.0.0 for this machine.
        [0, ..] => Class::Never("an unspecified"),
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::Never("a link-local"),
        [224..=239, ..] => Class::Never("a multicast"),
        [255, 255, 255, 255] => Class::Never("a broadcast"),
        [240..=255, ..] => Class::Never("a reserved"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        // Protocol assignments and benchmarks: not reachable from outside a network.
        [192, 0, 0, _] | [198, 18..=19, ..] => Class::Private,
        [100, 64..=127, ..] => Class::Shared,
        _ => Class::Public,
    }
}

/// https://www.iana.org/assignments/iana-ipv6-special-registry (2026-11)
fn class_v6(v6: Ipv6Addr) -> Class {
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Never("an unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        [0xfe80..=0xfebf, ..] => Class::Never("a link-local"),
        [0xff00..=0xffff, ..] => Class::Never("a multicast"),
        // Unique local, and site-local, which it took the place of.
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Class::Private,
        _ => Class::Public,
    }
}

/// What `host` is: lower case, without brackets or a trailing dot.
pub(super) fn read(host: &str) -> Host {
    if let Ok(address) = host.parse() {
        return Host::Address(address);
    }
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    let is_name = host.len() <= 253
        && host.split('.').all(|label| !label.is_empty() && label.len() <= 63 && label.bytes().all(fits));
    // A host whose last label is a number is an address or nothing: https://url.spec.whatwg.org/#ends-in-a-number-checker
    let last = host.rsplit('.').next().unwrap_or(host);
    match is_name {
        true if !looks_like_a_number(last) => Host::Name,
        true => unusual_v4(host).map_or(Host::Neither, |address| Host::Unusual(address.into())),
        false => Host::Neither,
    }
}

fn looks_like_a_number(label: &str) -> bool {
    let hexadecimal =
        label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hexadecimal || label.bytes().all(|byte| byte.is_ascii_digit())
}

/// An IPv4 address in one to four parts, decimal, octal or hexadecimal, of which the last fills what is left.
fn unusual_v4(host: &str) -> Option<Ipv4Addr> {
    let parts = host.split('.').map(number).collect::<Option<Vec<u64>>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) || *last >= 1 << (8 * (4 - leading.len())) {
        return None;
    }
    let leading = leading.iter().zip([24, 16, 8]).map(|(part, shift)| part << shift).sum::<u64>();
    u32::try_from(leading + last).ok().map(Ipv4Addr::from)
}

/// A number as C writes it: `0x` begins a hexadecimal one, `0` an octal one.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    match digits.is_empty() {
        true => Some(0),
        false if digits.starts_with('+') => None,
        false => u64::from_str_radix(digits, radix).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_judged_by_where_packets_end() {
        use Class::{Loopback, Never, Private, Public, Shared};
        let table = [
            ("8.8.8.8", Public),
            ("172.15.0.1", Public),
            ("172.32.0.1", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("2606:4700::1111", Public),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("::1", Loopback),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.0.1", Private),
            ("198.18.0.1", Private),
            ("fd12::1", Private),
            ("fc00::1", Private),
            ("fec0::1", Private),
            ("100.64.0.1", Shared),
            ("100.127.255.255", Shared),
            ("0.0.0.0", Never("an unspecified")),
            ("0.1.2.3", Never("an unspecified")),
            ("::", Never("an unspecified")),
            ("169.254.1.1", Never("a link-local")),
            ("fe80::1", Never("a link-local")),
            ("febf::1", Never("a link-local")),
            ("224.0.0.1", Never("a multicast")),
            ("ff02::1", Never("a multicast")),
            ("255.255.255.255", Never("a broadcast")),
            ("240.0.0.1", Never("a reserved")),
            ("169.254.169.254", Never("a metadata service's")),
            ("fd00:ec2::254", Never("a metadata service's")),
            ("100.100.100.200", Never("a metadata service's")),
            ("168.63.129.16", Never("a metadata service's")),
            // Mapped, compatible, translated, NAT64 of both prefixes, 6to4, Teredo.
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:8.8.8.8", Public),
            ("::ffff:169.254.169.254", Never("a metadata service's")),
            ("::127.0.0.1", Loopback),
            ("::ffff:0:10.0.0.1", Private),
            ("64:ff9b::8.8.8.8", Public),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b::127.0.0.1", Loopback),
            ("64:ff9b:1::8.8.8.8", Private),
            ("64:ff9b:1::169.254.169.254", Never("a metadata service's")),
            ("2002:7f00:1::", Loopback),
            ("2002:808:808::1", Public),
            ("2001:0:4136:e378:8000:63bf:80ff:fffe", Loopback),
        ];
        for (address, class) in table {
            assert_eq!(judge(address.parse().unwrap()).1, class, "{address}");
        }
    }

    #[test]
    fn what_the_resolver_reads_as_an_address_is_not_a_name() {
        let unusual = |text: &str| Host::Unusual(text.parse().unwrap());
        let table = [
            ("api.example.com", Host::Name),
            ("localhost", Host::Name),
            ("llm_server", Host::Name),
            ("1.2.3.4.example", Host::Name),
            ("0x7f.example", Host::Name),
            ("3com", Host::Name),
            ("127.0.0.1", Host::Address("127.0.0.1".parse().unwrap())),
            ("::1", Host::Address("::1".parse().unwrap())),
            ("127.1", unusual("127.0.0.1")),
            ("0x7f.1", unusual("127.0.0.1")),
            ("0x7f.0x0.0x0.0x1", unusual("127.0.0.1")),
            ("2130706433", unusual("127.0.0.1")),
            ("0x7f000001", unusual("127.0.0.1")),
            ("017700000001", unusual("127.0.0.1")),
            ("0177.0.0.1", unusual("127.0.0.1")),
            ("010.8.8.8", unusual("8.8.8.8")),
            ("0", unusual("0.0.0.0")),
            ("10.257", unusual("10.0.1.1")),
            ("1.2.3.4.5", Host::Neither),
            ("256.1.1.1", Host::Neither),
            ("4294967296", Host::Neither),
            ("08.1.1.1", Host::Neither),
            ("99999999999999999999999", Host::Neither),
            ("0xfffffffffffffffffffffff", Host::Neither),
            ("a.1", Host::Neither),
            ("a..b", Host::Neither),
            ("127.0.0.1.", Host::Neither),
            ("%31", Host::Neither),
            ("a b", Host::Neither),
            ("fe80::1%eth0", Host::Neither),
            ("", Host::Neither),
        ];
        for (host, expected) in table {
            assert_eq!(read(host), expected, "{host}");
        }
    }
}
