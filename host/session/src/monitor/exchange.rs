//! What an exchange, or the opening of a connection, tells of itself.
//!
//! Called along the path, beside the books that [`Exchange`] keeps there. Whatever begins is told to have ended, once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use tracing::level_filters::LevelFilter;

use super::{About, Closed, Counters, Exchange, Handshake, Lookup, Record, Retry, Signal};
use crate::error::Error;
use crate::pool::SlotId;
use crate::proxy::Proxy;
use crate::route::{Origin, Route};
use crate::stage::Stage;

/// Along the path of an exchange.
impl Exchange {
    /// It goes there.
    pub(crate) fn heads_for(&mut self, route: &Arc<Route>) {
        self.record.update(|timings| timings.via = route.proxy().map(Proxy::via));
        if self.counters.listeners.hear() || LevelFilter::current() >= LevelFilter::DEBUG {
            self.route = Some(Arc::clone(route));
        }
    }

    /// It has a connection, which an earlier exchange may have opened.
    pub(crate) fn rides_on(&self, connection: SlotId, reused: bool) {
        self.connection.store(connection.number(), Ordering::Relaxed);
        self.reused.store(reused, Ordering::Relaxed);
        if reused {
            self.counters.add(|tally| &tally.reused);
            self.record.update(|timings| timings.reused = true);
            self.tell(Signal::Reused);
        }
    }

    /// The request goes to a connection, or to a transport; its body is whole, and so long, or it is streamed.
    pub(crate) fn sends(&self, whole: Option<u64>) {
        let attempts = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        self.record.update(|timings| timings.attempts = attempts);
        self.tell(Signal::RequestHead);
        if let Some(bytes) = whole {
            self.tell(Signal::RequestEnd { bytes });
        }
    }

    /// The head of the answer has come.
    pub(crate) fn answered(&self, status: StatusCode) {
        let status = status.as_u16();
        self.record.update(|timings| timings.status = Some(status));
        self.tell(Signal::FirstByte { status, waited: self.waited() });
    }

    /// How long the head of the answer took, from when the request went to the connection.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    /// The body is over, well or given up.
    pub(crate) fn body_ended(&self, bytes: u64, whole: bool) {
        self.told.store(true, Ordering::Relaxed);
        self.tell(Signal::BodyEnd { bytes, whole });
    }

    /// It failed; passes the error on.
    pub(crate) fn failed(&self, error: Error) -> Error {
        self.told.store(true, Ordering::Relaxed);
        let error = error.after_attempts(self.attempts.load(Ordering::Relaxed));
        let (stage, kind) = (error.stage(), error.kind());
        self.counters.failed(stage, kind.word());
        self.record.fails(&error);
        self.tell(Signal::Failed { stage, kind, request_sent: error.request_sent() });
        error
    }

    /// The same; adds where it was going, and after how long.
    pub(crate) fn failed_at(&self, origin: &Origin, error: Error) -> Error {
        self.failed(error.at(origin, self.arrived.elapsed()))
    }

    /// Its request is sent again, on another connection or after a status.
    pub(crate) fn repeats(&self, kind: Retry, attested: bool) {
        // What was never sent is not sent again.
        if kind != Retry::Unsent {
            self.counters.add(|tally| &tally.retried);
        }
        self.tell(Signal::Retry { kind, attested });
    }

    /// Its stream of events was held back on its way; true if that is to be a warning.
    pub(crate) fn held_back(&self, silence: Duration, events: u64, origin: &Origin) -> bool {
        self.counters.add(|tally| &tally.buffered);
        let about = About { origin: Some(origin), ..self.about() };
        self.counters.tell(about, Signal::BufferedStream { silence, events });
        self.counters.listeners.warns_of(origin)
    }

    /// What tells of it where it cannot go itself; absent where nobody hears.
    pub(crate) fn teller(&self) -> Option<Teller> {
        let Self { number, counters, route, .. } = self;
        counters.listeners.hear().then(|| Teller {
            number: *number,
            connection: self.connection.load(Ordering::Relaxed),
            counters: Arc::clone(counters),
            route: route.clone(),
        })
    }

    /// A stage has ended.
    pub(super) fn reached(&self, stage: Stage, took: Duration, failed: bool) {
        match stage {
            Stage::Wire => {
                self.waited.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            Stage::Tcp if !failed => self.tell(Signal::Tcp { took }),
            Stage::Proxy if self.counters.listeners.hear() => {
                let timings = self.record.timings();
                let status = timings.and_then(|timings| timings.via?.status);
                if !failed || status.is_some() {
                    self.tell(Signal::Proxy { status, took });
                }
            }
            Stage::Egress
            | Stage::Credentials
            | Stage::Pool
            | Stage::Dns
            | Stage::Tcp
            | Stage::Proxy
            | Stage::Tls
            | Stage::Body => {}
        }
    }

    pub(crate) fn tell(&self, signal: Signal) {
        self.counters.tell(self.about(), signal);
    }

    fn about(&self) -> About<'_> {
        about(self.number, self.connection.load(Ordering::Relaxed), self.route.as_deref())
    }

    /// For the fields of a span.
    pub(crate) fn origin(&self) -> Option<impl fmt::Display> {
        self.route.as_deref().map(Route::origin)
    }

    /// For the fields of a span: which attempt is being made.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed).max(1)
    }

    /// For the fields of a span.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused.load(Ordering::Relaxed)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// While a connection is opened.
impl Exchange {
    /// The opening of a connection for an exchange, by its number. It has a record of its own.
    pub(crate) fn opening(number: u64, connection: SlotId, route: &Arc<Route>, counters: &Arc<Counters>) -> Self {
        let mut opening = Self::numbered(number, Record::new(), counters);
        *opening.connection.get_mut() = connection.number();
        *opening.told.get_mut() = true;
        opening.heads_for(route);
        opening.tell(Signal::Opening);
        opening
    }

    /// Whether the addresses are known.
    pub(crate) fn looks_up(&self, lookup: Lookup) {
        self.record.update(|timings| timings.lookup = Some(lookup));
        match lookup {
            Lookup::Hit => self.tell(Signal::DnsHit),
            Lookup::Miss => {
                self.tell(Signal::DnsMiss);
                self.tell(Signal::DnsStart);
            }
        }
    }

    /// The handshake with the origin is done.
    pub(crate) fn shook_hands(&self, handshake: Handshake) {
        let mut took = Duration::ZERO;
        self.record.update(|timings| {
            timings.handshake = Some(handshake);
            took = timings.span(Stage::Tls).map(|span| span.end - span.start).unwrap_or_default();
        });
        self.tell(Signal::Tls { handshake, took });
    }

    /// The connection is open.
    pub(crate) fn opened(&self) {
        self.tell(Signal::Opened { took: self.arrived.elapsed() });
    }

    /// It could not be opened.
    pub(crate) fn could_not_open(&self, error: &Error) {
        let (stage, kind) = (error.stage(), error.kind());
        self.tell(Signal::OpeningFailed { stage, kind, took: self.arrived.elapsed() });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !*self.told.get_mut() {
            self.tell(Signal::Cancelled);
        }
    }
}

/// Tells of an exchange from another task.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    number: u64,
    connection: u64,
    counters: Arc<Counters>,
    route: Option<Arc<Route>>,
}

impl Teller {
    pub(crate) fn tell(&self, signal: Signal) {
        self.counters.tell(about(self.number, self.connection, self.route.as_deref()), signal);
    }
}

fn about(exchange: u64, connection: u64, route: Option<&Route>) -> About<'_> {
    let connection = Some(connection).filter(|number| *number > 0);
    About { exchange: Some(exchange), connection, origin: route.map(Route::origin) }
}

/// What is about no single exchange.
impl Counters {
    pub(crate) fn tell(&self, about: About<'_>, signal: Signal) {
        let heard = if signal.is_error() { self.listeners.hear_errors() } else { self.listeners.hear() };
        if heard {
            self.listeners.tell(about, signal);
        }
    }

    /// Egress refuses, or would refuse, a destination by the rules of this key.
    pub(crate) fn denied(&self, origin: &Origin, rule: &'static str, enforced: bool) {
        self.add(|tally| &tally.denied);
        self.tell(About { origin: Some(origin), ..About::default() }, Signal::Denied { rule, enforced });
    }

    /// The pool lets go of a connection.
    pub(crate) fn closed(&self, connection: SlotId, route: &Route, reason: Closed) {
        self.add(|tally| &tally.closed[reason.index()]);
        let about = About { exchange: None, connection: Some(connection.number()), origin: Some(route.origin()) };
        if let Closed::Evicted(reason) = reason {
            self.tell(about, Signal::Evicted { reason });
        }
        self.tell(about, Signal::Closed { reason });
    }

    fn failed(&self, stage: Stage, kind: &'static str) {
        let mut failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *failed.entry((stage, kind)).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::monitor::listen::Signals;

    fn told(work: impl FnOnce(&Arc<Counters>)) -> Vec<String> {
        let (counters, heard) = (Arc::<Counters>::default(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&heard);
        counters
            .listeners
            .add(Arc::new(move |_: &About<'_>, signal: &Signal| kept.lock().unwrap().push(signal.to_string())));
        work(&counters);
        heard.lock().unwrap().clone()
    }

    #[test]
    fn a_repeat_is_told_and_counted() {
        let signals = told(|counters| {
            let exchange = Exchange::begin(Record::default(), counters);
            exchange.repeats(Retry::Stale, true);
            exchange.repeats(Retry::Status(503), false);
            exchange.body_ended(0, true);
            assert_eq!(counters.figures().retried, 2);
        });
        let expected = [
            "began",
            "retry kind=stale attested=true",
            "retry kind=status attested=false",
            "body_end bytes=0 whole=true",
        ];
        assert_eq!(signals, expected);
    }

    #[test]
    fn what_has_not_ended_was_cancelled() {
        let signals = told(|counters| drop(Exchange::begin(Record::default(), counters)));
        assert_eq!(signals, ["began", "cancelled"]);
    }

    #[test]
    fn numbers_are_not_shared() {
        let counters = Arc::<Counters>::default();
        counters.listeners.obey(Signals::Off);
        let number = || Exchange::begin(Record::default(), &counters).number();
        let mut numbers: Vec<u64> = (0..4)
            .flat_map(|_| {
                let ours = number();
                [ours, std::thread::scope(|scope| scope.spawn(number).join().unwrap())]
            })
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 8);
        assert_eq!(counters.figures().exchanges, 8);
    }
}
