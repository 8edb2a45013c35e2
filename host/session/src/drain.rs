//! The end of a session that others still use: what runs may end, what waits is answered, nothing new begins.
//!
//! Beside the path. Every connection says goodbye (close_notify and FIN) as its last exchange ends, or when the grace does;
//! once draining has ended, no descriptor of the session's is open.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::Session;
use crate::error::{Error, Kind};
use crate::policy::units::Timeout;
use crate::stage::Stage;

/// `[drain]`: how a session ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long exchanges may run on; what is left then is cut. Default 30 s; `"off"`: until the last has ended.
    pub grace: Timeout,
    /// What becomes of requests that wait for a connection. Default refuse.
    pub queued: Queued,
}

/// What becomes of requests that wait for a connection when draining begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Queued {
    /// They fail at once: nothing of them was sent, and somebody else may take them.
    #[default]
    Refuse,
    /// They are served, within the grace.
    Finish,
}

impl Queued {
    /// The word as the file writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Finish => "finish",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { grace: Timeout::seconds(30), queued: Queued::Refuse }
    }
}

/// How far a session is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes requests.
    Open,
    /// It takes none, and what runs may end.
    Draining(Queued),
    /// What still ran was cut.
    Cut,
}

impl Phase {
    /// True if no connection is opened any more.
    pub(crate) fn opens_nothing(self) -> bool {
        match self {
            Self::Open | Self::Draining(Queued::Finish) => false,
            Self::Draining(Queued::Refuse) | Self::Cut => true,
        }
    }
}

/// What draining came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Requests that waited for a connection, and were refused.
    pub refused: usize,
    /// Connections that were cut while they were in use.
    pub cut: usize,
}

impl Session {
    /// Ends the session, for every clone of it, as `[drain]` says: requests that come are refused, idle connections close,
    /// and what runs may end within `drain.grace`. Ready once the last descriptor has closed.
    ///
    /// What a lent transport carries is its own business: nothing new goes to it, and it is not waited for.
    ///
    /// Cancel safe: what has been begun goes on without an end to its grace, and may be waited for again.
    pub async fn drain(&self) -> Drained {
        let settings = self.policy().drain;
        let ends = settings.grace.0.and_then(|grace| Instant::now().checked_add(grace));
        let refused = self.inner.pool.stop(Phase::Draining(settings.queued));
        let emptied = self.inner.pool.emptied();
        let in_time = match ends {
            Some(ends) => timeout_at(ends, emptied).await.is_ok(),
            None => {
                emptied.await;
                true
            }
        };
        match in_time {
            true => Drained { refused, cut: 0 },
            false => {
                let Drained { refused: waited, cut } = self.close().await;
                Drained { refused: refused + waited, cut }
            }
        }
    }

    /// Ends the session at once, for every clone of it: what runs is cut, and fails with [`Kind::Draining`]. Ready once the
    /// last descriptor has closed.
    pub async fn close(&self) -> Drained {
        let pool = &self.inner.pool;
        let cut = pool.in_use();
        let refused = pool.stop(Phase::Cut);
        // The connections' tasks need a moment to end; one that hangs is not waited for.
        drop(tokio::time::timeout(GOODBYE, pool.emptied()).await);
        Drained { refused, cut }
    }
}

/// How long the tasks of connections that were cut may take to end.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a request is told that comes, or waits, while the session ends.
pub(crate) fn refused() -> Error {
    Error::new(Stage::Pool, Kind::Draining, "the session is draining and takes no further request")
}

/// What an exchange is told that the end of the grace cut.
pub(crate) fn cut(stage: Stage, request_sent: bool) -> Error {
    let error = Error::new(stage, Kind::Draining, "the session ended before the exchange had (`drain.grace`)");
    if request_sent { error.after_sending() } else { error }
}
