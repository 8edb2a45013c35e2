//! Cohere's chat, the second version of its API. <https://docs.cohere.com/reference/chat> (2026-11)
//!
//! Before: a target whose row says `cohere`. After: `component` sends the exchange. Invariant: what the model plans to do
//! with tools is a thought, which goes back as the plan that it was.

mod encode;
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
pub(crate) struct Cohere;

impl Dialect for Cohere {
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
