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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bindings::{ErrorKind, Message},
        provider::{Table, resolve},
    };

    /// What a host that puts no keys in makes of it.
    fn foreign(variables: &[(&str, &str)]) -> Result<Exchange, Error> {
        let mut target = resolve(Table::built_in(), "bedrock/m").unwrap();
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name);
        target.complete_from(|name| variable(name).map(|(_, value)| (*value).to_owned()))?;
        Bedrock.encode(&target, &Request::new("bedrock/m", vec![Message::user("hi")]), false)
    }

    #[test]
    fn a_foreign_host_needs_a_bearer_key_and_a_region() {
        let key = ("AWS_BEARER_TOKEN_BEDROCK", "k");
        let exchange = foreign(&[key, ("AWS_DEFAULT_REGION", "eu-central-1")]).unwrap();
        assert_eq!(exchange.url.to_string(), "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m/converse");
        assert!(exchange.headers.contains(&("authorization".to_owned(), "Bearer k".to_owned())));
        let keys = [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let error = foreign(&keys).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Authentication);
        assert!(error.message.contains("AWS_BEARER_TOKEN_BEDROCK"), "{}", error.message);
        let error = foreign(&[key]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.message.contains("AWS_REGION"), "{}", error.message);
        assert_eq!(foreign(&[key, ("AWS_REGION", "evil.example/")]).unwrap_err().kind, ErrorKind::Configuration);
    }
}
