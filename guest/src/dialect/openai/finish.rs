//! Why a model stopped: providers' words -> ours.
//!
//! Before: a choice's `finish_reason`. After: `decode` ends the choice. Invariant: a word for a failure is an error, and so is
//! a word that nobody here has heard of; neither is ever passed off as `stop`.

use crate::bindings::{Error, ErrorKind, FinishReason};

/// The words, those that OpenAI documents first.
/// <https://platform.openai.com/docs/api-reference/chat/object> (2026-11)
const WORDS: &[(&str, FinishReason)] = &[
    ("stop", FinishReason::Stop),
    ("length", FinishReason::Length),
    ("tool_calls", FinishReason::ToolCalls),
    ("content_filter", FinishReason::ContentFilter),
    ("function_call", FinishReason::ToolCalls),
    // https://docs.together.ai/reference/chat-completions-1, https://huggingface.co/docs/text-generation-inference (2026-11)
    ("eos", FinishReason::Stop),
    ("eos_token", FinishReason::Stop),
    ("stop_sequence", FinishReason::Stop),
    ("end_turn", FinishReason::Stop),
    ("done", FinishReason::Stop),
    ("STOP", FinishReason::Stop),
    // https://docs.mistral.ai/api/#tag/chat (2026-11)
    ("model_length", FinishReason::Length),
    ("max_tokens", FinishReason::Length),
    ("MAX_TOKENS", FinishReason::Length),
    ("model_context_window_exceeded", FinishReason::Length),
    ("tool_use", FinishReason::ToolCalls),
    ("tool_call", FinishReason::ToolCalls),
    ("refusal", FinishReason::ContentFilter),
    ("safety", FinishReason::ContentFilter),
    ("SAFETY", FinishReason::ContentFilter),
    ("sensitive", FinishReason::ContentFilter),
];

/// Words that are known to mean that something broke.
const FAILURES: &[(&str, ErrorKind)] = &[
    ("error", ErrorKind::Provider),
    ("network_error", ErrorKind::Provider),
    ("abort", ErrorKind::Provider),
    ("cancelled", ErrorKind::Provider),
    ("malformed_function_call", ErrorKind::Provider),
    // https://api-docs.deepseek.com/api/create-chat-completion (2026-11)
    ("insufficient_system_resource", ErrorKind::Overloaded),
    ("timeout", ErrorKind::Timeout),
];

pub(super) fn reason(word: &str) -> Result<FinishReason, Error> {
    if let Some((_, reason)) = WORDS.iter().find(|(known, _)| *known == word) {
        return Ok(*reason);
    }
    let failure = FAILURES.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    Err(match failure {
        Some((_, kind)) => Error::new(*kind, format!("the provider broke off: finish_reason `{word}`")),
        None => {
            Error::new(ErrorKind::Provider, format!("the provider stopped for a reason that is not known: `{word}`"))
        }
    })
}
