//! `--timings`: what a call took, drawn as a waterfall.
//!
//! Runs when the call is over, well or not, and goes to stderr. One bar a stage, all on one scale; readable without
//! colour and without a wide terminal.

use std::fmt::Write as _;
use std::time::Duration;

use seaway_session::{Stage, Timings, Via};

use crate::runtime::CallRecord;

/// Columns of the widest bar.
const WIDTH: usize = 44;

/// Draws all exchanges of a call.
pub(super) fn draw(record: &CallRecord) -> String {
    let exchanges = record.exchanges();
    let mut out = String::new();
    if exchanges.is_empty() {
        let _ = writeln!(out, "timings: nothing was sent");
    }
    for timings in &exchanges {
        exchange(&mut out, timings, record.queued());
    }
    out
}

/// A bar: what it is called, when it begins and ends.
struct Bar {
    name: &'static str,
    start: Duration,
    end: Duration,
}

fn exchange(out: &mut String, timings: &Timings, queued: Duration) {
    let bars = bars(timings, queued);
    let total = bars.iter().map(|bar| bar.end).max().unwrap_or_default();
    let origin = timings.origin.as_deref().unwrap_or("no destination");
    let status = timings.status.map_or_else(|| "no answer".to_owned(), |status| format!("status {status}"));
    let connection = match (timings.reused, timings.span(Stage::Pool)) {
        (true, _) => "reused connection",
        (false, Some(_)) => "new connection",
        (false, None) => "no connection",
    };
    let via = timings.via.as_ref().map_or_else(String::new, via);
    let _ = writeln!(out, "timings: {origin}  {status}  {connection}{via}  {} bytes", timings.received);
    for Bar { name, start, end } in bars {
        let from = column(start, total);
        // Something that happened shows, however short it was.
        let to = column(end, total).max(from + 1).min(WIDTH.max(from + 1));
        let bar = "█".repeat(to - from);
        let _ = writeln!(out, "  {name:<10} {:>9}  {}{bar}", milliseconds(end.saturating_sub(start)), " ".repeat(from));
    }
    let _ = writeln!(out, "  {:<10} {:>9}", "total", milliseconds(total));
}

/// `  via http://proxy.corp.example:3128 (status 200)`.
fn via(via: &Via) -> String {
    let Via { proxy, status, schemes: _ } = via;
    let status = status.map_or_else(String::new, |status| format!(" (status {status})"));
    format!("  via {proxy}{status}")
}

/// The stages as a person thinks of them. The session counts connecting as part of the wait for a connection; here the
/// wait ends where connecting begins.
fn bars(timings: &Timings, queued: Duration) -> Vec<Bar> {
    let span = |stage| timings.span(stage).map(|span| (span.start + queued, span.end + queued));
    let connecting = [Stage::Dns, Stage::Tcp, Stage::Proxy, Stage::Tls];
    let opened = connecting.into_iter().filter_map(span).map(|(start, _)| start).min();
    let leased = opened.or_else(|| span(Stage::Pool).map(|(_, end)| end)).unwrap_or(queued);
    let mut bars = vec![Bar { name: "queue", start: Duration::ZERO, end: leased }];
    let named = [
        ("dns", Stage::Dns),
        ("tcp", Stage::Tcp),
        ("proxy", Stage::Proxy),
        ("tls", Stage::Tls),
        ("first byte", Stage::Wire),
        ("body", Stage::Body),
    ];
    bars.extend(named.into_iter().filter_map(|(name, stage)| span(stage).map(|(start, end)| Bar { name, start, end })));
    bars
}

fn column(at: Duration, total: Duration) -> usize {
    let share = at.as_nanos() * WIDTH as u128 / total.as_nanos().max(1);
    usize::try_from(share).unwrap_or(WIDTH).min(WIDTH)
}

/// `0.4 ms`, `12.3 ms`, `1.25 s`.
pub(super) fn milliseconds(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_lies_where_its_time_does() {
        let total = Duration::from_millis(100);
        assert_eq!(column(Duration::ZERO, total), 0);
        assert_eq!(column(Duration::from_millis(50), total), WIDTH / 2);
        assert_eq!(column(total, total), WIDTH);
        assert_eq!(column(Duration::ZERO, Duration::ZERO), 0);
    }

    #[test]
    fn a_proxy_is_shown_with_what_it_said() {
        let proxy = "http://p:3128".to_owned();
        let said = Via { proxy, status: Some(407), schemes: Vec::new() };
        assert_eq!(via(&said), "  via http://p:3128 (status 407)");
        assert_eq!(via(&Via { status: None, ..said }), "  via http://p:3128");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(milliseconds(Duration::from_micros(420)), "0.4 ms");
        assert_eq!(milliseconds(Duration::from_millis(1250)), "1.25 s");
    }
}
