//! The shape of Cohere's answers, whole or as events.
//!
//! Before: the JSON of an answer or an event. After: `decode` turns it into deltas. Invariant: what an answer may lack is an
//! option, unknown keys are passed over, and what is one object in an event and a list in a whole answer is a list here.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::{self, Field, Rules, Slot};

json::reader! {
    /// A whole answer. <https://docs.cohere.com/reference/chat> (2026-11)
    pub(super) struct Answer<'a> {
        "id" => pub(super) id: Option<String>,
        "message" => pub(super) message: Option<Message<'a>>,
        "finish_reason" => pub(super) finish_reason: Option<String>,
        "usage" => pub(super) usage: Option<Usage>,
        "logprobs" => pub(super) logprobs: Option<Many<Logprobs>>,
    }
}

json::reader! {
    /// One event of a stream. <https://docs.cohere.com/docs/streaming> (2026-11)
    pub(super) struct Event<'a> {
        "type" => pub(super) kind: Cow<'a, str>,
        "id" => pub(super) id: Option<String>,
        "index" => pub(super) index: Option<u32>,
        "delta" => pub(super) delta: Option<Delta<'a>>,
        "logprobs" => pub(super) logprobs: Option<Many<Logprobs>>,
    }
}

json::reader! {
    /// What an event adds: to the message, or at its end.
    pub(super) struct Delta<'a> {
        "message" => pub(super) message: Option<Message<'a>>,
        "finish_reason" => pub(super) finish_reason: Option<String>,
        "error" => pub(super) error: Option<String>,
        "usage" => pub(super) usage: Option<Usage>,
    }
}

json::reader! {
    /// A message, or what is added to one.
    pub(super) struct Message<'a> {
        "content" => pub(super) content: Option<Many<Content>>,
        "tool_plan" => pub(super) tool_plan: Option<String>,
        "tool_calls" => pub(super) tool_calls: Option<Many<ToolCall>>,
        "citations" => pub(super) citations: Option<&'a RawValue>,
    }
}

json::reader! {
    /// A piece of content: text or thoughts.
    pub(super) struct Content {
        "text" => pub(super) text: Option<String>,
        "thinking" => pub(super) thinking: Option<String>,
    }
}

json::reader! {
    /// A tool call, or more of one.
    pub(super) struct ToolCall {
        "id" => pub(super) id: Option<String>,
        "function" => pub(super) function: Option<Function>,
    }
}

json::reader! {
    pub(super) struct Function {
        "name" => pub(super) name: Option<String>,
        "arguments" => pub(super) arguments: Option<String>,
    }
}

json::reader! {
    /// The log probabilities of the tokens of one piece of text.
    pub(super) struct Logprobs {
        "text" => pub(super) text: Option<String>,
        "logprobs" => pub(super) logprobs: Option<Vec<f64>>,
    }
}

json::reader! {
    /// Figures, which are numbers with a decimal point in some answers.
    pub(super) struct Usage {
        "tokens" => pub(super) tokens: Option<Tokens>,
        "billed_units" => pub(super) billed_units: Option<Tokens>,
        "cached_tokens" => pub(super) cached_tokens: Option<f64>,
    }
}

json::reader! {
    pub(super) struct Tokens {
        "input_tokens" => pub(super) input_tokens: Option<f64>,
        "output_tokens" => pub(super) output_tokens: Option<f64>,
    }
}

/// A list, or one thing in place of a list of one.
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T: Slot<'a> + Default> Slot<'a> for Many<T> {
    fn what(&self) -> &'static str {
        "an object, or a list of them"
    }

    fn open(&mut self, list: bool) -> Option<&'static Rules> {
        self.0.clear();
        if list { Some(Rules::NONE) } else { self.0.push_mut(T::default()).open(false) }
    }

    fn field(&mut self, key: &str) -> Field<'_, 'a> {
        self.0.last_mut().map_or(Field::Unknown, |one| one.field(key))
    }

    fn item(&mut self) -> Field<'_, 'a> {
        self.0.item()
    }
}
