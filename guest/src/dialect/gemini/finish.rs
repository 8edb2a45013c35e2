//! Why a model stopped: Google's words -> ours.
//! <https://ai.google.dev/api/generate-content#FinishReason> (2026-11)
//!
//! Before: a candidate's `finishReason`. After: `decode` ends the choice. Invariant: a word for a failure is an error, and so is
//! a word that nobody here has heard of; neither is ever passed off as `stop`.

use crate::bindings::{Error, ErrorKind, FinishReason};

const WORDS: &[(&str, FinishReason)] = &[
    ("STOP", FinishReason::Stop),
    ("MAX_TOKENS", FinishReason::Length),
    ("SAFETY", FinishReason::ContentFilter),
    ("RECITATION", FinishReason::ContentFilter),
    ("LANGUAGE", FinishReason::ContentFilter),
    ("BLOCKLIST", FinishReason::ContentFilter),
    ("PROHIBITED_CONTENT", FinishReason::ContentFilter),
    ("SPII", FinishReason::ContentFilter),
    ("IMAGE_SAFETY", FinishReason::ContentFilter),
    ("IMAGE_PROHIBITED_CONTENT", FinishReason::ContentFilter),
    ("IMAGE_RECITATION", FinishReason::ContentFilter),
    // https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse#FinishReason (2026-11)
    ("MODEL_ARMOR", FinishReason::ContentFilter),
];

/// Words that are known to mean that something broke, or that the request is at fault.
const FAILURES: &[(&str, ErrorKind)] = &[
    ("OTHER", ErrorKind::Provider),
    ("IMAGE_OTHER", ErrorKind::Provider),
    ("NO_IMAGE", ErrorKind::Provider),
    ("MALFORMED_FUNCTION_CALL", ErrorKind::Provider),
    ("MALFORMED_RESPONSE", ErrorKind::Provider),
    ("UNEXPECTED_TOOL_CALL", ErrorKind::Provider),
    ("TOO_MANY_TOOL_CALLS", ErrorKind::Provider),
    ("MISSING_THOUGHT_SIGNATURE", ErrorKind::BadRequest),
];

/// What a word means. `calls` says whether the model called functions, for which Google has no word of its own.
pub(super) fn reason(word: &str, said: Option<&str>, calls: bool) -> Result<FinishReason, Error> {
    match WORDS.iter().find(|(known, _)| *known == word) {
        Some((_, FinishReason::Stop)) if calls => return Ok(FinishReason::ToolCalls),
        Some((_, reason)) => return Ok(*reason),
        None => {}
    }
    let why = said.map(|said| format!(": {said}")).unwrap_or_default();
    Err(match FAILURES.iter().find(|(known, _)| *known == word) {
        Some((_, kind)) => Error::new(*kind, format!("the provider broke off: finishReason `{word}`{why}")),
        None => Error::new(
            ErrorKind::Provider,
            format!("the provider stopped for a reason that is not known: `{word}`{why}"),
        ),
    })
}
