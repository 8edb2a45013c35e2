//! `retry`: what is sent again and what never is, by the origin's own books.

mod stale;
mod race;
mod restart;
mod status;

use std::collections::BTreeMap;

use seaway_tests::answer::Script;
use seaway_tests::ledger::Ledger;
use seaway_tests::origin::Origin;
use tokio::runtime::{Builder, Runtime};

/// A runtime beside the test's own, so that an origin acts while the test's thread stands still.
fn elsewhere() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread can be started")
}

/// An origin on that runtime.
fn plain(runtime: &Runtime, script: impl Into<Script>) -> Origin {
    runtime.block_on(Origin::plain(script))
}

/// The targets that came more than once, and how often.
fn repeated(ledger: &Ledger) -> Vec<(&str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for target in ledger.targets() {
        *counts.entry(target).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).collect()
}
