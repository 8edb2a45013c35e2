//! The shape of OpenAI's answers, whole or in chunks, with what its followers add.
//!
//! Before: the JSON of an answer or an event. After: `decode` turns it into deltas. Invariant: what an answer may lack is
//! an option, unknown keys are passed over, and text that is only compared is borrowed, never copied.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// A whole answer, or one chunk of a streamed one.
#[derive(Deserialize)]
pub(super) struct Body<'a> {
    #[serde(borrow, default)]
    pub(super) id: Word<'a>,
    #[serde(borrow, default)]
    pub(super) model: Word<'a>,
    #[serde(default)]
    pub(super) created: Option<f64>,
    #[serde(borrow, default)]
    pub(super) system_fingerprint: Word<'a>,
    #[serde(borrow, default)]
    pub(super) service_tier: Word<'a>,
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
    /// Groq's streams have the usage here. <https://console.groq.com/docs/api-reference#chat-create> (2026-11)
    #[serde(default)]
    pub(super) x_groq: Option<Groq>,
    /// Perplexity's sources: a list of addresses, and a list of what was found.
    /// <https://docs.perplexity.ai/api-reference/chat-completions-post> (2026-11)
    #[serde(borrow, default)]
    pub(super) citations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) search_results: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: Option<u32>,
    /// Of a whole answer.
    #[serde(borrow, default)]
    pub(super) message: Option<Message<'a>>,
    /// Of a chunk.
    #[serde(borrow, default)]
    pub(super) delta: Option<Message<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Word<'a>,
    /// The word of the provider behind a provider.
    #[serde(borrow, default)]
    pub(super) native_finish_reason: Word<'a>,
    #[serde(default)]
    pub(super) logprobs: Option<Logprobs>,
    /// OpenRouter reports a failure of one choice here.
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) content: Content<'a>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    #[serde(default)]
    pub(super) reasoning_content: Option<String>,
    #[serde(default)]
    pub(super) reasoning: Loose,
    #[serde(default)]
    pub(super) reasoning_details: Option<Vec<ReasoningDetail>>,
    #[serde(default)]
    pub(super) thinking_blocks: Option<Vec<ThinkingBlock>>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow, default)]
    pub(super) annotations: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    pub(super) audio: Option<Audio>,
    #[serde(borrow, default)]
    pub(super) images: Option<Vec<ImagePart<'a>>>,
}

/// A content: text, or parts.
#[derive(Default)]
pub(super) enum Content<'a> {
    #[default]
    None,
    Text(String),
    Parts(Vec<ContentPart<'a>>),
}

/// A part of a content, of whatever type: each type has keys of its own. (One struct is far less code than serde's tagged
/// enums, which keep a copy of the part until its type is known.)
#[derive(Deserialize)]
pub(super) struct ContentPart<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Word<'a>,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    /// Mistral's: text, or parts of text. <https://docs.mistral.ai/capabilities/reasoning> (2026-11)
    #[serde(borrow, default)]
    pub(super) thinking: Content<'a>,
    #[serde(borrow, default)]
    pub(super) image_url: Option<&'a RawValue>,
    /// Mistral's citations say which documents the text before them rests on.
    #[serde(borrow, default)]
    pub(super) reference_ids: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct ReasoningDetail {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) summary: Option<String>,
    #[serde(default)]
    pub(super) signature: Option<String>,
    #[serde(default)]
    pub(super) data: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ThinkingBlock {
    #[serde(default)]
    pub(super) thinking: Option<String>,
    #[serde(default)]
    pub(super) signature: Option<String>,
    #[serde(default)]
    pub(super) data: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(borrow, default)]
    pub(super) id: Word<'a>,
    #[serde(borrow, default)]
    pub(super) function: Option<Function<'a>>,
    #[serde(borrow, default)]
    pub(super) custom: Option<Function<'a>>,
    #[serde(borrow, default)]
    pub(super) extra_content: Option<ExtraContent<'a>>,
}

/// Google's signature of a call. <https://ai.google.dev/gemini-api/docs/thought-signatures#openai> (2026-11)
#[derive(Deserialize)]
pub(super) struct ExtraContent<'a> {
    #[serde(borrow, default)]
    pub(super) google: Option<Google<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Google<'a> {
    #[serde(borrow, default)]
    pub(super) thought_signature: Word<'a>,
}

#[derive(Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow, default)]
    pub(super) name: Word<'a>,
    /// JSON as text; some followers write the JSON itself.
    #[serde(borrow, default, alias = "input")]
    pub(super) arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Audio {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) data: Option<String>,
    #[serde(default)]
    pub(super) transcript: Option<String>,
    #[serde(default)]
    pub(super) expires_at: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct ImagePart<'a> {
    #[serde(borrow)]
    pub(super) image_url: &'a RawValue,
}

/// An object around an address.
#[derive(Deserialize)]
pub(super) struct ImageUrl {
    pub(super) url: String,
}

#[derive(Deserialize)]
pub(super) struct Annotation {
    #[serde(default)]
    pub(super) url_citation: Option<UrlCitation>,
}

#[derive(Deserialize)]
pub(super) struct UrlCitation {
    pub(super) url: String,
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) start_index: Option<u64>,
    #[serde(default)]
    pub(super) end_index: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct SearchResult {
    pub(super) url: String,
    #[serde(default)]
    pub(super) title: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Logprobs {
    #[serde(default)]
    pub(super) content: Option<Vec<TokenLogprob>>,
    #[serde(default)]
    pub(super) refusal: Option<Vec<TokenLogprob>>,
}

#[derive(Deserialize)]
pub(super) struct TokenLogprob {
    pub(super) token: String,
    pub(super) logprob: f64,
    #[serde(default)]
    pub(super) bytes: Option<Vec<u8>>,
    #[serde(default)]
    pub(super) top_logprobs: Option<Vec<Self>>,
}

#[derive(Deserialize)]
pub(super) struct Groq {
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: Option<u64>,
    #[serde(default)]
    pub(super) completion_tokens: Option<u64>,
    #[serde(default)]
    pub(super) total_tokens: Option<u64>,
    #[serde(default)]
    pub(super) prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    pub(super) completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's. <https://api-docs.deepseek.com/guides/kv_cache> (2026-11)
    #[serde(default)]
    pub(super) prompt_cache_hit_tokens: Option<u64>,
    /// Perplexity's.
    #[serde(default)]
    pub(super) reasoning_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
pub(super) struct PromptDetails {
    #[serde(default)]
    pub(super) cached_tokens: Option<u64>,
    #[serde(default)]
    pub(super) cache_write_tokens: Option<u64>,
    #[serde(default)]
    pub(super) audio_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
pub(super) struct CompletionDetails {
    #[serde(default)]
    pub(super) reasoning_tokens: Option<u64>,
    #[serde(default)]
    pub(super) audio_tokens: Option<u64>,
    #[serde(default)]
    pub(super) accepted_prediction_tokens: Option<u64>,
    #[serde(default)]
    pub(super) rejected_prediction_tokens: Option<u64>,
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

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Word<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a text or null")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Word<'de>, E> {
                Ok(Word(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Word<'de>, E> {
                Ok(Word(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Word<'de>, E> {
                Ok(Word(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_unit<E>(self) -> Result<Word<'de>, E> {
                Ok(Word(None))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// A text, where some providers write something else under the same key.
#[derive(Default)]
pub(super) struct Loose(pub(super) Option<String>);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Option::<&RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.and_then(|raw| serde_json::from_str(raw.get()).ok())))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Contents;
        impl<'de> Visitor<'de> for Contents {
            type Value = Content<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a text, a list of parts, or null")
            }
            fn visit_str<E>(self, text: &str) -> Result<Content<'de>, E> {
                Ok(Content::Text(text.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<Content<'de>, E> {
                Ok(Content::None)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content<'de>, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = list.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }
        deserializer.deserialize_any(Contents)
    }
}
