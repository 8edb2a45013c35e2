//! The shape of Google's answers, whole or one event of a stream.
//! <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse> (2026-11)
//!
//! Before: the JSON of an answer or an event. After: `decode` turns it into deltas. Invariant: what an answer may lack is an
//! option, unknown keys are passed over, and what every event repeats is borrowed. What few answers have stays text until it is needed: a type of its own for each
//! of those would be most of the dialect's code.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json;

json::reader! {
    /// A whole answer, or one event of a streamed one.
    pub(super) struct Body<'a> {
        "candidates" => pub(super) candidates: Option<Vec<Candidate<'a>>>,
        "promptFeedback" => pub(super) prompt_feedback: Option<&'a RawValue>,
        "usageMetadata" => pub(super) usage_metadata: Option<Usage<'a>>,
        "modelVersion" => pub(super) model_version: Option<Cow<'a, str>>,
        "responseId" => pub(super) response_id: Option<Cow<'a, str>>,
        /// Vertex's alone, as RFC 3339 writes it.
        "createTime" => pub(super) create_time: Option<Cow<'a, str>>,
        "error" => pub(super) error: Option<&'a RawValue>,
    }
}

json::reader! {
    pub(super) struct Candidate<'a> {
        "index" => pub(super) index: Option<u32>,
        "content" => pub(super) content: Option<Content<'a>>,
        "finishReason" => pub(super) finish_reason: Option<String>,
        "finishMessage" => pub(super) finish_message: Option<String>,
        "logprobsResult" => pub(super) logprobs_result: Option<&'a RawValue>,
        "groundingMetadata" => pub(super) grounding_metadata: Option<&'a RawValue>,
        "citationMetadata" => pub(super) citation_metadata: Option<&'a RawValue>,
        "urlContextMetadata" => pub(super) url_context_metadata: Option<&'a RawValue>,
    }
}

json::reader! {
    pub(super) struct Content<'a> {
        "parts" => pub(super) parts: Option<Vec<Part<'a>>>,
    }
}

json::reader! {
    /// A part, of whatever kind: each kind has a key of its own.
    pub(super) struct Part<'a> {
        "text" => pub(super) text: Option<String>,
        "thought" => pub(super) thought: Option<bool>,
        "thoughtSignature" => pub(super) thought_signature: Option<String>,
        "functionCall" => pub(super) function_call: Option<FunctionCall<'a>>,
        "inlineData" => pub(super) inline_data: Option<&'a RawValue>,
        "fileData" => pub(super) file_data: Option<&'a RawValue>,
        "executableCode" => pub(super) executable_code: Option<&'a RawValue>,
        "codeExecutionResult" => pub(super) code_execution_result: Option<&'a RawValue>,
    }
}

json::reader! {
    pub(super) struct FunctionCall<'a> {
        "id" => pub(super) id: Option<String>,
        "name" => pub(super) name: String,
        "args" => pub(super) args: Option<&'a RawValue>,
    }
}

json::reader! {
    /// <https://ai.google.dev/api/generate-content#UsageMetadata> (2026-11)
    pub(super) struct Usage<'a> {
        "promptTokenCount" => pub(super) prompt_token_count: Option<u64>,
        "candidatesTokenCount" => pub(super) candidates_token_count: Option<u64>,
        "thoughtsTokenCount" => pub(super) thoughts_token_count: Option<u64>,
        "toolUsePromptTokenCount" => pub(super) tool_use_prompt_token_count: Option<u64>,
        "cachedContentTokenCount" => pub(super) cached_content_token_count: Option<u64>,
        "totalTokenCount" => pub(super) total_token_count: Option<u64>,
        "promptTokensDetails" => pub(super) prompt_tokens_details: Option<&'a RawValue>,
        "candidatesTokensDetails" => pub(super) candidates_tokens_details: Option<&'a RawValue>,
        "serviceTier" => pub(super) service_tier: Option<Cow<'a, str>>,
    }
}
