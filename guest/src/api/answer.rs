//! A completion -> OpenAI's JSON.
//!
//! Before: `dialect` has folded the answer. After: the client. Invariant: every content of the completion is in the JSON.

use std::convert::Infallible;

use crate::{
    bindings::{
        Annotation, AssistantMessage, Choice, Completion, FinishReason, Image, Logprob, Logprobs, Part, ReasoningBlock,
        Source, Start, TokenLogprob, ToolCall, ToolKind, Usage,
    },
    json::{self, Object},
};

/// The writing of JSON into memory cannot fail.
pub(super) type Written = Result<(), Infallible>;

/// A whole answer. `model` is the name that the caller used, for a provider that names none.
pub fn answer(completion: &Completion, model: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(1024);
    let written: Written = json::object(&mut body, |to| {
        head(to, &completion.start, model, "chat.completion");
        to.list("choices", &completion.choices, |out, choice| json::object(out, |to| write_choice(to, choice)))?;
        if let Some(usage) = &completion.usage {
            to.object("usage", |to| write_usage(to, usage))?;
        }
        tail(to, &completion.start);
        Ok(())
    });
    let Ok(()) = written;
    body
}

/// The keys before an answer's or a chunk's choices.
pub(super) fn head(to: &mut Object<'_>, start: &Start, model: &str, object: &str) {
    to.set("id", &start.id);
    to.set("object", object);
    to.set("created", &start.created);
    to.set("model", if start.model.is_empty() { model } else { &start.model });
}

/// The keys after them.
pub(super) fn tail(to: &mut Object<'_>, start: &Start) {
    to.some("service_tier", start.service_tier.as_ref());
    to.some("system_fingerprint", start.system_fingerprint.as_ref());
}

fn write_choice(to: &mut Object<'_>, choice: &Choice) -> Written {
    to.set("index", &choice.index);
    to.object("message", |to| message(to, &choice.message))?;
    match &choice.logprobs {
        Some(logprobs) => to.object("logprobs", |to| write_logprobs(to, logprobs))?,
        None => to.raw("logprobs", "null"),
    }
    finish(to, choice.finish_reason, choice.provider_reason.as_deref());
    Ok(())
}

/// Why a choice ended, and the provider's own word for it where that is another.
pub(super) fn finish(to: &mut Object<'_>, reason: FinishReason, provider: Option<&str>) {
    let word = finish_word(reason);
    to.set("finish_reason", word);
    to.some("native_finish_reason", provider.filter(|provider| *provider != word));
}

/// OpenAI's word for why a choice ended.
pub(super) const fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// A message in OpenAI's form.
pub(super) fn message(to: &mut Object<'_>, message: &AssistantMessage) -> Written {
    to.set("role", "assistant");
    let mut text = String::new();
    let mut refusal = String::new();
    let mut thoughts = String::new();
    let mut blocks = Vec::new();
    let (mut calls, mut images, mut audio) = (Vec::new(), Vec::new(), None);
    let mut sealed = false;
    for part in &message.parts {
        match part {
            Part::Text(part) => text.push_str(&part.text),
            Part::Refusal(part) => refusal.push_str(part),
            Part::Reasoning(block) => {
                if let ReasoningBlock::Open(open) = block {
                    thoughts.push_str(&open.text);
                }
                sealed |= is_sealed(block);
                grow(&mut blocks, block);
            }
            Part::ToolCall(call) => calls.push(call),
            Part::Image(image) => images.push(image),
            Part::Audio(part) => audio = Some(part),
            // No provider's answer has one.
            Part::File(_) => {}
        }
    }
    to.set(
        "content",
        &Some(&text).filter(|text| !text.is_empty() || calls.is_empty() && refusal.is_empty() && audio.is_none()),
    );
    to.set("refusal", &Some(&refusal).filter(|refusal| !refusal.is_empty()));
    to.some("reasoning_content", Some(&thoughts).filter(|thoughts| !thoughts.is_empty()));
    if sealed {
        to.list("thinking_blocks", &blocks, thinking_block)?;
    }
    if !calls.is_empty() {
        to.list("tool_calls", calls, |out, call| json::object(out, |to| tool_call(to, call)))?;
    }
    if !images.is_empty() {
        to.list("images", images, write_image)?;
    }
    if let Some(part) = audio {
        to.object("audio", |to| {
            to.some("id", part.id.as_ref());
            if let Source::Base64(data) = &part.source {
                to.set("data", data);
            }
            to.some("transcript", part.transcript.as_ref());
            to.some("expires_at", part.expires_at.as_ref());
            Written::Ok(())
        })?;
    }
    to.list("annotations", &message.annotations, write_annotation)
}

/// Adds a block by the rule of `dialect::fold`, which whoever reads this goes by: thoughts grow until their signature has come.
fn grow(blocks: &mut Vec<ReasoningBlock>, block: &ReasoningBlock) {
    match (blocks.last_mut(), block) {
        (Some(ReasoningBlock::Open(last)), ReasoningBlock::Open(more)) if last.signature.is_none() => {
            last.text.push_str(&more.text);
            last.signature.clone_from(&more.signature);
        }
        _ => blocks.push(block.clone()),
    }
}

/// Whether a block says more than `reasoning_content` can.
pub(super) fn is_sealed(block: &ReasoningBlock) -> bool {
    match block {
        ReasoningBlock::Open(open) => open.signature.is_some(),
        ReasoningBlock::Redacted(_) => true,
    }
}

/// A block of thoughts in the form of LiteLLM's clients. <https://docs.litellm.ai/docs/reasoning_content> (2026-11)
pub(super) fn thinking_block(out: &mut Vec<u8>, block: &ReasoningBlock) -> Written {
    json::object(out, |to| {
        match block {
            ReasoningBlock::Open(open) => {
                to.set("type", "thinking");
                to.set("thinking", &open.text);
                to.some("signature", open.signature.as_ref());
            }
            ReasoningBlock::Redacted(data) => {
                to.set("type", "redacted_thinking");
                to.set("data", data);
            }
        }
        Ok(())
    })
}

/// A tool call from its `id` on.
pub(super) fn tool_call(to: &mut Object<'_>, call: &ToolCall) -> Written {
    to.set("id", &call.id);
    let (kind, input) = match call.kind {
        ToolKind::Function => ("function", "arguments"),
        ToolKind::Custom => ("custom", "input"),
    };
    to.set("type", kind);
    to.object(kind, |to| {
        to.set("name", &call.name);
        to.set(input, &call.arguments);
        Written::Ok(())
    })?;
    // Where Google's own API in OpenAI's form has it, and wants it back.
    // https://ai.google.dev/gemini-api/docs/thought-signatures#openai (2026-11)
    let Some(signature) = &call.signature else { return Ok(()) };
    to.object("extra_content", |to| {
        to.object("google", |to| {
            to.set("thought_signature", signature);
            Ok(())
        })
    })
}

/// An image in OpenRouter's form. <https://openrouter.ai/docs/features/multimodal/image-generation> (2026-11)
pub(super) fn write_image(out: &mut Vec<u8>, image: &Image) -> Written {
    let url = match &image.source {
        Source::Url(url) | Source::Id(url) => url.clone(),
        Source::Base64(data) => format!("data:{};base64,{data}", image.media_type.as_deref().unwrap_or("image/png")),
        // Decoders keep base64 as it is.
        Source::Bytes(_) => String::new(),
    };
    json::object(out, |to| {
        to.set("type", "image_url");
        to.object("image_url", |to| {
            to.set("url", &url);
            Ok(())
        })
    })
}

pub(super) fn write_annotation(out: &mut Vec<u8>, annotation: &Annotation) -> Written {
    match annotation {
        Annotation::UrlCitation(citation) => json::object(out, |to| {
            to.set("type", "url_citation");
            to.object("url_citation", |to| {
                to.set("url", &citation.url);
                to.some("title", citation.title.as_ref());
                to.some("start_index", citation.start_index.as_ref());
                to.some("end_index", citation.end_index.as_ref());
                Ok(())
            })
        }),
        Annotation::OtherJson(json) => {
            // A decoder took it out of JSON.
            out.extend_from_slice(json.as_bytes());
            Ok(())
        }
    }
}

pub(super) fn write_logprobs(to: &mut Object<'_>, logprobs: &Logprobs) -> Written {
    let tokens = |out: &mut Vec<u8>, tokens: &[TokenLogprob]| {
        if tokens.is_empty() {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        json::list(out, tokens, |out, token| {
            json::object(out, |to| {
                write_logprob(to, &token.chosen);
                to.list("top_logprobs", &token.top, |out, top| {
                    json::object(out, |to| {
                        write_logprob(to, top);
                        Ok(())
                    })
                })
            })
        })
    };
    tokens(to.key("content"), &logprobs.content)?;
    tokens(to.key("refusal"), &logprobs.refusal)
}

fn write_logprob(to: &mut Object<'_>, logprob: &Logprob) {
    to.set("token", &logprob.token);
    to.set("logprob", &logprob.logprob);
    to.set("bytes", &logprob.bytes);
}

pub(super) fn write_usage(to: &mut Object<'_>, usage: &Usage) -> Written {
    to.set("prompt_tokens", &usage.prompt_tokens);
    to.set("completion_tokens", &usage.completion_tokens);
    to.set("total_tokens", &usage.total_tokens);
    to.object("prompt_tokens_details", |to| {
        to.some("cached_tokens", usage.cached_tokens.as_ref());
        to.some("cache_write_tokens", usage.cache_write_tokens.as_ref());
        to.some("audio_tokens", usage.prompt_audio_tokens.as_ref());
        Written::Ok(())
    })?;
    to.object("completion_tokens_details", |to| {
        to.some("reasoning_tokens", usage.reasoning_tokens.as_ref());
        to.some("audio_tokens", usage.completion_audio_tokens.as_ref());
        to.some("accepted_prediction_tokens", usage.accepted_prediction_tokens.as_ref());
        to.some("rejected_prediction_tokens", usage.rejected_prediction_tokens.as_ref());
        Ok(())
    })
}
