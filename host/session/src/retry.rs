//! `[retry]`: when a request is sent again, and never silently.
//!
//! Runs around `pool` and `wire`, before a byte of the answer has reached the caller. There are three reasons: a connection
//! that was used before ended under the request and nothing of it was taken, a server of HTTP/2 says that it has not looked
//! at it, or the answer has a status for which the operator wants a repeat. Each repeat is counted, recorded and told. No request whose connection may have carried it is
//! sent again for the first reason, unless its method is idempotent (RFC 9110, section 9.2.2); and none whose body is not
//! at hand.

mod after;
mod kept;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{Instant, Sleep};
use tower::retry::backoff::{Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _};
use tower::retry::budget::{Budget as _, TpsBudget};
use tower::util::rng::HasherRng;

use crate::body;
use crate::error::{Error, Kind};
use crate::monitor::{Exchange, Retry};
use crate::policy::units::{Share, Size};
use crate::policy::{self, Policy};
use crate::pool::Lease;
use crate::stage::Stage;
use crate::wire::{Ending, Outgoing, Sent, WireBody};
use kept::Kept;
pub(crate) use kept::Memory;

/// `[retry]`: when a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whose connection had been used before and ended before a byte of the answer. Default attested.
    pub stale: Stale,
    /// Statuses of answers after which the request is sent again, whatever its method; `"off"`, the default, for none. The
    /// operator says by it that a server that answers so has not done what it was asked: a status that may come after
    /// the work, such as 502 or 504 of a gateway, has it done and billed twice.
    pub status: Statuses,
    /// How often one request is sent again because of `status`, at most. Default 2.
    pub max: u32,
    /// Repeats because of `status`, as a share of the exchanges of the last ten seconds; one a second is always allowed.
    /// Default 20%. All exchanges under the same share draw on one budget, and a swap of the policy keeps it.
    pub budget: Share,
    /// The largest request body that is held until the first byte of the answer, so that it can be sent again. Streamed
    /// bodies up to this are collected before they are sent. Default 1 MiB.
    pub max_body: Size,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stale: Stale::Attested,
            status: Statuses::default(),
            max: 2,
            budget: Share::percent(20),
            max_body: Size::mib(1),
        }
    }
}

/// Which requests are sent again when a connection that was used before ends before a byte of their answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stale {
    /// Those of which the kernel attests that the peer took no byte (Linux only), and those of an idempotent method.
    Attested,
    /// Those of an idempotent method.
    Idempotent,
    /// None.
    Off,
}

impl fmt::Display for Stale {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Attested => "attested",
            Self::Idempotent => "idempotent",
            Self::Off => "off",
        })
    }
}

/// Statuses of answers; none is `"off"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "StatusesText")]
pub struct Statuses(Vec<StatusCode>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "`\"off\"`, or a list of statuses")]
enum StatusesText {
    Word(String),
    List(Vec<i64>),
}

impl TryFrom<StatusesText> for Statuses {
    type Error = String;

    fn try_from(text: StatusesText) -> Result<Self, String> {
        let status = |number: i64| {
            let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
            let status = status.filter(|status| status.is_client_error() || status.is_server_error());
            status.ok_or_else(|| format!("{number} is not the status of an error, 400 to 599"))
        };
        match text {
            StatusesText::Word(word) if word == "off" => Ok(Self::default()),
            StatusesText::Word(word) => Err(format!("`{word}` is neither \"off\" nor a list of statuses")),
            StatusesText::List(list) if list.is_empty() => Err("the list is empty; write \"off\"".to_owned()),
            StatusesText::List(list) => list.into_iter().map(status).collect::<Result<_, _>>().map(Self),
        }
    }
}

impl fmt::Display for Statuses {
    /// As the policy file writes it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [] => out.write_str("\"off\""),
            list => {
                let list: Vec<&str> = list.iter().map(StatusCode::as_str).collect();
                write!(out, "[{}]", list.join(", "))
            }
        }
    }
}

/// Refuses what contradicts itself.
///
/// # Errors
/// A `retry.max` of zero.
pub(crate) fn check(settings: &Settings) -> Result<(), policy::Error> {
    match settings.max {
        0 => Err(policy::Error::key("retry.max", "is zero; `retry.status = \"off\"` repeats nothing")),
        _ => Ok(()),
    }
}

/// How many repeats there may be beside the exchanges, over all of a session.
#[derive(Debug)]
pub(crate) struct Budget(TpsBudget);

/// For so long an exchange counts.
const WINDOW: Duration = Duration::from_secs(10);
/// Repeats a second that are allowed without an exchange: who sends little may repeat, too.
const LEAST: u32 = 1;

impl Budget {
    fn new(share: Share) -> Self {
        Self(TpsBudget::new(WINDOW, LEAST, f32::from(share.hundredths()) / 100.0))
    }
}

/// The budgets of a policy, one a share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budgets(BTreeMap<Share, Arc<Budget>>);

impl Budgets {
    /// Those that the policy and its origins name; what `previous` has counted stays.
    pub(crate) fn of(policy: &Policy, previous: Option<&Self>) -> Self {
        let all = std::iter::once(policy).chain(policy.origins.values());
        let budget = |share| {
            let known = previous.and_then(|previous| previous.0.get(&share)).cloned();
            (share, known.unwrap_or_else(|| Arc::new(Budget::new(share))))
        };
        Self(all.map(|policy| budget(policy.retry.budget)).collect())
    }

    pub(crate) fn get(&self, share: Share) -> Option<&Budget> {
        self.0.get(&share).map(|budget| &**budget)
    }
}

/// How often a server may say that it has not looked at a request (HTTP/2's GOAWAY and REFUSED_STREAM).
const UNSEEN: u32 = 32;

/// What an exchange goes on with.
pub(crate) enum Next {
    /// The answer that the caller gets.
    Answer(Response<Incoming>, Lease),
    /// The request, to be sent on another connection.
    Again(Outgoing),
}

/// The attempts of one exchange.
pub(crate) struct Attempts<'a> {
    policy: &'a Policy,
    budget: Option<&'a Budget>,
    exchange: &'a Exchange,
    /// How often because of a status.
    refused: u32,
    /// How often because a server had not looked at it.
    unseen: u32,
    backoff: Option<Box<ExponentialBackoff>>,
    /// Until when the next attempt waits.
    rests: Option<Pin<Box<Sleep>>>,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(policy: &'a Policy, budgets: &'a Budgets, exchange: &'a Exchange) -> Self {
        let budget = budgets.get(policy.retry.budget).filter(|_| !policy.retry.status.0.is_empty());
        if let Some(Budget(budget)) = budget {
            budget.deposit();
        }
        Self { policy, budget, exchange, refused: 0, unseen: 0, backoff: None, rests: None }
    }

    /// What is to be held of a request that is about to be sent, where it could be sent again.
    pub(crate) fn keep(&self, request: &Outgoing, lease: &mut Lease) -> Option<Kept> {
        self.exchange.sends(request.body().length());
        let Settings { stale, status: _, max, budget: _, max_body } = &self.policy.retry;
        let stale = (lease.reused && *stale != Stale::Off) || lease.is_shared();
        let wanted = stale || (self.budget.is_some() && self.refused < *max);
        let WireBody::Full(body, _) = request.body() else { return None };
        let fits = body.as_ref().map_or(0, |body| body.len() as u64) <= max_body.0;
        (wanted && fits).then(|| Kept::of(request, body.clone(), lease.take_memory()))
    }

    /// Decides what follows an attempt; `kept` is what was held of the request.
    ///
    /// # Errors
    /// What the attempt failed with, where it is the last.
    pub(crate) fn weigh(
        &mut self,
        sent: Result<Sent, Error>,
        kept: Option<Kept>,
        mut lease: Lease,
    ) -> Result<Next, Error> {
        lease.judge(&sent, self.exchange);
        match (sent.map_err(|error| lease.explain(error))?, kept) {
            (Sent::Answered(answer), Some(kept)) if self.is_refusal(answer.status()) => {
                let Some(wait) = self.wait(&answer) else { return Ok(Next::Answer(answer, lease)) };
                let status = answer.status().as_u16();
                let attempt = self.repeat(Retry::Status(status), false);
                let origin = lease.route().map(|route| tracing::field::display(route.origin()));
                tracing::debug!(origin, status, attempt, ?wait, "the request is sent again: the status says so");
                body::forgo(answer, lease, self.policy);
                self.rests = Some(Box::pin(tokio::time::sleep(wait)));
                kept.again().map(Next::Again)
            }
            (Sent::Answered(answer), kept) => {
                kept.into_iter().for_each(|kept| lease.give_memory(kept.forget()));
                Ok(Next::Answer(answer, lease))
            }
            (Sent::NotSent(_), _) if !lease.reused && self.unseen >= UNSEEN => {
                let message = "the peer closes each connection before it takes a request";
                Err(lease.explain(Error::new(Stage::Wire, Kind::Terminated, message)))
            }
            (Sent::NotSent(request), _) => {
                self.unseen += u32::from(!lease.reused);
                Ok(Next::Again(request))
            }
            (Sent::Stale(Ending::Unwritten, _), Some(kept)) => {
                self.exchange.repeats(Retry::Unsent, false);
                kept.again().map(Next::Again)
            }
            (Sent::Stale(ending, _), Some(kept)) if self.may_repeat(ending, &kept) => {
                let attested = ending == Ending::Attested;
                let attempt = self.repeat(Retry::Stale, attested);
                let origin = lease.route().map(|route| tracing::field::display(route.origin()));
                tracing::debug!(origin, attested, attempt, "the request is sent again: its connection had ended");
                kept.again().map(Next::Again)
            }
            (Sent::Unseen(_), Some(kept)) if self.unseen < UNSEEN => {
                self.unseen += 1;
                let attempt = self.repeat(Retry::Unseen, false);
                let origin = lease.route().map(|route| tracing::field::display(route.origin()));
                tracing::debug!(origin, attempt, "the request is sent again: the server had not looked at it");
                kept.again().map(Next::Again)
            }
            (Sent::Stale(_, error) | Sent::Unseen(error), _) => Err(lease.explain(error)),
        }
    }

    /// Waits for as long as the next attempt is to come later.
    ///
    /// # Errors
    /// `total` passed meanwhile.
    pub(crate) async fn rest(&mut self) -> Result<(), Error> {
        match self.rests.take() {
            Some(rests) => self.exchange.within(Stage::Wire, rests.map(Ok)).await,
            None => Ok(()),
        }
    }

    fn may_repeat(&self, ending: Ending, request: &Kept) -> bool {
        let idempotent = request.method().is_idempotent();
        match (self.policy.retry.stale, ending) {
            (Stale::Off, _) => false,
            (Stale::Attested, Ending::Attested | Ending::Unwritten) => true,
            (Stale::Attested, Ending::Closed) | (Stale::Idempotent, _) => idempotent,
        }
    }

    fn is_refusal(&self, status: StatusCode) -> bool {
        let Settings { status: listed, max, .. } = &self.policy.retry;
        self.refused < *max && listed.0.contains(&status)
    }

    /// How long to wait before the request is sent again; absent where that would be too late, or too much for the
    /// budget: the answer is passed on at once.
    fn wait(&mut self, answer: &Response<Incoming>) -> Option<Duration> {
        let now = Instant::now();
        let wait = match after::retry_after(answer.headers(), SystemTime::now()) {
            Some(asked) => asked,
            None => self
                .backoff
                .get_or_insert_with(|| Box::new(backoff()))
                .next_backoff()
                .deadline()
                .saturating_duration_since(now),
        };
        let ends = now.checked_add(wait)?;
        let in_time = self.exchange.total.is_none_or(|total| ends < total.at);
        let allowed = in_time && self.budget.is_some_and(|Budget(budget)| budget.withdraw());
        self.refused += u32::from(allowed);
        allowed.then_some(wait)
    }

    /// Counts a repeat; the number of the attempt that follows.
    fn repeat(&self, kind: Retry, attested: bool) -> u32 {
        self.exchange.repeats(kind, attested);
        self.exchange.attempt() + 1
    }
}

/// The waits where the server names none: a quarter of a second and twice as long each time, each with up to half of it
/// added at random, so that those who were refused together do not come back together.
fn backoff() -> ExponentialBackoff {
    let (least, most) = (Duration::from_millis(250), Duration::from_secs(10));
    let maker = ExponentialBackoffMaker::new(least, most, 0.5, HasherRng::default());
    maker.expect("the bounds are in order").make_backoff()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn statuses_are_those_of_errors_or_off() {
        for (text, shown) in [("[429, 503, 529]", "[429, 503, 529]"), ("\"off\"", "\"off\"")] {
            assert_eq!(settings(&format!("status = {text}")).unwrap().status.to_string(), shown);
        }
        for (text, said) in [
            ("[200]", "200 is not the status of an error, 400 to 599"),
            ("[600]", "600 is not the status of an error"),
            ("[-1]", "-1 is not the status of an error"),
            ("[]", "the list is empty; write \"off\""),
            ("\"on\"", "`on` is neither \"off\" nor a list of statuses"),
            ("429", "`\"off\"`, or a list of statuses"),
        ] {
            let error = settings(&format!("status = {text}")).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn never_to_repeat_is_said_by_off() {
        assert!(check(&Settings::default()).is_ok());
        assert!(check(&Settings { max: 0, ..Settings::default() }).is_err());
    }

    /// One a second, and a fifth of what else there is; when the window has passed, both begin anew.
    #[tokio::test(start_paused = true)]
    async fn the_budget_is_a_share_of_the_exchanges() {
        let Budget(budget) = Budget::new(Share::percent(20));
        let spend = || std::iter::from_fn(|| budget.withdraw().then_some(())).count();
        assert_eq!(spend(), 10);
        (0..50).for_each(|_| budget.deposit());
        assert_eq!(spend(), 10);
        tokio::time::advance(WINDOW + Duration::from_secs(2)).await;
        assert_eq!(spend(), 10);
    }

    #[test]
    fn a_swap_keeps_what_was_spent() {
        let policy = Policy::default();
        let old = Budgets::of(&policy, None);
        let new = Budgets::of(&policy, Some(&old));
        let share = policy.retry.budget;
        assert!(Arc::ptr_eq(&old.0[&share], &new.0[&share]));
        let other = Policy { retry: Settings { budget: Share::percent(50), ..Settings::default() }, ..policy };
        assert!(Budgets::of(&other, Some(&old)).get(share).is_none());
    }

    /// A quarter, a half, a whole second, each with up to half of it added, and ten seconds in the end.
    #[tokio::test(start_paused = true)]
    async fn waits_double_and_are_scattered() {
        let mut backoff = backoff();
        for base in [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            let wait = backoff.next_backoff().deadline() - Instant::now();
            let (least, most) = (Duration::from_millis(base), Duration::from_millis((base * 3 / 2).min(10_000)));
            assert!(least <= wait && wait <= most, "{wait:?} for {base}");
        }
    }
}
