//! The servers of `dns.servers`, asked in the order that they are written in.
//!
//! Runs in the task of a lookup. A server that fails (SERVFAIL, REFUSED, no answer at all) makes way for the next one at
//! once, and one that is silent gets company after its share of `dns.timeout`; whoever answers first is believed. That
//! there is no such name, or that it has no address, is an answer. A server that was silent is asked last for a while, so
//! that only the first of many lookups waits for a dead one.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::Name;
use tokio::time::{Instant, timeout};

use super::answer::Answer;
use super::failure::Failure;
use super::{Family, Servers, question};

/// The longest that a silent server is waited for before the next one is asked as well.
const SHARE: Duration = Duration::from_secs(1);
/// How long a server that was silent is asked last.
const LAST: Duration = Duration::from_secs(30);
/// A server has so long, or twice `dns.timeout` where that is longer: who asks again meanwhile joins the lookup, and who
/// waits from its start is ended by the deadline that the policy names.
const PATIENCE: Duration = Duration::from_secs(10);

/// Servers that stand in for one another.
#[derive(Debug)]
pub(super) struct Failover(Vec<Server>);

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// When it last let its share pass, if it has not answered since.
    silent: Mutex<Option<Instant>>,
}

impl Server {
    /// Puts the question to this one.
    async fn put<'s>(&'s self, name: &Name, family: Family, patience: Duration) -> (&'s Self, Result<Answer, Failure>) {
        let answer = timeout(patience, question::ask(self.address, name, family, patience)).await;
        (self, answer.unwrap_or_else(|_| Err(Failure::new(self.address, family, NetError::Timeout))))
    }

    fn was_silent(&self) -> bool {
        let silent = *self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.is_some_and(|since| since.elapsed() < LAST)
    }

    fn is_silent(&self, silent: bool) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = silent.then(Instant::now);
    }
}

impl Failover {
    pub(super) fn new(servers: &Servers) -> Self {
        Self(servers.iter().map(|address| Server { address: *address, silent: Mutex::default() }).collect())
    }

    /// The addresses of a name, which is absolute: no list of domains is searched.
    ///
    /// # Errors
    /// What a server says, or the last one that says nothing.
    ///
    /// Cancel safe.
    pub(super) async fn ask(&self, host: &str, family: Family, deadline: Duration) -> io::Result<Answer> {
        let mut name = Name::from_ascii(host).map_err(|_| io::Error::other("DNS has no such names"))?;
        name.set_fqdn(true);
        let patience = deadline.saturating_mul(2).max(PATIENCE);
        let share = (deadline / u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1)).min(SHARE);
        let put = |server| Server::put(server, &name, family, patience);
        let mut waiting = self.in_order();
        let Some(mut newest) = waiting.next() else { return Err(io::Error::other("there is no server to ask")) };
        let mut asked = FuturesUnordered::from_iter([put(newest)]);
        let mut failed: Option<Failure> = None;
        loop {
            tokio::select! {
                biased;
                Some((server, outcome)) = asked.next() => {
                    server.is_silent(outcome.as_ref().is_err_and(Failure::is_silence));
                    match outcome {
                        Ok(answer) => return Ok(answer),
                        Err(failure) if failure.is_final() => return Err(io::Error::other(failure)),
                        Err(failure) => failed = Some(failed.into_iter().fold(failure, |later, earlier| earlier.or(later))),
                    }
                }
                () = tokio::time::sleep(share), if waiting.len() > 0 => newest.is_silent(true),
            }
            match (waiting.next(), failed.take()) {
                (Some(next), failure) => {
                    (newest, failed) = (next, failure);
                    asked.push(put(next));
                }
                (None, Some(failure)) if asked.is_empty() => return Err(io::Error::other(failure)),
                (None, failure) => failed = failure,
            }
        }
    }

    /// As they are written, but those that were silent of late behind the others.
    fn in_order(&self) -> std::vec::IntoIter<&Server> {
        let (silent, mut order): (Vec<_>, Vec<_>) = self.0.iter().partition(|server| server.was_silent());
        order.extend(silent);
        order.into_iter()
    }
}
