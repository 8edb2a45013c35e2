//! The shape of Converse's answers, whole or in events.
//!
//! Before: the JSON of an answer or an event. After: `decode` turns it into deltas. Invariant: what an answer may lack is an
//! option, and unknown keys are passed over.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A whole answer. <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> (2026-11)
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) output: Option<Output<'a>>,
    pub(super) stop_reason: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) service_tier: Option<Tier>,
}

#[derive(Deserialize)]
pub(super) struct Output<'a> {
    #[serde(borrow)]
    pub(super) message: Message<'a>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) content: Vec<Block<'a>>,
}

/// A block, of which one member is there; or what an event adds to one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block<'a> {
    pub(super) text: Option<String>,
    #[serde(borrow)]
    pub(super) tool_use: Option<ToolUse<'a>>,
    pub(super) reasoning_content: Option<Reasoning>,
    #[serde(borrow)]
    pub(super) citations_content: Option<Cited<'a>>,
    /// Of an event.
    #[serde(borrow)]
    pub(super) citation: Option<&'a RawValue>,
    pub(super) image: Option<Media>,
    pub(super) audio: Option<Media>,
}

/// A call, its beginning, or more of its input.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    pub(super) tool_use_id: Option<String>,
    pub(super) name: Option<String>,
    /// JSON, or in an event a piece of its text.
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

/// Thoughts: whole under `reasoning_text`, in an event under `text` and `signature`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reasoning {
    pub(super) reasoning_text: Option<Thoughts>,
    pub(super) text: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) redacted_content: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Thoughts {
    pub(super) text: Option<String>,
    pub(super) signature: Option<String>,
}

/// Text, and the sources that it rests on.
#[derive(Deserialize)]
pub(super) struct Cited<'a> {
    #[serde(default)]
    pub(super) content: Vec<CitedText>,
    #[serde(borrow, default)]
    pub(super) citations: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct CitedText {
    pub(super) text: Option<String>,
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html> (2026-11)
#[derive(Deserialize)]
pub(super) struct Citation {
    pub(super) title: Option<String>,
    pub(super) location: Option<Location>,
}

#[derive(Deserialize)]
pub(super) struct Location {
    pub(super) web: Option<Web>,
}

#[derive(Deserialize)]
pub(super) struct Web {
    pub(super) url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Media {
    pub(super) format: Option<String>,
    pub(super) source: Option<Bytes>,
}

#[derive(Deserialize)]
pub(super) struct Bytes {
    pub(super) bytes: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Tier {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) cache_read_input_tokens: Option<u64>,
    pub(super) cache_write_input_tokens: Option<u64>,
}

/// `contentBlockStart`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockStart<'a> {
    pub(super) content_block_index: u32,
    #[serde(borrow)]
    pub(super) start: Option<Block<'a>>,
}

/// `contentBlockDelta`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockDelta<'a> {
    pub(super) content_block_index: u32,
    #[serde(borrow)]
    pub(super) delta: Block<'a>,
}

/// `contentBlockStop`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockStop {
    pub(super) content_block_index: u32,
}

/// `messageStop`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageStop {
    pub(super) stop_reason: String,
}

/// `metadata`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) usage: Option<Usage>,
    pub(super) service_tier: Option<Tier>,
}
