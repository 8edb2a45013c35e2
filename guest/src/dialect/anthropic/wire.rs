//! The shape of Anthropic's answers, whole or as events.
//!
//! Before: the JSON of an answer or an event. After: `decode` turns it into deltas. Invariant: what an answer may lack is an
//! option, unknown keys are passed over, and text that is only compared is borrowed where JSON allows it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::{self, Raws};

json::reader! {
    /// A whole answer, which is also what a stream begins with.
    /// <https://platform.claude.com/docs/en/api/messages> (2026-11)
    pub(super) struct Message<'a> {
        "type" => pub(super) kind: Cow<'a, str>,
        "id" => pub(super) id: Option<String>,
        "model" => pub(super) model: Option<String>,
        "content" => pub(super) content: Option<Raws<'a>>,
        "stop_reason" => pub(super) stop_reason: Option<String>,
        "stop_details" => pub(super) stop_details: Option<StopDetails>,
        "usage" => pub(super) usage: Option<Usage>,
    }
}

json::reader! {
    /// One event of a stream, of whatever type: each type has keys of its own.
    /// <https://platform.claude.com/docs/en/build-with-claude/streaming> (2026-11)
    pub(super) struct Event<'a> {
        "type" => pub(super) kind: Cow<'a, str>,
        "message" => pub(super) message: Option<Message<'a>>,
        "index" => pub(super) index: Option<u32>,
        "content_block" => pub(super) content_block: Option<&'a RawValue>,
        "delta" => pub(super) delta: Option<Delta<'a>>,
        "usage" => pub(super) usage: Option<Usage>,
        "error" => pub(super) error: Option<&'a RawValue>,
    }
}

json::reader! {
    /// A piece of content, of whatever type, whole or in its beginning.
    pub(super) struct Block<'a> {
        "type" => pub(super) kind: Cow<'a, str>,
        "text" => pub(super) text: Option<String>,
        "citations" => pub(super) citations: Option<Raws<'a>>,
        "thinking" => pub(super) thinking: Option<String>,
        "signature" => pub(super) signature: Option<String>,
        "data" => pub(super) data: Option<String>,
        "id" => pub(super) id: Option<String>,
        "name" => pub(super) name: Option<String>,
        "input" => pub(super) input: Option<&'a RawValue>,
    }
}

json::reader! {
    /// What an event adds to a piece of content, or to the message.
    pub(super) struct Delta<'a> {
        "text" => pub(super) text: Option<String>,
        "thinking" => pub(super) thinking: Option<String>,
        "signature" => pub(super) signature: Option<String>,
        "partial_json" => pub(super) partial_json: Option<String>,
        "citation" => pub(super) citation: Option<&'a RawValue>,
        "stop_reason" => pub(super) stop_reason: Option<String>,
        "stop_details" => pub(super) stop_details: Option<StopDetails>,
    }
}

json::reader! {
    /// Why the model refused. <https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons> (2026-11)
    pub(super) struct StopDetails {
        "explanation" => pub(super) explanation: Option<String>,
    }
}

json::reader! {
    /// Figures so far: those of a later event replace those of an earlier one.
    pub(super) struct Usage {
        "input_tokens" => pub(super) input_tokens: Option<u64>,
        "cache_creation_input_tokens" => pub(super) cache_creation_input_tokens: Option<u64>,
        "cache_read_input_tokens" => pub(super) cache_read_input_tokens: Option<u64>,
        "output_tokens" => pub(super) output_tokens: Option<u64>,
        "output_tokens_details" => pub(super) output_tokens_details: Option<OutputDetails>,
        "service_tier" => pub(super) service_tier: Option<String>,
    }
}

json::reader! {
    #[derive(Clone, Copy)]
    pub(super) struct OutputDetails {
        "thinking_tokens" => pub(super) thinking_tokens: Option<u64>,
    }
}
