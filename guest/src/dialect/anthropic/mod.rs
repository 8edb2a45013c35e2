//! Anthropic's messages, and what speaks like them. <https://platform.claude.com/docs/en/api/messages> (2026-11)
//!
//! Before: a target whose row says `anthropic`. After: `component` sends the exchange. Invariant: no provider's name stands
//! here; where a model differs, its row says so.

mod encode;
mod tools;
mod messages;
mod decode;
mod wire;

use super::{Decoder, Dialect, Exchange, Head, refused};
use crate::{
    bindings::{Delta, Error, Request},
    frame::{Framing, sse::Sse},
    provider::Target,
};

/// The dialect.
pub(crate) struct Anthropic;

impl Dialect for Anthropic {
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
