//! Who may share a connection, and what it has learnt of a server.
//!
//! Asked when the route is made, whose part the domain is, and by `tls`, which keeps what can be resumed apart by it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

/// Who may share a connection. TLS sessions are resumed within the same bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// All callers.
    Shared,
    /// The callers of one [`Domain`]: in Seaway's host, the calls of one component.
    #[default]
    Guest,
    /// Nobody: each request has a connection of its own, which is closed after it, and resumes nothing.
    Call,
}

impl fmt::Display for Isolation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Shared => "shared",
            Self::Guest => "guest",
            Self::Call => "call",
        })
    }
}

/// Callers that trust one another: under `pool.isolation = "guest"` only they share connections. The default is one
/// domain, which everybody is in who names no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(u64);

impl fmt::Display for Domain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Domain {
    /// A domain that no other equals, in this process.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The domain that a caller of this one is in for one request.
    pub(crate) fn under(self, isolation: Isolation) -> Self {
        match isolation {
            Isolation::Shared => Self::default(),
            Isolation::Guest => self,
            Isolation::Call => Self::unique(),
        }
    }
}
