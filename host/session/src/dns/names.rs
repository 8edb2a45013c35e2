//! What is known of names: answers, failures, and lookups under way.
//!
//! A lookup is a task of its own, so that it outlives the caller that began it: who asks meanwhile joins it, and its
//! answer is there for the next, also where everybody's deadline has passed. The tasks end with the resolver.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answer::Answer;
use super::failure::Failure;
use super::{Addresses, Settings};

/// What a lookup came to.
type Outcome = Result<Arc<Answer>, Arc<io::Error>>;

/// The names of one resolver.
#[derive(Debug, Default)]
pub(super) struct Names(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// Least recently used first.
    kept: LruCache<String, Known>,
    /// Lookups under way, which later callers join. Its end without an outcome means that its runtime has ended.
    asked: HashMap<String, watch::Receiver<Option<Outcome>>>,
    tasks: JoinSet<()>,
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Known {
    answer: Option<(Arc<Answer>, Instant)>,
    /// That of the newest lookup, if it failed. The answer before it stays, for `dns.stale_if_error`, unless a server said
    /// that the name or its addresses are gone.
    failure: Option<(Arc<io::Error>, Instant)>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { kept: LruCache::unbounded(), asked: HashMap::new(), tasks: JoinSet::new() }
    }
}

impl Names {
    /// What is known, or what `ask` finds out: once, for all who want to know at the same time.
    ///
    /// Cancel safe: the lookup goes on, and its outcome is kept.
    pub(super) async fn find<F>(
        &self,
        settings: &Settings,
        host: &str,
        ask: impl FnOnce(String) -> F,
    ) -> Result<Addresses, Arc<io::Error>>
    where
        F: Future<Output = io::Result<Answer>> + Send + 'static,
    {
        let mut asked = {
            let mut inner = lock(&self.0);
            if let Some(outcome) = inner.known(settings, host) {
                return outcome.map(|answer| answer.next());
            }
            match inner.asked.get(host).filter(|asked| asked.has_changed().is_ok()) {
                Some(asked) => asked.clone(),
                None => inner.ask(&self.0, settings, host, ask),
            }
        };
        match asked.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(outcome)) => outcome.as_ref().map(|answer| answer.next()).map_err(Arc::clone),
            Ok(None) | Err(_) => Err(Arc::new(io::Error::other("the lookup was given up"))),
        }
    }

    /// True if [`Names::find`] needs nobody to be asked: an answer, or a failure, is young enough.
    pub(super) fn knows(&self, settings: &Settings, host: &str) -> bool {
        lock(&self.0).known(settings, host).is_some()
    }

    /// The last answer, if it expired no longer than `dns.stale_if_error` ago.
    pub(super) fn stale(&self, settings: &Settings, host: &str) -> Option<Addresses> {
        let mut inner = lock(&self.0);
        let (answer, since) = inner.kept.get(host)?.answer.as_ref()?;
        let longest = settings.life(answer.ttl).unwrap_or_default() + settings.stale_if_error.0?;
        (since.elapsed() < longest).then(|| answer.next())
    }
}

impl Inner {
    /// What needs no asking: an answer, or a failure, that is young enough.
    fn known(&mut self, settings: &Settings, host: &str) -> Option<Outcome> {
        let Known { answer, failure } = self.kept.get(host)?;
        let young = |since: &Instant, life: Option<Duration>| life.is_some_and(|life| since.elapsed() < life);
        if let Some((answer, _)) = answer.as_ref().filter(|(answer, since)| young(since, settings.life(answer.ttl))) {
            return Some(Ok(Arc::clone(answer)));
        }
        let failure = failure.as_ref().filter(|(_, since)| young(since, settings.negative_ttl.0))?;
        Some(Err(Arc::clone(&failure.0)))
    }

    /// Starts a lookup.
    fn ask<F>(
        &mut self,
        names: &Arc<Mutex<Self>>,
        settings: &Settings,
        host: &str,
        ask: impl FnOnce(String) -> F,
    ) -> watch::Receiver<Option<Outcome>>
    where
        F: Future<Output = io::Result<Answer>> + Send + 'static,
    {
        let (told, asked) = watch::channel(None);
        let (names, host, entries) = (Arc::downgrade(names), host.to_owned(), settings.max_entries);
        self.asked.insert(host.clone(), asked.clone());
        let question = ask(host.clone());
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(async move {
            let outcome = question.await.map(Arc::new).map_err(Arc::new);
            book(&names, host, entries, &outcome);
            told.send_replace(Some(outcome));
        });
        asked
    }
}

/// Keeps what a lookup came to. The resolver may be gone.
fn book(names: &Weak<Mutex<Inner>>, host: String, entries: usize, outcome: &Outcome) {
    let Some(names) = names.upgrade() else { return };
    let mut inner = lock(&names);
    inner.asked.remove(&host);
    let Some(entries) = NonZeroUsize::new(entries) else { return inner.kept.clear() };
    inner.kept.resize(entries);
    let now = Instant::now();
    let known = inner.kept.get_or_insert_mut(host, Known::default);
    match outcome {
        Ok(answer) => *known = Known { answer: Some((Arc::clone(answer), now)), failure: None },
        Err(error) => {
            // A name that is gone is no error to stand in for (RFC 8767, section 4).
            known.answer.take_if(|_| Failure::of(error).is_some_and(Failure::is_final));
            known.failure = Some((Arc::clone(error), now));
        }
    }
}

fn lock(names: &Mutex<Inner>) -> std::sync::MutexGuard<'_, Inner> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
