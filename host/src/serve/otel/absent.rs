//! What there is of traces in a build without them: nothing that can be begun.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use seaway_session::Environment;
use seaway_session::policy::Error;

use super::super::figures::End;
use super::super::report::Report;
use super::{Otel, asking};
use crate::runtime::CallRecord;

/// Begins traces.
pub(in crate::serve) enum Tracer {}

/// One request's.
pub(in crate::serve) enum Trace {}

impl Tracer {
    pub(in crate::serve) fn start(_: Option<&Otel>, environment: &Environment) -> Result<Option<Self>, Error> {
        if let Some((variable, _)) = asking(environment) {
            tracing::warn!("{variable} is set, and this build makes no traces: it lacks the cargo feature `otel`");
        }
        Ok(None)
    }

    pub(in crate::serve) fn request(&self, _: &Parts, _: Option<SocketAddr>, _tls: bool) -> Option<Trace> {
        match *self {}
    }

    pub(in crate::serve) async fn end(&self, _: Duration) {
        match *self {}
    }
}

impl Trace {
    pub(in crate::serve) fn calls(&self, _: &CallRecord) {
        match *self {}
    }

    pub(in crate::serve) fn end(
        self,
        _: Option<StatusCode>,
        _: End,
        _key: Option<&str>,
        _: Option<&Report>,
        _: Option<&CallRecord>,
    ) {
        match self {}
    }
}
