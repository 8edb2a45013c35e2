//! Signals: what happens to an exchange and to a connection, told while it happens.
//!
//! Told by [`super::Exchange`] along the path, and by the pool; heard by [`super::listen`].

use std::fmt;
use std::time::Duration;

use crate::error::Kind;
use crate::route::Origin;
use crate::stage::Stage;

use super::Handshake;

/// What a signal is about. Numbers count within one session.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct About<'a> {
    /// The exchange. Of a connection that is being opened: the one that it is opened for, which need not be the one that
    /// gets it. Absent where the signal is about no exchange.
    pub exchange: Option<u64>,
    /// The connection; absent where there is none yet.
    pub connection: Option<u64>,
    /// Where it leads; absent where the request had no such thing.
    pub origin: Option<&'a Origin>,
}

/// One thing that has happened. Later versions may know more.
///
/// A signal holds times, counts and words of ours: no header, no body, no query, no secret. aiohttp's sixteen trace
/// signals each have their counterpart:
///
/// | aiohttp | here |
/// |---|---|
/// | `on_request_start` | [`Began`](Self::Began) |
/// | `on_request_headers_sent` | [`RequestHead`](Self::RequestHead) |
/// | `on_request_chunk_sent` | [`RequestChunk`](Self::RequestChunk), and [`RequestEnd`](Self::RequestEnd) for the whole |
/// | `on_response_chunk_received` | [`BodyChunk`](Self::BodyChunk) |
/// | `on_request_end` | [`FirstByte`](Self::FirstByte): aiohttp's comes with the head; and [`BodyEnd`](Self::BodyEnd) |
/// | `on_request_exception` | [`Failed`](Self::Failed), or [`Cancelled`](Self::Cancelled) |
/// | `on_request_redirect` | [`FirstByte`](Self::FirstByte) with a 3xx: each hop is an exchange of its own, and the caller's to follow |
/// | `on_connection_queued_start` | [`QueueStart`](Self::QueueStart) |
/// | `on_connection_queued_end` | [`QueueEnd`](Self::QueueEnd) |
/// | `on_connection_create_start` | [`Opening`](Self::Opening) |
/// | `on_connection_create_end` | [`Opened`](Self::Opened), or [`OpeningFailed`](Self::OpeningFailed) |
/// | `on_connection_reuseconn` | [`Reused`](Self::Reused) |
/// | `on_dns_resolvehost_start` | [`DnsStart`](Self::DnsStart) |
/// | `on_dns_resolvehost_end` | [`DnsEnd`](Self::DnsEnd) |
/// | `on_dns_cache_hit` | [`DnsHit`](Self::DnsHit) |
/// | `on_dns_cache_miss` | [`DnsMiss`](Self::DnsMiss) |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// A request has come. It ends with one of `BodyEnd`, `Failed` and `Cancelled`.
    Began,
    /// Egress refuses, or would refuse, a destination, a method or an address.
    Denied {
        /// The key whose rules it is.
        rule: &'static str,
        /// False under `egress.mode = "count"`, where it leaves all the same.
        enforced: bool,
    },
    /// A limit of the pool is full; the exchange waits for room.
    QueueStart,
    /// The wait for room is over: there is a connection, or one is being opened, or the exchange gave up.
    QueueEnd {
        /// How long it was.
        waited: Duration,
    },
    /// The exchange goes over a connection that an earlier one had opened.
    Reused,
    /// A connection is being opened.
    Opening,
    /// The host's addresses are known from an earlier lookup.
    DnsHit,
    /// The host's addresses are not known.
    DnsMiss,
    /// The host is being looked up: by us, or by a connection that asked first.
    DnsStart,
    /// The lookup is over.
    DnsEnd {
        /// How long it was.
        took: Duration,
        /// True if it found an address.
        found: bool,
    },
    /// A socket is connected, to the origin or to the proxy.
    Tcp {
        /// How long that took, over all addresses.
        took: Duration,
    },
    /// The proxy has answered, or opened its way.
    Proxy {
        /// The status of its answer; absent where it speaks SOCKS, or forwards.
        status: Option<u16>,
        /// How long that took.
        took: Duration,
    },
    /// The handshake with the origin is done.
    Tls {
        /// What was agreed on.
        handshake: Handshake,
        /// How long that took.
        took: Duration,
    },
    /// The connection is open.
    Opened {
        /// How long all of it took.
        took: Duration,
    },
    /// The connection could not be opened.
    OpeningFailed {
        /// Where.
        stage: Stage,
        /// Why.
        kind: Kind,
        /// After how long.
        took: Duration,
    },
    /// The head of the request goes to the connection.
    RequestHead,
    /// A piece of a streamed request body goes to the connection.
    RequestChunk {
        /// Its length.
        bytes: u64,
    },
    /// The last byte of the request goes to the connection.
    RequestEnd {
        /// The length of its body.
        bytes: u64,
    },
    /// The head of the answer has come.
    FirstByte {
        /// Its status.
        status: u16,
        /// How long after the request went to the connection.
        waited: Duration,
    },
    /// A piece of the answer's body has been read.
    BodyChunk {
        /// Its length.
        bytes: u64,
    },
    /// The answer's body is over.
    BodyEnd {
        /// What was read of it.
        bytes: u64,
        /// False if the caller let go of it before its end.
        whole: bool,
    },
    /// The exchange failed.
    Failed {
        /// Where.
        stage: Stage,
        /// Why.
        kind: Kind,
        /// True if a repeat could have the request done twice.
        request_sent: bool,
    },
    /// The caller went away before the head of the answer.
    Cancelled,
    /// The request is sent again.
    Retry {
        /// Why.
        kind: Retry,
        /// True if the kernel has proven that the peer took no byte of it.
        attested: bool,
    },
    /// An idle connection had to go; `Closed` follows.
    Evicted {
        /// For what.
        reason: Eviction,
    },
    /// The session lets go of an open connection, whose socket closes now.
    Closed {
        /// Why.
        reason: Closed,
    },
    /// A policy is in force in the place of another, or its TLS files have changed.
    Swapped {
        /// Its number; the session began with 0.
        generation: u64,
    },
    /// A stream of events came all at once, after a long silence: something on the way holds answers back.
    BufferedStream {
        /// The silence before they came.
        silence: Duration,
        /// How many events came.
        events: u64,
    },
}

/// Why a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Its connection closed before a byte of it was written.
    Unsent,
    /// Its connection, a reused one, closed before a byte of an answer (`retry.stale`).
    Stale,
    /// The server said that it had not looked at it (HTTP/2: GOAWAY, REFUSED_STREAM).
    Unseen,
    /// The answer's status is one that is asked again (`retry.status`).
    Status(u16),
}

/// Why an idle connection had to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// A request for another route needed its room.
    Room,
    /// A swap lowered a limit.
    Limit,
}

/// Why a connection is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It was idle for `pool.keepalive`, or for as long as its server keeps it.
    Idle,
    /// It is older than `pool.max_lifetime`.
    Lifetime,
    /// It has carried `pool.max_requests` exchanges.
    Requests,
    /// The policy keeps none: `pool.force_close`, or `pool.isolation = "call"`.
    Policy,
    /// The peer closed it, or said that it would.
    Peer,
    /// An exchange on it failed.
    Error,
    /// The policy that is in force now would not open it so.
    Swap,
    /// It was idle, and had to go.
    Evicted(Eviction),
    /// Its exchange had ended, and its room was somebody else's, or beyond a lowered limit.
    Yielded,
    /// The caller let go of its exchange, or of the answer.
    Dropped,
    /// The session has ended.
    Ended,
}

impl Closed {
    /// All reasons.
    pub const ALL: [Self; 12] = [
        Self::Idle,
        Self::Lifetime,
        Self::Requests,
        Self::Policy,
        Self::Peer,
        Self::Error,
        Self::Swap,
        Self::Evicted(Eviction::Room),
        Self::Evicted(Eviction::Limit),
        Self::Yielded,
        Self::Dropped,
        Self::Ended,
    ];

    /// The reason's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Requests => "requests",
            Self::Policy => "policy",
            Self::Peer => "peer",
            Self::Error => "error",
            Self::Swap => "swap",
            Self::Evicted(Eviction::Room) => "evicted_room",
            Self::Evicted(Eviction::Limit) => "evicted_limit",
            Self::Yielded => "yielded",
            Self::Dropped => "dropped",
            Self::Ended => "ended",
        }
    }

    /// Its place in [`Closed::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Idle => 0,
            Self::Lifetime => 1,
            Self::Requests => 2,
            Self::Policy => 3,
            Self::Peer => 4,
            Self::Error => 5,
            Self::Swap => 6,
            Self::Evicted(Eviction::Room) => 7,
            Self::Evicted(Eviction::Limit) => 8,
            Self::Yielded => 9,
            Self::Dropped => 10,
            Self::Ended => 11,
        }
    }
}

impl Signal {
    /// The signal's word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Denied { .. } => "denied",
            Self::QueueStart => "queue_start",
            Self::QueueEnd { .. } => "queue_end",
            Self::Reused => "reused",
            Self::Opening => "opening",
            Self::DnsHit => "dns_hit",
            Self::DnsMiss => "dns_miss",
            Self::DnsStart => "dns_start",
            Self::DnsEnd { .. } => "dns_end",
            Self::Tcp { .. } => "tcp",
            Self::Proxy { .. } => "proxy",
            Self::Tls { .. } => "tls",
            Self::Opened { .. } => "opened",
            Self::OpeningFailed { .. } => "opening_failed",
            Self::RequestHead => "request_head",
            Self::RequestChunk { .. } => "request_chunk",
            Self::RequestEnd { .. } => "request_end",
            Self::FirstByte { .. } => "first_byte",
            Self::BodyChunk { .. } => "body_chunk",
            Self::BodyEnd { .. } => "body_end",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::Retry { .. } => "retry",
            Self::Evicted { .. } => "evicted",
            Self::Closed { .. } => "closed",
            Self::Swapped { .. } => "swapped",
            Self::BufferedStream { .. } => "buffered_stream",
        }
    }

    /// True for what `monitor.signals = "errors"` tells: failures, refusals, repeats, and streams that are held back.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Self::Denied { .. }
            | Self::OpeningFailed { .. }
            | Self::Failed { .. }
            | Self::Retry { .. }
            | Self::Closed { reason: Closed::Error }
            | Self::BufferedStream { .. } => true,
            Self::Began
            | Self::QueueStart
            | Self::QueueEnd { .. }
            | Self::Reused
            | Self::Opening
            | Self::DnsHit
            | Self::DnsMiss
            | Self::DnsStart
            | Self::DnsEnd { .. }
            | Self::Tcp { .. }
            | Self::Proxy { .. }
            | Self::Tls { .. }
            | Self::Opened { .. }
            | Self::RequestHead
            | Self::RequestChunk { .. }
            | Self::RequestEnd { .. }
            | Self::FirstByte { .. }
            | Self::BodyChunk { .. }
            | Self::BodyEnd { .. }
            | Self::Cancelled
            | Self::Evicted { .. }
            | Self::Closed { .. }
            | Self::Swapped { .. } => false,
        }
    }
}

impl fmt::Display for Signal {
    /// The word, and the facts behind it: `tcp took=1.2ms`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())?;
        match self {
            Self::Began
            | Self::QueueStart
            | Self::Reused
            | Self::Opening
            | Self::DnsHit
            | Self::DnsMiss
            | Self::DnsStart
            | Self::RequestHead
            | Self::Cancelled => Ok(()),
            Self::Denied { rule, enforced } => write!(out, " rule={rule} enforced={enforced}"),
            Self::QueueEnd { waited } => write!(out, " waited={waited:?}"),
            Self::DnsEnd { took, found } => write!(out, " took={took:?} found={found}"),
            Self::Tcp { took } | Self::Opened { took } => write!(out, " took={took:?}"),
            Self::Proxy { status: Some(status), took } => write!(out, " status={status} took={took:?}"),
            Self::Proxy { status: None, took } => write!(out, " took={took:?}"),
            Self::Tls { handshake, took } => write!(out, " {handshake} took={took:?}"),
            Self::OpeningFailed { stage, kind, took } => {
                write!(out, " stage={stage} kind={} took={took:?}", kind.word())
            }
            Self::RequestChunk { bytes } | Self::RequestEnd { bytes } | Self::BodyChunk { bytes } => {
                write!(out, " bytes={bytes}")
            }
            Self::FirstByte { status, waited } => write!(out, " status={status} waited={waited:?}"),
            Self::BodyEnd { bytes, whole } => write!(out, " bytes={bytes} whole={whole}"),
            Self::Failed { stage, kind, request_sent } => {
                write!(out, " stage={stage} kind={} request_sent={request_sent}", kind.word())
            }
            Self::Retry { kind, attested } => write!(out, " kind={} attested={attested}", kind.word()),
            Self::Evicted { reason } => write!(out, " reason={}", reason.word()),
            Self::Closed { reason } => write!(out, " reason={}", reason.word()),
            Self::Swapped { generation } => write!(out, " generation={generation}"),
            Self::BufferedStream { silence, events } => write!(out, " silence={silence:?} events={events}"),
        }
    }
}

impl Retry {
    /// The kind's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Stale => "stale",
            Self::Unseen => "unseen",
            Self::Status(_) => "status",
        }
    }
}

impl Eviction {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Room, Self::Limit];

    /// The reason's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Limit => "limit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_place() {
        for (index, reason) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{}", reason.word());
        }
    }

    #[test]
    fn a_signal_is_shown_with_its_facts() {
        let closed = Signal::Closed { reason: Closed::Evicted(Eviction::Room) };
        assert_eq!(closed.to_string(), "closed reason=evicted_room");
        let failed = Signal::Failed { stage: Stage::Tls, kind: Kind::TlsAlert(42), request_sent: false };
        assert_eq!(failed.to_string(), "failed stage=tls kind=tls_alert request_sent=false");
    }
}
