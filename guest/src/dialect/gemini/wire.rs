//! The shape of Google's answers, whole or one event of a stream.
//! <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse> (2026-11)
//!
//! Before: the JSON of an answer or an event. After: `decode` turns it into deltas. Invariant: what an answer may lack is an
//! option, and unknown keys are passed over. What few answers have stays text until it is needed: a type of its own for each
//! of those would be most of the dialect's code.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A whole answer, or one event of a streamed one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    #[serde(borrow, default)]
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, default)]
    pub(super) prompt_feedback: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) usage_metadata: Option<Usage<'a>>,
    #[serde(default)]
    pub(super) model_version: Option<String>,
    #[serde(default)]
    pub(super) response_id: Option<String>,
    /// Vertex's alone, as RFC 3339 writes it.
    #[serde(default)]
    pub(super) create_time: Option<String>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) content: Option<Content<'a>>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default)]
    pub(super) finish_message: Option<String>,
    #[serde(borrow, default)]
    pub(super) logprobs_result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) citation_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) url_context_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub(super) parts: Option<Vec<Part<'a>>>,
}

/// A part, of whatever kind: each kind has a key of its own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) thought: Option<bool>,
    #[serde(default)]
    pub(super) thought_signature: Option<String>,
    #[serde(borrow, default)]
    pub(super) function_call: Option<FunctionCall<'a>>,
    #[serde(borrow, default)]
    pub(super) inline_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) file_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) executable_code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) code_execution_result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct FunctionCall<'a> {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) name: String,
    #[serde(borrow, default)]
    pub(super) args: Option<&'a RawValue>,
}

/// <https://ai.google.dev/api/generate-content#UsageMetadata> (2026-11)
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage<'a> {
    #[serde(default)]
    pub(super) prompt_token_count: Option<u64>,
    #[serde(default)]
    pub(super) candidates_token_count: Option<u64>,
    #[serde(default)]
    pub(super) thoughts_token_count: Option<u64>,
    #[serde(default)]
    pub(super) tool_use_prompt_token_count: Option<u64>,
    #[serde(default)]
    pub(super) cached_content_token_count: Option<u64>,
    #[serde(default)]
    pub(super) total_token_count: Option<u64>,
    #[serde(borrow, default)]
    pub(super) prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) candidates_tokens_details: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) service_tier: Option<String>,
}
