//! The egress log: a line for each exchange with a provider.
//!
//! Written with the line of the request that led to it, when its answer is told or its client has gone. Invariant: no query,
//! no header's value, no body and no secret is in it; the names of credentials are.

use std::fmt::Write as _;
use std::time::SystemTime;

use seaway_session::{Details, Stage, Timings};
use serde_json::{Map, Value, json};

use super::log::{milliseconds, seconds};
use super::report::Report;
use super::settings::Log;
use crate::runtime::CallRecord;

/// Adds the lines of a call's exchanges. `report` is about the last of them, if it was answered.
pub(super) fn write(
    out: &mut String,
    form: Log,
    id: &str,
    now: SystemTime,
    record: &CallRecord,
    report: Option<&Report>,
) {
    let exchanges = record.exchanges();
    let last = exchanges.len().saturating_sub(1);
    for (place, timings) in exchanges.iter().enumerate() {
        // What was refused before egress had looked at it went nowhere.
        let Some(details) = timings.details.as_deref().filter(|details| details.guest.is_some()) else { continue };
        let exchange = Exchange { id, now, timings, details, report: report.filter(|_| place == last) };
        match form {
            Log::Json => exchange.json(out),
            Log::Text => exchange.text(out),
            Log::Off => {}
        }
    }
}

struct Exchange<'e> {
    id: &'e str,
    now: SystemTime,
    timings: &'e Timings,
    details: &'e Details,
    report: Option<&'e Report>,
}

impl Exchange<'_> {
    fn json(&self, out: &mut String) {
        let Self { id, now, timings, details, report } = self;
        let Details { guest, path, generation, rule, credentials, failed } = details;
        let tokens: Map<String, Value> = report
            .iter()
            .flat_map(|report| report.tokens())
            .map(|(kind, count)| (kind.to_owned(), count.into()))
            .collect();
        let stages: Map<String, Value> = self.stages().map(|(stage, took)| (stage.to_owned(), took.into())).collect();
        let line = json!({
            "log": "egress",
            "time": seconds(*now),
            "id": id,
            "guest": guest.map(|guest| guest.to_string()),
            "origin": timings.origin,
            "path": path,
            "generation": generation,
            "rule": rule,
            "credentials": credentials,
            "proxy": timings.via.as_ref().map(|via| &via.proxy),
            "attempts": timings.attempts,
            "reused": timings.reused,
            "status": timings.status,
            "bytes": timings.received,
            "milliseconds": milliseconds(timings.elapsed()),
            "stages": stages,
            "error": failed.map(|(stage, kind)| format!("{stage}: {kind}")),
            "tokens": Some(tokens).filter(|tokens| !tokens.is_empty()),
        });
        let _ = writeln!(out, "{line}");
    }

    fn text(&self, out: &mut String) {
        let Self { id, now, timings, details, report } = self;
        let Details { guest, path, generation, rule, credentials, failed } = details;
        let origin = timings.origin.as_deref().unwrap_or("-");
        let status = timings.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let _ = write!(out, "{:.3} egress {origin}{} {status}", seconds(*now), path.escape_default());
        let _ = write!(out, " {}B {:.1}ms", timings.received, milliseconds(timings.elapsed()));
        let _ = write!(out, " id={id} guest={} generation={generation} rule={rule}", guest.unwrap_or_default());
        let _ =
            write!(out, " credentials={}", if credentials.is_empty() { "-".to_owned() } else { credentials.join(",") });
        let _ = write!(out, " proxy={}", timings.via.as_ref().map_or("-", |via| &via.proxy));
        let _ = write!(out, " attempts={} reused={}", timings.attempts, timings.reused);
        for (stage, took) in self.stages() {
            let _ = write!(out, " {stage}={took:.1}ms");
        }
        for (kind, count) in report.iter().flat_map(|report| report.tokens()) {
            let _ = write!(out, " {kind}={count}");
        }
        if let Some((stage, kind)) = failed {
            let _ = write!(out, " error=\"{stage}: {kind}\"");
        }
        out.push('\n');
    }

    /// Milliseconds of each stage that it passed.
    fn stages(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let spans = Stage::ALL.into_iter().filter_map(|stage| Some((stage.word(), self.timings.span(stage)?)));
        spans.map(|(word, span)| (word, milliseconds(span.end.saturating_sub(span.start))))
    }
}
