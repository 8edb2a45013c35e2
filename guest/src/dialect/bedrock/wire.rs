//! The shape of Converse's answers, whole or in events.
//!
//! Before: the JSON of an answer or an event. After: `decode` turns it into deltas. Invariant: what an answer may lack is an
//! option, and unknown keys are passed over.

use serde_json::value::RawValue;

use crate::json::{self, Raws};

json::reader! {
    /// A whole answer, or an event of whatever type: each type has keys of its own. (One struct is far less code than one a type.)
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> and
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html> (2026-11)
    pub(super) struct Answer<'a> {
        /// Of a whole answer.
        "output" => pub(super) output: Option<Output<'a>>,
        /// Of the events of a block, as what follows.
        "contentBlockIndex" => pub(super) content_block_index: Option<u32>,
        "start" => pub(super) start: Option<Block<'a>>,
        "delta" => pub(super) delta: Option<Block<'a>>,
        /// Of a whole answer, or of `messageStop`.
        "stopReason" => pub(super) stop_reason: Option<String>,
        /// Of a whole answer, or of `metadata`, as what follows.
        "usage" => pub(super) usage: Option<Usage>,
        "serviceTier" => pub(super) service_tier: Option<Tier>,
    }
}

json::reader! {
    pub(super) struct Output<'a> {
        [needed] "message" => pub(super) message: Message<'a>,
    }
}

json::reader! {
    pub(super) struct Message<'a> {
        "content" => pub(super) content: Vec<Block<'a>>,
    }
}

json::reader! {
    /// A block, of which one member is there; or what an event adds to one.
    pub(super) struct Block<'a> {
        "text" => pub(super) text: Option<String>,
        "toolUse" => pub(super) tool_use: Option<ToolUse<'a>>,
        "reasoningContent" => pub(super) reasoning_content: Option<Reasoning>,
        "citationsContent" => pub(super) citations_content: Option<Cited<'a>>,
        /// Of an event.
        "citation" => pub(super) citation: Option<&'a RawValue>,
        "image" => pub(super) image: Option<Media>,
        "audio" => pub(super) audio: Option<Media>,
    }
}

json::reader! {
    /// A call, its beginning, or more of its input.
    pub(super) struct ToolUse<'a> {
        "toolUseId" => pub(super) tool_use_id: Option<String>,
        "name" => pub(super) name: Option<String>,
        /// JSON, or in an event a piece of its text.
        "input" => pub(super) input: Option<&'a RawValue>,
        "type" => pub(super) kind: Option<String>,
    }
}

json::reader! {
    /// Thoughts: whole under `reasoning_text`, in an event under `text` and `signature`.
    pub(super) struct Reasoning {
        "reasoningText" => pub(super) reasoning_text: Option<Thoughts>,
        "text" => pub(super) text: Option<String>,
        "signature" => pub(super) signature: Option<String>,
        "redactedContent" => pub(super) redacted_content: Option<String>,
    }
}

json::reader! {
    pub(super) struct Thoughts {
        "text" => pub(super) text: Option<String>,
        "signature" => pub(super) signature: Option<String>,
    }
}

json::reader! {
    /// Text, and the sources that it rests on.
    pub(super) struct Cited<'a> {
        "content" => pub(super) content: Vec<CitedText>,
        "citations" => pub(super) citations: Raws<'a>,
    }
}

json::reader! {
    pub(super) struct CitedText {
        "text" => pub(super) text: Option<String>,
    }
}

json::reader! {
    pub(super) struct Media {
        "format" => pub(super) format: Option<String>,
        "source" => pub(super) source: Option<Bytes>,
    }
}

json::reader! {
    pub(super) struct Bytes {
        "bytes" => pub(super) bytes: Option<String>,
    }
}

json::reader! {
    pub(super) struct Tier {
        "type" => pub(super) kind: Option<String>,
    }
}

json::reader! {
    pub(super) struct Usage {
        "inputTokens" => pub(super) input_tokens: Option<u64>,
        "outputTokens" => pub(super) output_tokens: Option<u64>,
        "cacheReadInputTokens" => pub(super) cache_read_input_tokens: Option<u64>,
        "cacheWriteInputTokens" => pub(super) cache_write_input_tokens: Option<u64>,
    }
}
