//! The shape of OpenAI's answers, whole or in chunks, with what its followers add.
//!
//! Before: the JSON of an answer or an event. After: `decode` turns it into deltas. Invariant: what an answer may lack is
//! an option, unknown keys are passed over, and text that is only compared is borrowed, never copied.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::{self, Loose, Raws, Scalar, Slot};

json::reader! {
    /// A whole answer, or one chunk of a streamed one.
    pub(super) struct Body<'a> {
        "id" => pub(super) id: Word<'a>,
        "model" => pub(super) model: Word<'a>,
        "created" => pub(super) created: Option<f64>,
        "system_fingerprint" => pub(super) system_fingerprint: Word<'a>,
        "service_tier" => pub(super) service_tier: Word<'a>,
        "choices" => pub(super) choices: Option<Vec<Choice<'a>>>,
        "usage" => pub(super) usage: Option<Usage>,
        /// Groq's streams have the usage here. <https://console.groq.com/docs/api-reference#chat-create> (2026-11)
        "x_groq" => pub(super) x_groq: Option<Groq>,
        /// Perplexity's sources: a list of addresses, and a list of what was found.
        /// <https://docs.perplexity.ai/api-reference/chat-completions-post> (2026-11)
        "citations" => pub(super) citations: Option<&'a RawValue>,
        "search_results" => pub(super) search_results: Option<&'a RawValue>,
        "error" => pub(super) error: Option<&'a RawValue>,
    }
}

json::reader! {
    pub(super) struct Choice<'a> {
        "index" => pub(super) index: Option<u32>,
        /// Of a whole answer.
        "message" => pub(super) message: Option<Message<'a>>,
        /// Of a chunk.
        "delta" => pub(super) delta: Option<Message<'a>>,
        "finish_reason" => pub(super) finish_reason: Word<'a>,
        /// The word of the provider behind a provider.
        "native_finish_reason" => pub(super) native_finish_reason: Word<'a>,
        "logprobs" => pub(super) logprobs: Option<Logprobs>,
        /// OpenRouter reports a failure of one choice here.
        "error" => pub(super) error: Option<&'a RawValue>,
    }
}

json::reader! {
    pub(super) struct Message<'a> {
        "content" => pub(super) content: Content<'a>,
        "refusal" => pub(super) refusal: Option<String>,
        "reasoning_content" => pub(super) reasoning_content: Option<String>,
        "reasoning" => pub(super) reasoning: Loose,
        "reasoning_details" => pub(super) reasoning_details: Option<Vec<ReasoningDetail>>,
        "thinking_blocks" => pub(super) thinking_blocks: Option<Vec<ThinkingBlock>>,
        "tool_calls" => pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
        "annotations" => pub(super) annotations: Option<Raws<'a>>,
        "audio" => pub(super) audio: Option<Audio>,
        "images" => pub(super) images: Option<Vec<ImagePart<'a>>>,
    }
}

/// A content: text, or parts.
pub(super) type Content<'a> = json::Content<ContentPart<'a>>;

json::reader! {
    /// A part of a content, of whatever type: each type has keys of its own.
    pub(super) struct ContentPart<'a> {
        "type" => pub(super) kind: Word<'a>,
        "text" => pub(super) text: Option<String>,
        "refusal" => pub(super) refusal: Option<String>,
        /// Mistral's: text, or parts of text. <https://docs.mistral.ai/capabilities/reasoning> (2026-11)
        "thinking" => pub(super) thinking: Content<'a>,
        "image_url" => pub(super) image_url: Option<&'a RawValue>,
        /// Mistral's citations say which documents the text before them rests on.
        "reference_ids" => pub(super) reference_ids: Option<&'a RawValue>,
    }
}

json::reader! {
    pub(super) struct ReasoningDetail {
        "text" => pub(super) text: Option<String>,
        "summary" => pub(super) summary: Option<String>,
        "signature" => pub(super) signature: Option<String>,
        "data" => pub(super) data: Option<String>,
    }
}

json::reader! {
    pub(super) struct ThinkingBlock {
        "thinking" => pub(super) thinking: Option<String>,
        "signature" => pub(super) signature: Option<String>,
        "data" => pub(super) data: Option<String>,
    }
}

json::reader! {
    pub(super) struct ToolCall<'a> {
        "index" => pub(super) index: Option<u32>,
        "id" => pub(super) id: Word<'a>,
        "function" => pub(super) function: Option<Function<'a>>,
        "custom" => pub(super) custom: Option<Function<'a>>,
        "extra_content" => pub(super) extra_content: Option<ExtraContent<'a>>,
    }
}

json::reader! {
    /// Google's signature of a call. <https://ai.google.dev/gemini-api/docs/thought-signatures#openai> (2026-11)
    pub(super) struct ExtraContent<'a> {
        "google" => pub(super) google: Option<Google<'a>>,
    }
}

json::reader! {
    pub(super) struct Google<'a> {
        "thought_signature" => pub(super) thought_signature: Word<'a>,
    }
}

json::reader! {
    pub(super) struct Function<'a> {
        "name" => pub(super) name: Word<'a>,
        /// JSON as text; some followers write the JSON itself.
        "arguments" | "input" => pub(super) arguments: Option<&'a RawValue>,
    }
}

json::reader! {
    pub(super) struct Audio {
        "id" => pub(super) id: Option<String>,
        "data" => pub(super) data: Option<String>,
        "transcript" => pub(super) transcript: Option<String>,
        "expires_at" => pub(super) expires_at: Option<u64>,
    }
}

json::reader! {
    pub(super) struct ImagePart<'a> {
        "image_url" => pub(super) image_url: Option<&'a RawValue>,
    }
}

json::reader! {
    /// An object around an address.
    pub(super) struct ImageUrl {
        [needed] "url" => pub(super) url: String,
    }
}

json::reader! {
    pub(super) struct Annotation {
        "url_citation" => pub(super) url_citation: Option<UrlCitation>,
    }
}

json::reader! {
    pub(super) struct UrlCitation {
        [needed] "url" => pub(super) url: String,
        "title" => pub(super) title: Option<String>,
        "start_index" => pub(super) start_index: Option<u64>,
        "end_index" => pub(super) end_index: Option<u64>,
    }
}

json::reader! {
    pub(super) struct SearchResult {
        [needed] "url" => pub(super) url: String,
        "title" => pub(super) title: Option<String>,
    }
}

json::reader! {
    pub(super) struct Logprobs {
        "content" => pub(super) content: Option<Vec<TokenLogprob>>,
        "refusal" => pub(super) refusal: Option<Vec<TokenLogprob>>,
    }
}

json::reader! {
    pub(super) struct TokenLogprob {
        [needed] "token" => pub(super) token: String,
        [needed] "logprob" => pub(super) logprob: f64,
        "bytes" => pub(super) bytes: Option<Vec<u8>>,
        "top_logprobs" => pub(super) top_logprobs: Option<Vec<Self>>,
    }
}

json::reader! {
    pub(super) struct Groq {
        "usage" => pub(super) usage: Option<Usage>,
    }
}

json::reader! {
    pub(super) struct Usage {
        "prompt_tokens" => pub(super) prompt_tokens: Option<u64>,
        "completion_tokens" => pub(super) completion_tokens: Option<u64>,
        "total_tokens" => pub(super) total_tokens: Option<u64>,
        "prompt_tokens_details" => pub(super) prompt_tokens_details: Option<PromptDetails>,
        "completion_tokens_details" => pub(super) completion_tokens_details: Option<CompletionDetails>,
        /// DeepSeek's. <https://api-docs.deepseek.com/guides/kv_cache> (2026-11)
        "prompt_cache_hit_tokens" => pub(super) prompt_cache_hit_tokens: Option<u64>,
        /// Perplexity's.
        "reasoning_tokens" => pub(super) reasoning_tokens: Option<u64>,
    }
}

json::reader! {
    pub(super) struct PromptDetails {
        "cached_tokens" => pub(super) cached_tokens: Option<u64>,
        "cache_write_tokens" => pub(super) cache_write_tokens: Option<u64>,
        "audio_tokens" => pub(super) audio_tokens: Option<u64>,
    }
}

json::reader! {
    pub(super) struct CompletionDetails {
        "reasoning_tokens" => pub(super) reasoning_tokens: Option<u64>,
        "audio_tokens" => pub(super) audio_tokens: Option<u64>,
        "accepted_prediction_tokens" => pub(super) accepted_prediction_tokens: Option<u64>,
        "rejected_prediction_tokens" => pub(super) rejected_prediction_tokens: Option<u64>,
    }
}

/// A text that may be missing, borrowed where JSON allows it. (serde borrows into a bare `Cow`, not into `Option<Cow>`.)
#[derive(Default)]
pub(super) struct Word<'a>(pub(super) Option<Cow<'a, str>>);

impl Word<'_> {
    /// The text, if there is one and it is not empty.
    pub(super) fn given(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

impl<'a> Slot<'a> for Word<'a> {
    fn what(&self) -> &'static str {
        "a text"
    }

    fn put(&mut self, value: Scalar<'a>) -> bool {
        self.0 = match value {
            Scalar::Null => None,
            Scalar::Text(text) => Some(text),
            Scalar::Unsigned(number) => Some(Cow::Owned(number.to_string())),
            Scalar::Bool(_) | Scalar::Signed(_) | Scalar::Float(_) => return false,
        };
        true
    }
}
