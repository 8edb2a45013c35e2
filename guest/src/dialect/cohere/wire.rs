//! The shape of Cohere's answers, whole or as events.
//!
//! Before: the JSON of an answer or an event. After: `decode` turns it into deltas. Invariant: what an answer may lack is an
//! option, unknown keys are passed over, and what is one object in an event and a list in a whole answer is a list here.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A whole answer. <https://docs.cohere.com/reference/chat> (2026-11)
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(borrow, default)]
    pub(super) message: Option<Message<'a>>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
    #[serde(default)]
    pub(super) logprobs: Option<Many<Logprobs>>,
}

/// One event of a stream. <https://docs.cohere.com/docs/streaming> (2026-11)
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) delta: Option<Delta<'a>>,
    #[serde(default)]
    pub(super) logprobs: Option<Many<Logprobs>>,
}

/// What an event adds: to the message, or at its end.
#[derive(Default, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(super) message: Option<Message<'a>>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

/// A message, or what is added to one.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(default)]
    pub(super) content: Option<Many<Content>>,
    #[serde(default)]
    pub(super) tool_plan: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Many<ToolCall>>,
    #[serde(borrow, default)]
    pub(super) citations: Option<&'a RawValue>,
}

/// A piece of content: text or thoughts.
#[derive(Deserialize)]
pub(super) struct Content {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) thinking: Option<String>,
}

/// A tool call, or more of one.
#[derive(Deserialize)]
pub(super) struct ToolCall {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<Function>,
}

#[derive(Default, Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

/// The log probabilities of the tokens of one piece of text.
#[derive(Deserialize)]
pub(super) struct Logprobs {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) logprobs: Option<Vec<f64>>,
}

/// Figures, which are numbers with a decimal point in some answers.
#[derive(Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) tokens: Option<Tokens>,
    #[serde(default)]
    pub(super) billed_units: Option<Tokens>,
    #[serde(default)]
    pub(super) cached_tokens: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct Tokens {
    #[serde(default)]
    pub(super) input_tokens: Option<f64>,
    #[serde(default)]
    pub(super) output_tokens: Option<f64>,
}

/// A list, or one thing in place of a list of one.
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<'de, T: for<'t> Deserialize<'t>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let list = match raw.as_bytes().first() {
            Some(b'[') => serde_json::from_str(raw),
            _ => serde_json::from_str(raw).map(|one| vec![one]),
        };
        list.map(Self).map_err(serde::de::Error::custom)
    }
}
