//! Amazon Bedrock's Converse and ConverseStream.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> (2026-11)
//!
//! Before: a target whose row says `bedrock`. After: `component` sends the exchange; the host signs it, or puts a bearer key
//! in. Invariant: what only some models take is told from the model's own vendor, in `family` and nowhere else.

mod encode;
mod messages;
mod blocks;
mod tools;
mod family;
mod decode;
mod wire;
mod failure;

use super::{Decoder, Dialect, Exchange, Head};
use crate::{
    bindings::{Delta, Error, Request},
    frame::{Framing, eventstream::EventStream},
    provider::Target,
};

/// The dialect.
pub(crate) struct Bedrock;

impl Dialect for Bedrock {
    fn encode(&self, target: &Target<'_>, request: &Request, streamed: bool) -> Result<Exchange, Error> {
        encode::encode(target, request, streamed)
    }

    fn decode(&self, head: &Head, body: &[u8]) -> Result<Vec<Delta>, Error> {
        if head.status != 200 {
            return Err(failure::refused(head, body));
        }
        decode::whole(self.id(head), body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::Stream::default())
    }

    fn framing(&self) -> Box<dyn Framing> {
        Box::new(EventStream::default())
    }

    /// The request's number, by which AWS's support finds it.
    fn id<'h>(&self, head: &'h Head) -> Option<&'h str> {
        head.header("x-amzn-requestid").filter(|id| !id.is_empty())
    }
}
