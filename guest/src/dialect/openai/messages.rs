//! The conversation -> OpenAI's JSON.
//!
//! Before: `encode` writes everything else. After: the same body. Invariant: content is written or refused; it is dropped
//! only where the caller asked for that, and bytes in base64 are passed on without being decoded.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::encode::Encoder;
use crate::{
    bindings::{
        AssistantMessage, CacheControl, Error, ErrorKind, File, Image, Message, OpenReasoning, Part, ReasoningBlock,
        Request, Source, TextPart, ToolCall, ToolKind, ToolResult,
    },
    json::{self, Object},
    provider::{Files, History},
};

/// Roughly how long the body gets, in bytes, so that it is allocated once.
pub(super) fn weight(request: &Request) -> usize {
    fn source(source: &Source) -> usize {
        match source {
            Source::Url(text) | Source::Base64(text) | Source::Id(text) => text.len(),
            Source::Bytes(bytes) => bytes.len() / 3 * 4 + 4,
        }
    }
    fn part(part: &Part) -> usize {
        64 + match part {
            Part::Text(part) => part.text.len(),
            Part::Image(image) => source(&image.source),
            Part::Audio(audio) => source(&audio.source),
            Part::File(file) => source(&file.source),
            Part::Refusal(text) | Part::Reasoning(ReasoningBlock::Redacted(text)) => text.len(),
            Part::Reasoning(ReasoningBlock::Open(open)) => open.text.len(),
            Part::ToolCall(call) => 128 + call.arguments.len() + call.arguments.len() / 4,
        }
    }
    let message = |message: &Message| match message {
        Message::System(said) | Message::Developer(said) => said.parts.iter().map(|part| 64 + part.text.len()).sum(),
        Message::User(said) => said.parts.iter().map(part).sum(),
        Message::Assistant(said) => said.parts.iter().map(part).sum(),
        Message::Tool(said) => said.parts.iter().map(part).sum::<usize>(),
    };
    let tools = request.tools.iter().map(|tool| match tool {
        crate::bindings::Tool::Function(tool) => {
            128 + tool.schema_json.as_ref().map_or(0, String::len) + text_len(&tool.description)
        }
        crate::bindings::Tool::Custom(tool) => 256 + text_len(&tool.description),
    });
    let said: usize = request.messages.iter().map(message).sum();
    // Escapes make text longer: quotes and line feeds are a few in a hundred.
    (said + tools.sum::<usize>()) / 16 * 17 + request.messages.len() * 64 + 1024
}

fn text_len(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

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
                to.set("role", if self.target.reasons() { "developer" } else { "system" });
                texts(self, to.key("content"), &said.parts)?;
                &said.name
            }
            Message::Developer(said) => {
                to.set("role", if self.target.quirks.developer { "developer" } else { "system" });
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
        if self.carries("name", name.is_some())? {
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
        let quirks = self.target.quirks;
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
                Part::Image(_) | Part::File(_) => self.cannot("assistant images and files", true)?,
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
        let key = match self.target.quirks.history {
            None => return self.cannot("reasoning_content", true).map(|()| false),
            Some(History::Thinking) => return self.cannot("redacted reasoning", sealed).map(|()| true),
            Some(History::ReasoningDetails) => {
                to.list("reasoning_details", thoughts, |out, block| reasoning_detail(out, block))?;
                return Ok(false);
            }
            Some(History::ReasoningContent) => "reasoning_content",
            Some(History::Reasoning) => "reasoning",
        };
        self.cannot("redacted reasoning", sealed)?;
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
        let Some(length) = self.target.quirks.tool_id_length else { return Cow::Borrowed(id) };
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
        if !self.target.quirks.cache_control {
            return self.cannot("cache_control", true);
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

/// Content in base64, if it is here and not at an address or with the provider.
fn base64(source: &Source) -> Result<Option<Cow<'_, str>>, Error> {
    match source {
        Source::Bytes(bytes) => Ok(Some(Cow::Owned(BASE64_STANDARD.encode(bytes)))),
        Source::Base64(text) => {
            // It goes into the body without being escaped.
            let clean = text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_'));
            if clean { Ok(Some(Cow::Borrowed(text))) } else { Err(bad("content is said to be base64, and is not")) }
        }
        Source::Url(_) | Source::Id(_) => Ok(None),
    }
}

/// The beginning of a `data:` URL. <https://www.rfc-editor.org/rfc/rfc2397>
fn prefix(media_type: Option<&str>) -> Result<String, Error> {
    match media_type {
        Some(kind) if kind.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',')) => {
            Ok(format!("data:{kind};base64,"))
        }
        Some(_) => Err(bad("a media type has characters that none can have")),
        None => Err(bad("content that is sent along needs its media type")),
    }
}

/// Writes a string of clean base64 without looking at it again.
fn put_base64(out: &mut Vec<u8>, prefix: &str, data: &str) {
    out.push(b'"');
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(data.as_bytes());
    out.push(b'"');
}

/// The error of content that the provider cannot take. It is never dropped.
fn unsupported(content: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the provider cannot take `{content}`")).about(content)
}

fn bad(message: &str) -> Error {
    Error::new(ErrorKind::BadRequest, message)
}
