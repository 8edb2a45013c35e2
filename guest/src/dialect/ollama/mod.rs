//! Ollama's own chat API. <https://docs.ollama.com/api/chat> (2026-11)
//!
//! Before: a target whose row says `ollama`. After: `component` sends the exchange. Invariant: what the API has no place for
//! is refused, though its server would pass over it in silence.

mod encode;
mod messages;
mod decode;

use super::{Decoder, Dialect, Exchange, Head, refused};
use crate::{
    bindings::{Delta, Error, Request},
    frame::{Framing, ndjson::Ndjson},
    provider::Target,
};

/// The dialect.
pub(crate) struct Ollama;

impl Dialect for Ollama {
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
        Box::new(Ndjson::default())
    }
}
