//! The life of a connection: how long it is kept idle, when it is used no more, and how often it is used.
//!
//! Asked when a connection has been opened and when it comes back; what runs on a connection is never cut by it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Isolation, Settings};
use crate::monitor::Closed;

/// How long a connection is used and kept.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// How long it is kept idle.
    pub(super) idle: Duration,
    /// When it is used no more.
    ends: Option<Instant>,
    /// Exchanges that it may still carry; absent where they are not counted.
    exchanges: Option<u64>,
    /// True once it has carried an exchange.
    is_used: bool,
    /// When it was last used, or opened.
    used: Instant,
}

/// For so long after its use a connection is taken to be there without a look at it.
const FRESH: Duration = Duration::from_millis(5);

impl Life {
    /// That of a connection which has just been opened.
    pub(super) fn new(settings: &Settings) -> Self {
        let ends = settings.max_lifetime.0.and_then(|life| Instant::now().checked_add(life));
        // What nobody else may have is not kept.
        let idle = match settings.isolation {
            Isolation::Shared | Isolation::Guest => settings.keepalive.0,
            Isolation::Call => Duration::ZERO,
        };
        let exchanges = match settings.force_close {
            true => Some(1),
            false => (settings.max_requests > 0).then_some(settings.max_requests),
        };
        Self { idle, ends, exchanges, is_used: false, used: Instant::now() }
    }

    /// When the connection is to be closed, if it becomes idle now; absent if it is used up already.
    pub(super) fn expires(&self, now: Instant) -> Option<Instant> {
        let expires = self.ends.map_or(now + self.idle, |ends| ends.min(now + self.idle));
        (self.exchanges != Some(0) && expires > now).then_some(expires)
    }

    /// True if it may carry one more exchange: its first in any case, for that is what it was opened for.
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        !self.is_used || (self.exchanges != Some(0) && self.ends.is_none_or(|ends| ends > now))
    }

    /// An exchange has ended on it.
    pub(super) fn rest(&mut self, now: Instant) {
        self.used = now;
    }

    /// True if it has lain idle for so long that the peer may have closed it unheard.
    pub(super) fn has_rested(&self) -> bool {
        self.used.elapsed() >= FRESH
    }

    /// Why it is used no more, once it has expired.
    pub(super) fn why(&self, now: Instant) -> Closed {
        if self.exchanges == Some(0) {
            Closed::Requests
        } else if self.ends.is_some_and(|ends| ends <= now) {
            Closed::Lifetime
        } else if self.idle.is_zero() {
            Closed::Policy
        } else {
            Closed::Idle
        }
    }

    pub(super) fn begin_exchange(&mut self) {
        self.is_used = true;
        self.exchanges = self.exchanges.map(|left| left.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::units::Timeout;

    #[tokio::test(start_paused = true)]
    async fn a_connection_lives_as_long_as_the_shorter_of_its_bounds() {
        let settings = Settings { max_lifetime: Timeout::seconds(20), ..Settings::default() };
        let (life, opened) = (Life::new(&settings), Instant::now());
        let after = |seconds| opened + Duration::from_secs(seconds);
        assert_eq!(life.expires(opened), Some(after(15)));
        assert_eq!(life.expires(after(10)), Some(after(20)));
        assert_eq!((life.expires(after(20)), life.expires(after(21))), (None, None));
        let endless = Life::new(&Settings { max_lifetime: Timeout::OFF, ..Settings::default() });
        assert_eq!(endless.expires(after(100_000)), Some(after(100_015)));
    }

    #[test]
    fn what_nobody_else_may_have_is_not_kept() {
        let life = Life::new(&Settings { isolation: Isolation::Call, ..Settings::default() });
        assert_eq!(life.expires(Instant::now()), None);
    }

    #[test]
    fn exchanges_are_counted_where_they_are_bounded() {
        let mut bounded = Life::new(&Settings { max_requests: 2, ..Settings::default() });
        let mut free = Life::new(&Settings::default());
        let mut kept = Vec::new();
        for _ in 0..3 {
            bounded.begin_exchange();
            free.begin_exchange();
            kept.push((bounded.expires(Instant::now()).is_some(), free.expires(Instant::now()).is_some()));
        }
        assert_eq!(kept, [(true, true), (false, true), (false, true)]);
    }
}
