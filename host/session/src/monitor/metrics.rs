//! Everything that is counted, in Prometheus' text format (version 0.0.4).
//!
//! Made when somebody asks: the threads' own counters are added up then, and the crate of the Prometheus project writes
//! them down. Labels are our own words, and origins and proxies as they are configured: no path, no query, no secret.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::{self, BUCKETS};
use super::{Closed, Counters, Eviction, Figures};
use crate::proxy;
use crate::route::{Origin, Route};
use crate::stage::Stage;

/// Routes that have gauges of their own; the others share those of `other`.
const ROUTES: usize = 50;

/// What a session has counted up to one moment. Its [`Display`](fmt::Display) is the text that Prometheus scrapes, under
/// the type [`Metrics::CONTENT_TYPE`]; text of other sources may be put before or behind it.
///
/// Names begin with `seaway_session_`. By stage: `stage_seconds` (a histogram from 100 us to 5 min; decisions of egress and
/// credentials are not timed, and lie in its first bucket), `stage_failures_total`. Exchanges: `exchanges_total`,
/// `reused_total`, `retried_total`, `denied_total`, `buffered_streams_total`, and `failures_total` by stage and kind.
/// Connections: `opened_total` (begun), `closed_total` and `evicted_total` by reason, `stale_addresses_total`,
/// `unverified_total`. Policies: `swaps_total`. Now, by origin and proxy: `open_connections`, `idle_connections`,
/// `active_connections` (in use, or being opened), `waiting_requests`; the 50 busiest have labels of their own, all others
/// together are `other`.
#[derive(Clone, Debug)]
pub struct Metrics {
    figures: Figures,
    /// By stage, in path order.
    lengths: [[u64; BUCKETS]; Stage::ALL.len()],
    routes: Vec<(Place, Sockets)>,
}

/// The labels `origin` and `proxy`; the latter empty where there is none.
type Place = (String, String);

/// The connections of a route, and who waits for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sockets {
    pub(crate) open: usize,
    pub(crate) closing: usize,
    pub(crate) idle: usize,
    pub(crate) waiting: usize,
}

impl Sockets {
    fn add(&mut self, other: Self) {
        let Self { open, closing, idle, waiting } = other;
        self.open += open;
        self.closing += closing;
        self.idle += idle;
        self.waiting += waiting;
    }

    fn active(self) -> usize {
        self.open.saturating_sub(self.closing + self.idle)
    }
}

impl Metrics {
    /// The media type of the text.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

    pub(crate) fn new(counters: &Counters, figures: Figures, sockets: Vec<(Arc<Route>, Sockets)>) -> Self {
        let lengths = Stage::ALL.map(|stage| counters.lengths(stage));
        Self { figures, lengths, routes: busiest(sockets) }
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut registry = Registry::with_prefix("seaway_session");
        registry.register_collector(Box::new(self.clone()));
        prometheus_text::encode(out, &registry)
    }
}

/// Routes by place, the busiest first, and what is left of them in one.
fn busiest(sockets: Vec<(Arc<Route>, Sockets)>) -> Vec<(Place, Sockets)> {
    let mut places: HashMap<(&Origin, Option<&proxy::Server>), Sockets> = HashMap::new();
    for (route, sockets) in &sockets {
        let place = (route.origin(), route.proxy().map(proxy::Proxy::server));
        places.entry(place).or_default().add(*sockets);
    }
    let named = |(origin, proxy): (&Origin, Option<&proxy::Server>)| {
        (origin.to_string(), proxy.map(ToString::to_string).unwrap_or_default())
    };
    let mut routes: Vec<(Place, Sockets)> =
        places.into_iter().map(|(place, sockets)| (named(place), sockets)).collect();
    // An empty lane is a route that was used, and is none now.
    routes.retain(|(_, sockets)| *sockets != Sockets::default());
    routes.sort_by(|(place, one), (other, two)| {
        (Reverse(one.open + one.waiting), place).cmp(&(Reverse(two.open + two.waiting), other))
    });
    if routes.len() > ROUTES {
        let mut other = Sockets::default();
        routes.drain(ROUTES..).for_each(|(_, sockets)| other.add(sockets));
        routes.push((("other".to_owned(), "other".to_owned()), other));
    }
    routes
}

impl Collector for Metrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        self.stages(&mut out)?;
        self.exchanges(&mut out)?;
        self.connections(&mut out)?;
        self.now(&mut out)
    }
}

impl Metrics {
    fn stages(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let unit = Unit::Seconds;
        let kind = MetricType::Histogram;
        let mut metric = out.encode_descriptor("stage", "How long each stage ran.", Some(&unit), kind)?;
        for (stage, lengths) in Stage::ALL.into_iter().zip(&self.lengths) {
            let buckets: Vec<(f64, u64)> = histogram::bounds().zip(lengths.iter().copied()).collect();
            let (sum, count) = (self.figures.stage(stage).time.as_secs_f64(), lengths.iter().sum());
            let labels = [("stage", stage.word())];
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        let failures = Stage::ALL.map(|stage| ([("stage", stage.word())], self.figures.stage(stage).failures));
        counters(out, "stage_failures", "How often each stage failed.", failures)?;
        let failures = self.figures.failures();
        let failures = failures.map(|(stage, kind, count)| ([("stage", stage.word()), ("kind", kind)], count));
        counters(out, "failures", "Exchanges that failed, by the stage and the kind of their errors.", failures)
    }

    fn exchanges(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Figures { exchanges, reused, retried, denied, buffered, swapped, .. } = &self.figures;
        for (name, help, count) in [
            ("exchanges", "Exchanges that came.", exchanges),
            ("reused", "Exchanges over a connection that an earlier one had opened.", reused),
            ("retried", "Requests that were sent again.", retried),
            ("denied", "What egress refused, or would have refused.", denied),
            ("buffered_streams", "Streams of events that came all at once.", buffered),
            ("swaps", "Policies put in the place of another.", swapped),
        ] {
            counters(out, name, help, [(NONE, *count)])?;
        }
        Ok(())
    }

    fn connections(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Figures { opened, stale, unverified, .. } = &self.figures;
        for (name, help, count) in [
            ("opened", "Connections whose opening was begun.", opened),
            ("stale_addresses", "Lookups that an expired answer stood in for.", stale),
            ("unverified", "TLS connections to servers that had not to prove who they are.", unverified),
        ] {
            counters(out, name, help, [(NONE, *count)])?;
        }
        let closed = Closed::ALL.map(|reason| ([("reason", reason.word())], self.figures.closed(reason)));
        counters(out, "closed", "Open connections that were let go of, by reason.", closed)?;
        let of = |reason| self.figures.closed(Closed::Evicted(reason));
        let evicted = Eviction::ALL.map(|reason| ([("reason", reason.word())], of(reason)));
        counters(out, "evicted", "Idle connections that had to go, by reason.", evicted)
    }

    fn now(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Of = fn(&Sockets) -> usize;
        let gauges: [(&str, &str, Of); 4] = [
            ("open_connections", "Open sockets: connecting, active, idle and closing.", |now| now.open),
            ("idle_connections", "Connections that are kept for later.", |now| now.idle),
            ("active_connections", "Connections in use, or being opened.", |now| now.active()),
            ("waiting_requests", "Requests that wait for a connection.", |now| now.waiting),
        ];
        for (name, help, of) in gauges {
            let mut metric = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for ((origin, proxy), sockets) in &self.routes {
                let labels = [("origin", &origin[..]), ("proxy", &proxy[..])];
                metric.encode_family(&labels)?.encode_gauge(&of(sockets))?;
            }
        }
        Ok(())
    }
}

const NONE: [(&str, &str); 0] = [];

/// One counter with its label sets.
fn counters<const N: usize>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: impl IntoIterator<Item = ([(&'static str, &'static str); N], u64)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in counts {
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
    }
    Ok(())
}
