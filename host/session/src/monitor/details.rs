//! What an operator wants to know of one exchange beside its times: where it went, by which rule, with whose key.
//!
//! Filled along the path, for a record that asks for it. Invariant: no query, no header's value and no secret is in it.

use std::borrow::Cow;

use http::request::Parts;

use super::Record;
use crate::error::Error;
use crate::pool::Domain;
use crate::route::Origin;
use crate::snapshot::Snapshot;
use crate::stage::Stage;

/// What is to be known of one exchange beside its times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Whom it is for; `None` until egress has looked at it, as all that follows.
    pub guest: Option<Domain>,
    /// The path of the request, without the query.
    pub path: String,
    /// The policy's number: 0 is the one that the session began with.
    pub generation: u64,
    /// What allows the destination: `egress.allow[0]`, `base_url` for what the operator wrote, `providers` for a row of the
    /// built-in table, `none`.
    pub rule: Cow<'static, str>,
    /// The credentials that the request names, whether or not they may go there.
    pub credentials: Vec<String>,
    /// The stage and the kind of the error that ended it.
    pub failed: Option<(Stage, &'static str)>,
}

impl Record {
    /// A record that has [`Timings::details`](super::Timings::details) too.
    #[must_use]
    pub fn detailed() -> Self {
        let record = Self::new();
        record.update(|timings| timings.details = Some(Box::default()));
        record
    }

    /// Where a request is to go and what the policy makes of that, before egress says whether it may leave.
    pub(crate) fn describe(&self, snapshot: &Snapshot, origin: &Origin, head: &Parts, guest: Domain) {
        self.update(|timings| timings.origin = Some(origin.to_string()));
        self.detail(|details| {
            details.guest = Some(guest);
            head.uri.path().clone_into(&mut details.path);
            details.generation = snapshot.generation;
            details.rule = snapshot.egress.rule(origin);
            details.credentials = snapshot.credentials.named(&head.headers);
        });
    }

    /// It came to this error.
    pub(crate) fn fails(&self, error: &Error) {
        self.detail(|details| details.failed = Some((error.stage(), error.kind().word())));
    }

    fn detail(&self, change: impl FnOnce(&mut Details)) {
        self.update(|timings| {
            if let Some(details) = &mut timings.details {
                change(details);
            }
        });
    }
}
