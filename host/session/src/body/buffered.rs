//! Whether a stream of events was held back on its way, and came all at once.
//!
//! A gateway that buffers answers (nginx does, unless it is told not to) turns a stream into a long silence and one
//! burst: right to the last byte, and useless to who reads along. The answer itself does not show it, so this goes by
//! time and pieces, and rather misses one than cries wolf. A stream counts as held back if it ended well and all of this
//! holds:
//!
//! - somewhere in it lies a silence of [`LONG`] or more, while somebody was reading: before its first byte, counted from
//!   the request, or behind a first event, which gateways pass on with the head. An answer that is fast is never meant;
//! - from there to its end took no more than a tenth of that;
//! - what came then was [`EVENTS`] events or more, and three quarters of all: a short answer after long thought is what it
//!   seems, and so is a live stream that stalls;
//! - [`PER_PIECE`] events or more came in each piece, on average. Live events come one by one, however fast: each is
//!   a chunk of its own, also where its reader is late. What gathers them into larger pieces has held them back.
//!
//! A server that makes the whole answer first and then writes it as events looks the same, and is as useless.

use std::time::Duration;

use http::header::{HeaderMap, SERVER, VIA};
use tokio::time::Instant;

use crate::monitor::Exchange;
use crate::route::Route;

/// How long the silence is, at least.
const LONG: Duration = Duration::from_secs(1);
/// How many events come at once, at least.
const EVENTS: u64 = 8;
/// How many of them come in a piece, at least, on average.
const PER_PIECE: u64 = 4;

/// Software that holds answers back unless it is told not to, by the names that it gives itself.
const KNOWN: [&str; 8] = ["nginx", "openresty", "squid", "varnish", "apache", "cloudflare", "cloudfront", "haproxy"];

/// What is watched of a stream of events. Given up as soon as it is seen to be live.
#[derive(Debug)]
pub(super) struct Watch {
    /// From the request to the head of the answer, until the first piece has come.
    head: Option<Duration>,
    began: Instant,
    /// Since when its reader waits for the next piece.
    since: Option<Instant>,
    burst: Option<Burst>,
    /// Events so far.
    events: u64,
    /// What its head calls itself.
    culprit: Option<&'static str>,
}

/// What came after the longest silence so far.
#[derive(Debug)]
struct Burst {
    /// How long that was.
    silence: Duration,
    began: Instant,
    pieces: u64,
    events: u64,
}

/// What a stream that was held back looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) silence: Duration,
    pub(super) events: u64,
    pub(super) pieces: u64,
}

impl Watch {
    /// Watches the stream of an answer whose head has just come, `head` after the request.
    pub(super) fn new(head: Duration, headers: &HeaderMap) -> Self {
        let (began, culprit) = (Instant::now(), culprit(headers));
        Self { head: Some(head), began, since: None, burst: None, events: 0, culprit }
    }

    /// Its reader waits.
    pub(super) fn waits(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// A piece has come; false once the stream is known to be live.
    pub(super) fn takes(&mut self, piece: &[u8]) -> bool {
        let events = ends(piece);
        self.events += events;
        // Time in which nobody read is not the stream's: it counts as a part of the burst, which it makes too long.
        let waited = self.since.take().map(|since| since.elapsed()).unwrap_or_default();
        let (silence, began) = match self.head.take() {
            Some(head) => (head + waited, self.began + waited),
            None => (waited, Instant::now()),
        };
        if silence >= LONG && self.burst.as_ref().is_none_or(|burst| burst.silence <= silence) {
            self.burst = Some(Burst { silence, began, pieces: 0, events: 0 });
        }
        let mut is_burst = false;
        if let Some(burst) = &mut self.burst {
            burst.pieces += 1;
            burst.events += events;
            is_burst = burst.is_short();
        }
        is_burst || self.events < EVENTS
    }

    /// The stream has ended well; what it looked like, if it was held back.
    pub(super) fn ended(&self) -> Option<Held> {
        let burst = self.burst.as_ref()?;
        let Burst { silence, began: _, pieces, events } = *burst;
        let held = burst.is_short()
            && events >= EVENTS
            && events >= pieces.saturating_mul(PER_PIECE)
            && events.saturating_mul(4) >= self.events.saturating_mul(3);
        held.then_some(Held { silence, events, pieces })
    }

    /// Tells of it, and warns once an origin.
    pub(super) fn tell(&self, held: Held, exchange: &Exchange, route: Option<&Route>) {
        let Held { silence, events, pieces } = held;
        let Some(route) = route.filter(|route| exchange.held_back(silence, events, route.origin())) else { return };
        let origin = route.origin();
        let likely = match (self.culprit, route.proxy()) {
            (Some(name), _) => format!("likely {name}"),
            (None, Some(proxy)) => format!("likely the proxy {}", proxy.server()),
            (None, None) => "likely a proxy or a gateway in front of it".to_owned(),
        };
        tracing::warn!(
            %origin,
            "buffered_stream: {events} events came at once, in pieces: {pieces}, after a silence of {silence:.1?}: something on the way \
             holds the answer back, {likely}; hint: there, `proxy_buffering off` or its like, or an answer with \
             `X-Accel-Buffering: no`, lets events through as they come"
        );
    }
}

impl Burst {
    fn is_short(&self) -> bool {
        self.began.elapsed() <= self.silence / 10
    }
}

/// How many events end in a piece. One whose end is cut in two is not counted.
fn ends(piece: &[u8]) -> u64 {
    let mut ends = 0;
    let mut at_start = false;
    for byte in piece {
        match byte {
            b'\n' if at_start => {
                ends += 1;
                at_start = false;
            }
            b'\n' => at_start = true,
            b'\r' => {}
            _ => at_start = false,
        }
    }
    ends
}

/// Which of the known names the answer's head gives. Nothing else of it is ever shown.
fn culprit(headers: &HeaderMap) -> Option<&'static str> {
    let named =
        [VIA, SERVER].map(|name| headers.get_all(name).iter().map(|value| value.as_bytes().to_ascii_lowercase()));
    let named: Vec<_> = named.into_iter().flatten().collect();
    let holds = |name: &&str| named.iter().any(|value| value.windows(name.len()).any(|part| part == name.as_bytes()));
    KNOWN.into_iter().find(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The verdict over a stream: how long its head took, then pauses, in milliseconds, with the piece behind each.
    async fn verdict(head: Duration, pieces: &[(u64, &str)]) -> Option<(u64, u64)> {
        let mut watch = Watch::new(head, &HeaderMap::new());
        for (pause, piece) in pieces {
            watch.waits();
            tokio::time::advance(Duration::from_millis(*pause)).await;
            if !watch.takes(piece.as_bytes()) {
                return None;
            }
        }
        watch.ended().map(|held| (held.events, held.pieces))
    }

    fn events(count: usize) -> String {
        "data: x\n\n".repeat(count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_after_a_long_silence_was_held_back() {
        let (few, many) = (events(7), events(20));
        // The head comes late too, or the body alone.
        assert_eq!(verdict(3 * SECOND, &[(0, &many)]).await, Some((20, 1)));
        assert_eq!(verdict(Duration::ZERO, &[(3000, &many), (1, &many)]).await, Some((40, 2)));
        assert_eq!(verdict(3 * SECOND, &[(0, &few)]).await, None, "a short answer");
        assert_eq!(verdict(Duration::from_millis(900), &[(0, &many)]).await, None, "a fast answer");
        assert_eq!(verdict(3 * SECOND, &[(0, &many), (400, &many)]).await, None, "it is live");
        let one = events(1);
        assert_eq!(verdict(Duration::ZERO, &[(5, &one), (3000, &many)]).await, Some((20, 1)), "behind the first event");
        assert_eq!(verdict(Duration::ZERO, &[(5, &few), (3000, &many)]).await, None, "a live stream that stalls");
        assert_eq!(verdict(Duration::ZERO, &[(5, &many), (3000, &many)]).await, None, "a live stream that stalls");
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_come_one_by_one_are_live_however_fast() {
        let one = events(1);
        let pieces: Vec<_> = (0..100).map(|_| (0, &one[..])).collect();
        assert_eq!(verdict(10 * SECOND, &pieces).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_reader_is_not_the_streams_fault() {
        let mut watch = Watch::new(2 * SECOND, &HeaderMap::new());
        tokio::time::advance(5 * SECOND).await;
        assert!(!watch.takes(events(20).as_bytes()));
        assert_eq!(watch.ended(), None);
        // Nor is what lies between two of its looks.
        let mut watch = Watch::new(Duration::ZERO, &HeaderMap::new());
        assert!(watch.takes(events(1).as_bytes()));
        tokio::time::advance(5 * SECOND).await;
        assert!(!watch.takes(events(20).as_bytes()));
        assert_eq!(watch.ended(), None);
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        for (piece, expected) in [("", 0), ("data: x", 0), ("data: x\n\n", 1), ("a\r\n\r\nb\n\n", 2), ("\n", 0)] {
            assert_eq!(ends(piece.as_bytes()), expected, "{piece:?}");
        }
    }

    #[test]
    fn only_known_names_are_taken_from_a_head() {
        let named =
            |name, value: &'static str| culprit(&[(name, http::HeaderValue::from_static(value))].into_iter().collect());
        assert_eq!(named(SERVER, "nginx/1.22.1"), Some("nginx"));
        assert_eq!(named(VIA, "1.1 gate (Squid/5.7)"), Some("squid"));
        assert_eq!(named(SERVER, "uvicorn"), None);
    }
}
