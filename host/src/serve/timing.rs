//! `x-seaway-timing`: what a call took up to the head of its answer, for a client that asks.
//!
//! Written where the head is. In the form of `Server-Timing`, milliseconds: <https://www.w3.org/TR/server-timing/>.
//! Invariant: names of stages and times, and nothing of where the call went.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use seaway_session::Stage;

use crate::runtime::CallRecord;

/// The header: in a request with any value it asks, in an answer it tells.
pub(super) const TIMING: HeaderName = HeaderName::from_static("x-seaway-timing");

/// True if a request asks for the times.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(TIMING).is_some_and(|value| !value.is_empty())
}

/// The times: the wait for a turn, each stage of each exchange in the order of the path, and all together. A stage that has
/// not ended is not among them.
pub(super) fn value(queued: Duration, record: &CallRecord, total: Duration) -> HeaderValue {
    let mut out = String::with_capacity(128);
    let mut tell = |name: &str, took: Duration| {
        let _ = write!(out, "{}{name};dur={:.3}", if out.is_empty() { "" } else { ", " }, took.as_secs_f64() * 1000.0);
    };
    tell("queue", queued + record.queued());
    for timings in record.exchanges() {
        for stage in Stage::ALL {
            if let Some(span) = timings.span(stage).filter(|span| span.end > span.start) {
                tell(stage.word(), span.end - span.start);
            }
        }
    }
    tell("total", total);
    HeaderValue::try_from(out).expect("words and figures fit into a header")
}
