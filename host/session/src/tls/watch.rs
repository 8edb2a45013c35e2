//! Whether the files of `[tls]` have changed since they were read.
//!
//! Asked by requests, at most once a second, so that no task has to sleep for it. Files are looked at by name, and links
//! are followed: a rotated mount of Kubernetes is another file under the same name.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::policy::Stamp;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The files, and what they looked like.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// As they were when they were read.
    read: Vec<Option<Stamp>>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    looked: Instant,
    /// One a file; absent where it could not be looked at.
    stamps: Vec<Option<Stamp>>,
}

impl Watch {
    /// Looks at the files. To be called before they are read: what changes meanwhile is found by the next look.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let read = look(&files);
        let seen = Seen { looked: Instant::now(), stamps: read.clone() };
        Self { files, read, seen: Mutex::new(seen) }
    }

    /// True if the files are there, and what they were when they were read.
    pub(super) fn is_as_read(&self) -> bool {
        self.read.iter().all(Option::is_some) && look(&self.files) == self.read
    }

    /// True if it is time to look again.
    pub(super) fn is_due(&self) -> bool {
        !self.files.is_empty() && self.seen.try_lock().is_ok_and(|seen| seen.looked.elapsed() >= LOOK)
    }

    /// True once for each change. While somebody looks, nobody else does.
    pub(super) fn changed(&self) -> bool {
        if self.files.is_empty() {
            return false;
        }
        let Ok(mut seen) = self.seen.try_lock() else { return false };
        if seen.looked.elapsed() < LOOK {
            return false;
        }
        let stamps = look(&self.files);
        let changed = stamps != seen.stamps;
        *seen = Seen { looked: Instant::now(), stamps };
        changed
    }
}

fn look(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| std::fs::metadata(file).ok().map(|metadata| Stamp::of(&metadata))).collect()
}
