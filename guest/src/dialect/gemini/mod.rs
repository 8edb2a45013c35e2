//! Google's `generateContent`, of the Gemini API and of Vertex AI.
//! <https://ai.google.dev/api/generate-content> (2026-11)
//!
//! Before: a target whose row says `gemini`. After: `component` sends the exchange. Invariant: no provider's name stands
//! here; where the two differ, their rows say so.

mod encode;
mod config;
mod contents;
mod tools;
mod schema;
mod decode;
mod finish;
mod sources;
mod wire;

use super::{Decoder, Dialect, Exchange, Head, refused};
use crate::{
    bindings::{Delta, Error, Request},
    frame::{Framing, sse::Sse},
    provider::Target,
};

/// The dialect.
pub(crate) struct Gemini;

impl Dialect for Gemini {
    fn encode(&self, target: &Target<'_>, request: &Request, streamed: bool) -> Result<Exchange, Error> {
        encode::encode(target, request, streamed)
    }

    fn decode(&self, head: &Head, body: &[u8]) -> Result<Vec<Delta>, Error> {
        if head.status != 200 {
            return Err(refused(head, body));
        }
        decode::whole(body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::Stream::default())
    }

    fn framing(&self) -> Box<dyn Framing> {
        Box::new(Sse::default())
    }
}
