//! The conversation -> OpenAI's JSON.
//!
//! Before: `encode` writes everything else. After: the same body. Invariant: content is written or refused; it is dropped
//! only where the caller asked for that, and bytes in base64 are passed on without being decoded.

use std::borrow::Cow;

use super::encode::Encoder;
use crate::{
    bindings::{
        AssistantMessage, CacheControl, Error, File, Image, Message, OpenReasoning, Part, ReasoningBlock, Source,
        TextPart, ToolCall, ToolKind, ToolResult,
    },
    dialect::{
        carry::{bad, unsupported},
        content::{base64, prefix, put_base64},
    },
    json::{self, Object},
    provider::{Files, History},
};

pub(super) fn write(encoder: &Encoder<'_>, out: &mut Vec<u8>, messages: &[Message]) -> Result<(), Error> {
    json::list(out, messages.iter().enumerate(), |out, (place, message)| {
        json::object(out, |to| encoder.message(to, message)).map_err(|mut error| {
            if error.param.is_none() {
                error.param = Some(format!("messages[{place}]"));
            }
            error
        })
    })
}

/// Text in parts: one plain text is a string, anything else a list.
pub(super) fn texts(encoder: &Encoder<'_>, out: &mut Vec<u8>, parts: &[TextPart]) -> Result<(), Error> {
    match parts {
        [TextPart { text, cache_control: None }] => {
            json::value(out, text);
            Ok(())
        }
        parts => json::list(out, parts, |out, part| encoder.text(out, part)),
    }
}

impl Encoder<'_> {
    fn message(&self, to: &mut Object<'_>, message: &Message) -> Result<(), Error> {
        let name = match message {
            Message::System(said) => {
                // https://platform.openai.com/docs/guides/reasoning: developer messages replace system messages (2026-11)
                to.set("role", if self.given.target.reasons() { "developer" } else { "system" });
                texts(self, to.key("content"), &said.parts)?;
                &said.name
            }
            Message::Developer(said) => {
                to.set("role", if self.given.target.quirks.developer { "developer" } else { "system" });
                texts(self, to.key("content"), &said.parts)?;
                &said.name
            }
            Message::User(said) => {
                to.set("role", "user");
                match said.parts.as_slice() {
                    [Part::Text(TextPart { text, cache_control: None })] => to.set("content", text),
                    parts => to.list("content", parts, |out, part| self.user_part(out, part))?,
                }
                &said.name
            }
            Message::Assistant(said) => {
                self.assistant(to, said)?;
                &said.name
            }
            Message::Tool(said) => return self.tool_result(to, said),
        };
        if self.given.carries("name", name.is_some())? {
            to.some("name", name.as_ref());
        }
        Ok(())
    }

    fn user_part(&self, out: &mut Vec<u8>, part: &Part) -> Result<(), Error> {
        match part {
            Part::Text(part) => self.text(out, part),
            Part::Image(image) => self.image(out, image),
            Part::Audio(audio) => {
                let Some(data) = base64(&audio.source)? else { return Err(unsupported("input_audio.url")) };
                let Some(format) = &audio.format else {
                    return Err(bad("`input_audio` needs its `format`"));
                };
                json::object(out, |to| {
                    to.set("type", "input_audio");
                    to.object("input_audio", |to| {
                        put_base64(to.key("data"), "", &data);
                        to.set("format", format);
                        Ok(())
                    })
                })
            }
            Part::File(file) => self.file(out, file),
            Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {
                Err(bad("a user message holds text, images, audio and files only"))
            }
        }
    }

    fn text(&self, out: &mut Vec<u8>, part: &TextPart) -> Result<(), Error> {
        json::object(out, |to| {
            to.set("type", "text");
            to.set("text", &part.text);
            self.cache_control(to, part.cache_control.as_ref())
        })
    }

    fn image(&self, out: &mut Vec<u8>, image: &Image) -> Result<(), Error> {
        json::object(out, |to| {
            to.set("type", "image_url");
            to.object("image_url", |to| {
                match (&image.source, base64(&image.source)?) {
                    (Source::Url(url), _) => to.set("url", url),
                    (_, Some(data)) => put_base64(to.key("url"), &prefix(image.media_type.as_deref())?, &data),
                    (_, None) => return Err(unsupported("image.id")),
                }
                to.some("detail", image.detail.as_ref());
                Ok(())
            })?;
            self.cache_control(to, image.cache_control.as_ref())
        })
    }

    fn file(&self, out: &mut Vec<u8>, file: &File) -> Result<(), Error> {
        let quirks = self.given.target.quirks;
        let document = quirks.files == Some(Files::DocumentUrl);
        json::object(out, |to| {
            to.set("type", if document { "document_url" } else { "file" });
            let write = |to: &mut Object<'_>| {
                match (&file.source, base64(&file.source)?) {
                    (Source::Url(url), _) if document => to.set("document_url", url),
                    (Source::Url(url), _) if quirks.file_urls => to.set("file_data", url),
                    (Source::Id(id), _) if !document => to.set("file_id", id),
                    (_, Some(data)) => {
                        let key = if document { "document_url" } else { "file_data" };
                        put_base64(to.key(key), &prefix(file.media_type.as_deref())?, &data);
                    }
                    (Source::Url(_), None) => return Err(unsupported("file.url")),
                    (_, None) => return Err(unsupported("file.id")),
                }
                // A file that the provider has stored has its name there.
                let name = file.name.as_ref().filter(|_| !matches!(file.source, Source::Id(_)));
                to.some(if document { "document_name" } else { "filename" }, name);
                Ok(())
            };
            if document {
                write(to)?
            } else {
                to.object("file", write)?
            }
            self.cache_control(to, file.cache_control.as_ref())
        })
    }

    fn assistant(&self, to: &mut Object<'_>, said: &AssistantMessage) -> Result<(), Error> {
        to.set("role", "assistant");
        let mut content: Vec<&TextPart> = Vec::new();
        let mut thoughts: Vec<&ReasoningBlock> = Vec::new();
        let mut calls: Vec<&ToolCall> = Vec::new();
        for part in &said.parts {
            match part {
                Part::Text(text) => content.push(text),
                Part::Reasoning(block) => thoughts.push(block),
                Part::ToolCall(call) => calls.push(call),
                Part::Refusal(text) => to.set("refusal", text),
                Part::Audio(audio) => {
                    let id = match &audio.source {
                        Source::Id(id) => Some(id),
                        Source::Url(_) | Source::Bytes(_) | Source::Base64(_) => audio.id.as_ref(),
                    };
                    let Some(id) = id else { return Err(unsupported("assistant audio without its id")) };
                    to.object("audio", |to| {
                        to.set("id", id);
                        Ok::<_, Error>(())
                    })?;
                }
                Part::Image(_) | Part::File(_) => self.given.cannot("assistant images and files", true)?,
            }
        }
        let thinking = self.thoughts(to, &thoughts)?;
        match content.as_slice() {
            parts if thinking => {
                to.list("content", thoughts.iter().map(Err).chain(parts.iter().map(Ok)), |out, part| match part {
                    Ok(text) => self.text(out, text),
                    Err(thought) => thinking_part(out, thought),
                })?
            }
            [] if calls.is_empty() => to.set("content", ""),
            [] => to.raw("content", "null"),
            [TextPart { text, cache_control: None }] => to.set("content", text),
            parts => to.list("content", parts, |out, part| self.text(out, part))?,
        }
        if calls.is_empty() {
            return Ok(());
        }
        to.list("tool_calls", calls, |out, call| self.call(out, call))
    }

    /// Writes earlier thoughts beside the content. `true` if they belong into the content instead.
    fn thoughts(&self, to: &mut Object<'_>, thoughts: &[&ReasoningBlock]) -> Result<bool, Error> {
        if thoughts.is_empty() {
            return Ok(false);
        }
        let sealed = thoughts.iter().any(|block| matches!(block, ReasoningBlock::Redacted(_)));
        let key = match self.given.target.quirks.history {
            None => return self.given.cannot("reasoning_content", true).map(|()| false),
            Some(History::Thinking) => return self.given.cannot("redacted reasoning", sealed).map(|()| true),
            Some(History::ReasoningDetails) => {
                to.list("reasoning_details", thoughts, |out, block| reasoning_detail(out, block))?;
                return Ok(false);
            }
            Some(History::ReasoningContent) => "reasoning_content",
            Some(History::Reasoning) => "reasoning",
        };
        self.given.cannot("redacted reasoning", sealed)?;
        let open = thoughts.iter().filter_map(|block| match block {
            ReasoningBlock::Open(open) => Some(open.text.as_str()),
            ReasoningBlock::Redacted(_) => None,
        });
        to.set(key, &open.collect::<String>());
        Ok(false)
    }

    fn call(&self, out: &mut Vec<u8>, call: &ToolCall) -> Result<(), Error> {
        json::object(out, |to| {
            to.set("id", &*self.tool_id(&call.id));
            let (kind, input) = match call.kind {
                ToolKind::Function => ("function", "arguments"),
                ToolKind::Custom => ("custom", "input"),
            };
            to.set("type", kind);
            to.object(kind, |to| {
                to.set("name", &call.name);
                to.set(input, &call.arguments);
                Ok(())
            })
        })
    }

    fn tool_result(&self, to: &mut Object<'_>, said: &ToolResult) -> Result<(), Error> {
        to.set("role", "tool");
        to.set("tool_call_id", &*self.tool_id(&said.call_id));
        match said.parts.as_slice() {
            [] => to.set("content", ""),
            [Part::Text(TextPart { text, cache_control: None })] => to.set("content", text),
            parts => to.list("content", parts, |out, part| match part {
                Part::Text(text) => self.text(out, text),
                Part::Image(_) | Part::Audio(_) | Part::File(_) => {
                    Err(unsupported("images, audio and files in a tool's result"))
                }
                Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {
                    Err(bad("a tool's result holds text, images, audio and files only"))
                }
            })?,
        }
        self.cache_control(to, said.cache_control.as_ref())
    }

    /// A tool call's id as the provider wants it: where its length is fixed, another provider's id becomes a stable new one.
    fn tool_id<'i>(&self, id: &'i str) -> Cow<'i, str> {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let Some(length) = self.given.target.quirks.tool_id_length else { return Cow::Borrowed(id) };
        if id.len() == length && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Cow::Borrowed(id);
        }
        let mut hash = crate::dialect::hash(id.as_bytes());
        let digit = || {
            let digit = DIGITS[(hash % 62) as usize];
            hash /= 62;
            char::from(digit)
        };
        Cow::Owned(std::iter::repeat_with(digit).take(length).collect())
    }

    pub(super) fn cache_control(&self, to: &mut Object<'_>, mark: Option<&CacheControl>) -> Result<(), Error> {
        let Some(mark) = mark else { return Ok(()) };
        if !self.given.target.quirks.cache_control {
            return self.given.cannot("cache_control", true);
        }
        to.object("cache_control", |to| {
            to.set("type", "ephemeral");
            // https://openrouter.ai/docs/features/prompt-caching: "5m" or "1h" (2026-11)
            to.some("ttl", mark.ttl.map(|ttl| if ttl > 300_000_000_000 { "1h" } else { "5m" }));
            Ok(())
        })
    }
}

/// Mistral's thinking. <https://docs.mistral.ai/capabilities/reasoning> (2026-11)
fn thinking_part(out: &mut Vec<u8>, block: &ReasoningBlock) -> Result<(), Error> {
    let text = match block {
        ReasoningBlock::Open(open) => open.text.as_str(),
        ReasoningBlock::Redacted(_) => "",
    };
    json::object(out, |to| {
        to.set("type", "thinking");
        to.list("thinking", [text], |out, text| {
            json::object(out, |to| {
                to.set("type", "text");
                to.set("text", text);
                Ok(())
            })
        })
    })
}

/// OpenRouter's reasoning details. <https://openrouter.ai/docs/use-cases/reasoning-tokens> (2026-11)
fn reasoning_detail(out: &mut Vec<u8>, block: &ReasoningBlock) -> Result<(), Error> {
    json::object(out, |to| {
        match block {
            ReasoningBlock::Open(OpenReasoning { text, signature }) => {
                to.set("type", "reasoning.text");
                to.set("text", text);
                to.some("signature", signature.as_ref());
            }
            ReasoningBlock::Redacted(data) => {
                to.set("type", "reasoning.encrypted");
                to.set("data", data);
            }
        }
        Ok(())
    })
}
