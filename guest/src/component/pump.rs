//! A streamed answer, read by read.
//!
//! Before: `send` has the answer's head. After: a typed stream, or the handler's chunks. Invariant: one read of the provider's
//! bytes gives one batch of deltas, and what came before a failure is handed over before the failure.

use super::send::{self, Body, buffer};
use crate::{
    bindings::{Delta, Error, Request},
    dialect::{Dialect, Reader},
    provider::Target,
};

/// One streamed answer.
pub(super) struct Pump {
    provider: String,
    body: Option<Body>,
    reader: Reader,
    buffer: Vec<u8>,
    failed: Option<Error>,
}

impl Pump {
    /// Sends the request, and waits for the head of the answer.
    pub(super) async fn open(
        target: &Target<'_>,
        dialect: &'static dyn Dialect,
        request: &Request,
    ) -> Result<Self, Error> {
        let answer = send::send(dialect, target, request, true).await?;
        let (provider, reader) = (target.provider.to_owned(), Reader::new(dialect).under(answer.head));
        Ok(Self { provider, body: Some(answer.body), reader, buffer: buffer(), failed: None })
    }

    /// The next deltas, never none of them. `None` at the end of a complete answer; after that, or after an error, always.
    pub(super) async fn more(&mut self) -> Result<Option<Vec<Delta>>, Error> {
        let mut deltas = Vec::new();
        while deltas.is_empty() && self.failed.is_none() {
            let Some(body) = &mut self.body else { return Ok(None) };
            self.buffer.clear();
            let step = match body.read(&mut self.buffer).await {
                Ok(true) => body.decoded(&self.buffer).and_then(|decoded| self.reader.push(&decoded, &mut deltas)),
                Ok(false) => {
                    let rest = body.rest().and_then(|rest| self.reader.push(&rest, &mut deltas));
                    let ended = rest.and_then(|()| self.reader.end(&mut deltas));
                    self.body = None;
                    ended
                }
                Err(error) => Err(error),
            };
            if let Err(error) = step {
                self.failed = Some(error.from(&self.provider));
            }
        }
        if deltas.is_empty()
            && let Some(error) = self.failed.take()
        {
            // Nothing more is read: the connection to the provider can go.
            self.body = None;
            return Err(error);
        }
        Ok(Some(deltas))
    }
}
