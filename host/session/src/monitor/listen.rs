//! Who hears of signals: the monitors that an embedder lends, and the log.
//!
//! A signal is made only where somebody hears it: without a monitor, and without `monitor.signals = "all"`, what costs
//! an exchange is one load and one branch a signal. None is told under a lock of the pool or of the resolver.

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use lru::LruCache;
use serde::Deserialize;

use super::{About, Signal};
use crate::Session;
use crate::route::Origin;

/// Hears what happens in a session, as it happens.
///
/// It is called by the tasks that do the work, so it should be quick, and must not wait: hand over to a channel what takes
/// longer. Signals of one exchange come in their order, and so do those of one connection; between the two there is no
/// order, because a connection is opened by a task of its own. No lock of the session is held, so a monitor may ask for
/// its figures. A panic in it loses that one signal to it, is a warning once, and changes nothing else.
pub trait Monitor: Send + Sync + 'static {
    /// Something has happened.
    fn signal(&self, about: &About<'_>, signal: &Signal);
}

impl<F: Fn(&About<'_>, &Signal) + Send + Sync + 'static> Monitor for F {
    fn signal(&self, about: &About<'_>, signal: &Signal) {
        self(about, signal);
    }
}

impl Session {
    /// Has a monitor hear of everything that happens from now on, in every clone of this session and under every policy
    /// that comes. There may be several: each hears everything, in the order that they were added. It stays for as long
    /// as the session lives; one that holds a session itself keeps that alive.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use seaway_session::monitor::{About, Monitor, Signal};
    /// use seaway_session::{Destinations, Environment, Policy, Session, tls};
    ///
    /// /// Counts exchanges that ended without an answer.
    /// #[derive(Clone, Default)]
    /// struct Lost(Arc<AtomicU64>);
    ///
    /// impl Monitor for Lost {
    ///     fn signal(&self, _about: &About<'_>, signal: &Signal) {
    ///         if matches!(signal, Signal::Failed { .. } | Signal::Cancelled) {
    ///             self.0.fetch_add(1, Ordering::Relaxed);
    ///         }
    ///     }
    /// }
    ///
    /// let policy = Policy { tls: tls::Settings { roots: tls::Roots::Webpki, ..Default::default() }, ..Policy::default() };
    /// let lost = Lost::default();
    /// let session = Session::new(policy, &Environment::default(), Destinations::default())?.monitored(lost.clone());
    /// // A closure will do, too.
    /// let session = session.monitored(|about: &About<'_>, signal: &Signal| println!("{:?} {signal}", about.exchange));
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # use seaway_session::{Call, RequestBody};
    /// let request = http::Request::get("https://nobody.allowed.this").body(RequestBody::empty())?;
    /// assert!(session.send(request, Call::default()).await.is_err());
    /// assert_eq!(lost.0.load(Ordering::Relaxed), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn monitored(self, monitor: impl Monitor) -> Self {
        self.inner.counters.listeners.add(Arc::new(monitor));
        self
    }
}

/// `monitor.signals`: which signals are events of the log, at the level debug.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signals {
    /// None; nor is there a warning of a stream that is held back.
    Off,
    /// Failures, refusals, repeats, connections that failed, and streams that are held back.
    #[default]
    Errors,
    /// All.
    All,
}

impl Signals {
    /// The word of the policy file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Errors => "errors",
            Self::All => "all",
        }
    }
}

/// Somebody lent a monitor.
const MONITORS: u8 = 1;
/// The log hears failures.
const ERRORS: u8 = 2;
/// The log hears everything.
const EVERYTHING: u8 = 4;

/// Origins that are remembered as warned of; beyond them the oldest are warned of again.
const WARNED: NonZeroUsize = NonZeroUsize::new(1000).expect("1000 is not 0");

/// Who listens.
pub(crate) struct Listeners {
    /// What is heard at all: the one thing that is looked at where nobody listens.
    heard: AtomicU8,
    monitors: ArcSwap<Vec<Arc<dyn Monitor>>>,
    /// True once a monitor has panicked.
    panicked: AtomicBool,
    /// Origins whose streams are known to be held back.
    warned: Mutex<LruCache<Origin, ()>>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            heard: AtomicU8::new(0),
            monitors: ArcSwap::default(),
            panicked: AtomicBool::new(false),
            warned: Mutex::new(LruCache::new(WARNED)),
        }
    }
}

impl Listeners {
    pub(super) fn add(&self, monitor: Arc<dyn Monitor>) {
        self.monitors.rcu(|monitors| [&monitors[..], &[Arc::clone(&monitor)]].concat());
        self.heard.fetch_or(MONITORS, Ordering::Relaxed);
    }

    /// Obeys `monitor.signals`, for everything from now on.
    pub(crate) fn obey(&self, signals: Signals) {
        let log = match signals {
            Signals::Off => 0,
            Signals::Errors => ERRORS,
            Signals::All => ERRORS | EVERYTHING,
        };
        self.heard.fetch_and(MONITORS, Ordering::Relaxed);
        self.heard.fetch_or(log, Ordering::Relaxed);
    }

    /// True if signals that are no errors are heard.
    pub(crate) fn hear(&self) -> bool {
        self.heard.load(Ordering::Relaxed) & (MONITORS | EVERYTHING) != 0
    }

    /// True if errors are heard.
    pub(crate) fn hear_errors(&self) -> bool {
        self.heard.load(Ordering::Relaxed) != 0
    }

    /// True, once an origin, if the log is to warn of its streams.
    pub(crate) fn warns_of(&self, origin: &Origin) -> bool {
        let heard = self.heard.load(Ordering::Relaxed) & ERRORS != 0;
        heard && self.warned.lock().unwrap_or_else(PoisonError::into_inner).put(origin.clone(), ()).is_none()
    }

    /// Tells everybody who hears it.
    #[cold]
    pub(crate) fn tell(&self, about: About<'_>, signal: Signal) {
        let heard = self.heard.load(Ordering::Relaxed);
        if heard & MONITORS != 0 {
            for monitor in &**self.monitors.load() {
                self.hand_over(&**monitor, &about, &signal);
            }
        }
        if heard & EVERYTHING != 0 || (heard & ERRORS != 0 && signal.is_error()) {
            let About { exchange, connection, origin } = about;
            let origin = origin.map(tracing::field::display);
            tracing::debug!(exchange, connection, origin, "{signal}");
        }
    }

    /// The books of the session are kept by who tells, so nothing of a monitor's may unwind into it.
    fn hand_over(&self, monitor: &dyn Monitor, about: &About<'_>, signal: &Signal) {
        let told = catch_unwind(AssertUnwindSafe(|| monitor.signal(about, signal)));
        if told.is_err() && !self.panicked.swap(true, Ordering::Relaxed) {
            tracing::warn!("a monitor of the session panicked at the signal `{}`, which is lost to it", signal.word());
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Listeners").field("monitors", &self.monitors.load().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(signals: Signals, monitored: bool) -> (bool, bool) {
        let listeners = Listeners::default();
        if monitored {
            listeners.add(Arc::new(|_: &About<'_>, _: &Signal| {}));
        }
        listeners.obey(signals);
        (listeners.hear(), listeners.hear_errors())
    }

    #[test]
    fn nobody_hears_what_nobody_asked_for() {
        assert_eq!(heard(Signals::Off, false), (false, false));
        assert_eq!(heard(Signals::Errors, false), (false, true));
        assert_eq!(heard(Signals::All, false), (true, true));
        assert_eq!(heard(Signals::Off, true), (true, true));
    }

    #[test]
    fn a_panic_in_one_monitor_reaches_neither_the_next_nor_the_teller() {
        let (listeners, told) = (Listeners::default(), Arc::new(AtomicU8::new(0)));
        listeners.add(Arc::new(|_: &About<'_>, _: &Signal| panic!("a monitor's own")));
        let count = Arc::clone(&told);
        listeners.add(Arc::new(move |_: &About<'_>, _: &Signal| {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        for _ in 0..2 {
            listeners.tell(About::default(), Signal::Began);
        }
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_origin_is_warned_of_once_and_only_where_errors_are_heard() {
        let (listeners, origin) = (Listeners::default(), Origin::parse("https://a.example").unwrap());
        assert!(!listeners.warns_of(&origin));
        listeners.obey(Signals::Errors);
        assert!(listeners.warns_of(&origin) && !listeners.warns_of(&origin));
    }
}
