//! What a head says of its own connection, and what of it goes no further (RFC 9110, section 7.6.1).

use std::time::Duration;

use http::header::{CONNECTION, HeaderName};
use http::{HeaderMap, Version};

/// What the head of an answer says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Persistence {
    /// True if the connection can carry another exchange.
    pub(crate) reusable: bool,
    /// How long the server keeps it idle, less a margin for a request that is on its way.
    pub(crate) idle_life: Option<Duration>,
}

/// What is taken from `Keep-Alive: timeout=`, so that no request meets the server's close.
const MARGIN: Duration = Duration::from_secs(1);

/// Reads what the head says of its connection (RFC 9112, section 9.3), then strips what belongs to this hop alone.
pub(crate) fn receive(version: Version, headers: &mut HeaderMap) -> Persistence {
    let says = |word: &str| words_of_connection(headers).any(|said| said.eq_ignore_ascii_case(word.as_bytes()));
    // The streams of HTTP/2 come and go; its connection is not theirs to close.
    if version == Version::HTTP_2 {
        strip_hop_by_hop(headers);
        return Persistence { reusable: true, idle_life: None };
    }
    let kept = if version == Version::HTTP_11 { !says("close") } else { says("keep-alive") };
    let timeout = headers.get("keep-alive").and_then(|value| value.to_str().ok()).and_then(|value| {
        let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
        seconds.trim_matches('"').parse::<u64>().ok().map(Duration::from_secs)
    });
    let idle_life = timeout.map(|timeout| timeout.saturating_sub(MARGIN));
    strip_hop_by_hop(headers);
    Persistence { reusable: kept && idle_life.is_none_or(|life| !life.is_zero()), idle_life }
}

/// Header fields that are for one hop (RFC 9110, section 7.6.1), beside those that `Connection` names.
static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    http::header::TE,
    http::header::TRAILER,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

/// The lengths of those names, as bits: few other names have one of them.
const LENGTHS: u32 = 1 << 2 | 1 << 7 | 1 << 10 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 19;

fn is_hop_by_hop(name: &HeaderName) -> bool {
    let length = name.as_str().len();
    length < 20 && LENGTHS >> length & 1 == 1 && HOP_BY_HOP.contains(name)
}

pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most heads have none of them: one look at each name costs less than a search for each of nine.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let named: Vec<HeaderName> =
        words_of_connection(headers).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// What the `Connection` fields say, word by word. A word that is none makes no other word unsaid.
fn words_of_connection(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(CONNECTION).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_words_say() {
        for (version, pairs, reusable) in [
            (Version::HTTP_11, &[][..], true),
            (Version::HTTP_11, &[("connection", "close")][..], false),
            (Version::HTTP_11, &[("connection", "x, Close")][..], false),
            (Version::HTTP_10, &[][..], false),
            (Version::HTTP_10, &[("connection", "Keep-Alive")][..], true),
            (Version::HTTP_11, &[("keep-alive", "timeout=1")][..], false),
        ] {
            assert_eq!(receive(version, &mut headers(pairs)).reusable, reusable, "{version:?} {pairs:?}");
        }
        let kept = receive(Version::HTTP_11, &mut headers(&[("keep-alive", "timeout=5, max=100")]));
        assert_eq!(kept.idle_life, Some(Duration::from_secs(4)));
    }

    #[test]
    fn each_name_is_known_by_its_length() {
        assert!(HOP_BY_HOP.iter().all(is_hop_by_hop));
    }

    #[test]
    fn what_belongs_to_one_hop_is_stripped() {
        let mut map = headers(&[
            ("connection", "x-secret, keep-alive"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic eA=="),
            ("content-type", "text/plain"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("content-type", "text/plain")]));
    }

    #[test]
    fn what_connection_says_is_heard_though_other_bytes_stand_beside_it() {
        let odd = || http::HeaderValue::from_bytes(b"x-secret, \xff, close").unwrap();
        let mut map = headers(&[("x-secret", "1")]);
        map.insert(CONNECTION, odd());
        assert!(!receive(Version::HTTP_11, &mut map).reusable);
        assert!(map.is_empty(), "{map:?}");
    }
}
