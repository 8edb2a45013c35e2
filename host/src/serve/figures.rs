//! What the server counts, in Prometheus' text format, before what its runtime and its session count.
//!
//! Counted when an answer is told to its end, or its client has gone. Labels are our own words, statuses,
//! and a bounded number of the models that have answered: nothing that a client can make up without end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Shared;
use super::report::Sums;
use crate::runtime::{self, Runtime};

/// From 1 ms to 5 min: a model takes its time.
const SECONDS: [f64; 12] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 300.0];

/// What is counted. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    requests: Family<Labels, Counter<u64, AtomicU64>>,
    seconds: Histogram,
    gone: Counter<u64, AtomicU64>,
    failed: Counter<u64, AtomicU64>,
    connections: Arc<AtomicUsize>,
    /// What answers came to.
    pub(super) sums: Sums,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    path: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finish {
    provider: String,
    model: String,
    finish: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    provider: String,
    model: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// To its last byte.
    Whole,
    /// The client went away before.
    Gone,
    /// It broke off.
    Failed,
}

impl End {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

impl Figures {
    pub(super) fn new() -> Self {
        Self {
            requests: Family::default(),
            seconds: Histogram::new(SECONDS),
            gone: Counter::default(),
            failed: Counter::default(),
            connections: Arc::default(),
            sums: Sums::default(),
        }
    }

    /// Counts a request that has ended; without a status if its client had gone before there was an answer.
    pub(super) fn count(&self, path: &str, status: Option<StatusCode>, end: End, took: Duration) {
        // 499 is nginx's word for a client that did not wait.
        let status = status.map_or(499, |status| status.as_u16());
        self.requests.get_or_create(&Labels { path: known(path), status }).inc();
        self.seconds.observe(took.as_secs_f64());
        match end {
            End::Whole => {}
            End::Gone => drop(self.gone.inc()),
            End::Failed => drop(self.failed.inc()),
        }
    }

    /// Counts a connection, for as long as what it returns is held.
    pub(super) fn connected(&self) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(&self.connections))
    }

    /// Everything that is counted, the runtime's and the session's too.
    pub(super) fn text(&self, shared: &Shared) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("seaway_serve");
        registry.register("requests", "Requests, by path and status", self.requests.clone());
        registry.register_with_unit(
            "request",
            "From a request's head to the last byte of its answer",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register("gone", "Clients that went away before the end of an answer", self.gone.clone());
        registry.register("failed", "Answers that broke off", self.failed.clone());
        self.answers(&mut registry);
        let now = [
            ("connections", "Connections of clients", self.connections.load(Ordering::Relaxed)),
            ("calls", "Calls under way", shared.admission.running()),
            ("waiting", "Calls that wait for their turn", shared.admission.waiting()),
        ];
        for (name, about, value) in now {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, about, gauge);
        }
        let mut text = String::with_capacity(16 << 10);
        prometheus_text::encode(&mut text, &registry)?;
        prometheus_text::encode(&mut text, &runtime(&shared.runtime))?;
        text.push_str(&shared.runtime.session().metrics().to_string());
        Ok(text)
    }
}

impl Figures {
    /// Who answered, and what it took.
    fn answers(&self, registry: &mut Registry) {
        let finishes: Family<Finish, Counter<u64, AtomicU64>> = Family::default();
        let tokens: Family<Tokens, Counter<u64, AtomicU64>> = Family::default();
        for (provider, model, sum) in self.sums.all() {
            for (finish, count) in sum.finishes() {
                let labels = Finish { provider: provider.clone(), model: model.clone(), finish };
                finishes.get_or_create(&labels).inc_by(count);
            }
            for (kind, count) in sum.tokens() {
                let labels = Tokens { provider: provider.clone(), model: model.clone(), kind };
                tokens.get_or_create(&labels).inc_by(count);
            }
        }
        registry.register("completions", "Answers of providers, by how they ended", finishes);
        let about =
            "Tokens, as providers count them; each is of the kind prompt or completion, and may be of a further one";
        registry.register("tokens", about, tokens);
    }
}

/// The instances that calls run in, and what calls take of the processor.
fn runtime(runtime: &Runtime) -> Registry {
    let mut registry = Registry::with_prefix("seaway_runtime");
    let runtime::Figures { idle, busy, made } = runtime.figures();
    let instances: Family<State, Gauge> = Family::default();
    for (state, count) in [("idle", idle), ("busy", busy)] {
        instances.get_or_create(&State { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    registry.register("instances", "Instances of the component: idle, or in a call", instances);
    let all = Counter::<u64, AtomicU64>::default();
    all.inc_by(made);
    registry.register("instances_made", "Instances of the component that were made", all);
    let about = "Processor time of a call: the guest's, and what the session does for it meanwhile";
    registry.register_with_unit("cpu", about, Unit::Seconds, runtime.cpu().histogram());
    registry
}

/// A path as a label: whoever asks for a thousand others makes one of them.
fn known(path: &str) -> &'static str {
    const PATHS: [&str; 6] = ["/v1/chat/completions", "/chat", "/v1/models", "/healthz", "/readyz", "/metrics"];
    PATHS.into_iter().find(|known| *known == path).unwrap_or("other")
}

/// A connection that is counted.
pub(super) struct Connected(Arc<AtomicUsize>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
