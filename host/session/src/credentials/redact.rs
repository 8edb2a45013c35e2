//! What a guest may not say itself: headers that carry keys, unless a placeholder stands in them.
//!
//! Runs first in its stage. A key that follows a redirect to somebody else, or that the guest was tricked into sending,
//! ends here.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::find;
use crate::monitor::Header;

/// The headers of `monitor.redact`.
#[derive(Debug)]
pub(super) struct Redact(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    name: HeaderName,
    /// True once a warning has named it.
    warned: AtomicBool,
}

impl Redact {
    pub(super) fn new(names: &[Header]) -> Self {
        let watched = names.iter().map(|Header(name)| Watched { name: name.clone(), warned: AtomicBool::new(false) });
        Self(watched.collect())
    }

    /// Takes out the values without a placeholder. A warning names each header once, and never a value.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        // Most heads have none of them: one look at each name costs less than a search for each that is watched.
        if !headers.keys().any(|name| self.0.iter().any(|watched| watched.name == name)) {
            return;
        }
        for Watched { name, warned } in &self.0 {
            let own = |value: &HeaderValue| find(value.as_bytes()).is_none();
            if !headers.get_all(name).iter().any(own) {
                continue;
            }
            let kept: Vec<HeaderValue> = headers.get_all(name).iter().filter(|value| !own(value)).cloned().collect();
            headers.remove(name);
            for value in kept {
                headers.append(name, value);
            }
            if !warned.swap(true, Ordering::Relaxed) {
                let what = "a key that the guest set itself was taken out; write a placeholder in its place";
                tracing::warn!(header = %name, "{what}");
            }
        }
    }
}
