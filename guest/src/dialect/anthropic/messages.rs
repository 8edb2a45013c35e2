//! The conversation -> Anthropic's JSON.
//!
//! Before: `encode` has written the limits. After: the same body. Invariant: instructions go into `system`, neighbours of one
//! role are one turn, thoughts go back as they came, and content is written or refused, never dropped.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::encode::Encoder;
use crate::{
    bindings::{
        CacheControl, Error, File, Image, Message, OpenReasoning, Part, ReasoningBlock, Source, TextPart, ToolCall,
        ToolKind, ToolResult,
    },
    dialect::{
        carry::{bad, unsupported},
        content::{base64, media_type, put_base64, text},
        hash,
    },
    json::{self, Object},
};

/// Several messages of one role.
struct Turn<'m> {
    role: &'static str,
    /// Each with its message's place in the request.
    blocks: Vec<(usize, Block<'m>)>,
}

/// One piece of a turn.
enum Block<'m> {
    Part(&'m Part),
    Result(&'m ToolResult),
}

pub(super) fn write(encoder: &mut Encoder<'_>, body: &mut Object<'_>) -> Result<(), Error> {
    let mut system: Vec<&TextPart> = Vec::new();
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (place, message) in encoder.given.request.messages.iter().enumerate() {
        let (role, parts, name) = match message {
            Message::System(said) | Message::Developer(said) => {
                // There is no place for a speaker's name.
                encoder.given.cannot("name", said.name.is_some())?;
                system.extend(said.parts.iter().filter(|part| says_something(part)));
                continue;
            }
            Message::User(said) => ("user", &said.parts, &said.name),
            Message::Assistant(said) => ("assistant", &said.parts, &said.name),
            Message::Tool(said) => {
                turn(&mut turns, "user").push((place, Block::Result(said)));
                continue;
            }
        };
        encoder.given.cannot("name", name.is_some())?;
        encoder.given.cannot("reasoning_content", parts.iter().any(unsigned))?;
        // An empty block is an error there, and models themselves write blocks of white space, which no later turn may hold.
        let blank = |part: &&Part| matches!(part, Part::Text(text) if !says_something(text));
        let told = parts.iter().filter(|part| !blank(part) && !unsigned(part));
        let mut told = told.map(|part| (place, Block::Part(part))).peekable();
        if told.peek().is_some() {
            turn(&mut turns, role).extend(told);
        }
    }
    if turns.is_empty() {
        return Err(bad("`messages` has to hold a user message that is not empty").about("messages"));
    }
    match system.as_slice() {
        [] => {}
        [TextPart { text, cache_control: None }] => encoder.given.put(body, "system", text),
        parts => {
            encoder.given.note("system");
            body.list("system", parts, |out, part| json::object(out, |to| write_text(to, part)))?;
        }
    }
    encoder.given.note("messages");
    body.list("messages", turns, |out, turn| {
        json::object(out, |to| {
            to.set("role", turn.role);
            match turn.blocks.as_slice() {
                [(_, Block::Part(Part::Text(TextPart { text, cache_control: None })))] => {
                    to.set("content", text);
                    Ok(())
                }
                blocks => to.list("content", blocks, |out, (place, block)| {
                    encoder.block(out, turn.role, block).map_err(|error| at(error, *place))
                }),
            }
        })
    })
}

/// The turn that the next message belongs to.
fn turn<'t, 'm>(turns: &'t mut Vec<Turn<'m>>, role: &'static str) -> &'t mut Vec<(usize, Block<'m>)> {
    if turns.last().is_none_or(|turn| turn.role != role) {
        turns.push(Turn { role, blocks: Vec::new() });
    }
    let last = turns.len() - 1;
    &mut turns[last].blocks
}

fn says_something(part: &TextPart) -> bool {
    !part.text.trim().is_empty()
}

/// Thoughts without the signature that proves whose they are: the API takes none.
/// <https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks> (2026-11)
fn unsigned(part: &Part) -> bool {
    matches!(part, Part::Reasoning(ReasoningBlock::Open(OpenReasoning { signature: None, .. })))
}

/// The error, with the message's place if it names no parameter.
fn at(mut error: Error, place: usize) -> Error {
    error.param.get_or_insert_with(|| format!("messages[{place}]"));
    error
}

impl Encoder<'_> {
    fn block(&mut self, out: &mut Vec<u8>, role: &str, block: &Block<'_>) -> Result<(), Error> {
        json::object(out, |to| match block {
            Block::Result(result) => self.result(to, result),
            Block::Part(part) if role == "user" => self.user_part(to, part, "a user message"),
            Block::Part(part) => assistant_part(to, part),
        })
    }

    fn user_part(&mut self, to: &mut Object<'_>, part: &Part, place: &str) -> Result<(), Error> {
        match part {
            Part::Text(part) => write_text(to, part),
            Part::Image(image) => self.image(to, image),
            Part::File(file) => self.file(to, file),
            Part::Audio(_) => Err(unsupported("input_audio")),
            Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {
                Err(bad(format!("{place} holds text, images and files only")))
            }
        }
    }

    /// <https://platform.claude.com/docs/en/build-with-claude/vision> (2026-11)
    fn image(&mut self, to: &mut Object<'_>, image: &Image) -> Result<(), Error> {
        let detail = image.detail.as_deref().is_some_and(|detail| detail != "auto");
        self.given.cannot("image_url.detail", detail)?;
        to.set("type", "image");
        self.source(to, &image.source, image.media_type.as_deref())?;
        cache_control(to, image.cache_control.as_ref());
        Ok(())
    }

    /// <https://platform.claude.com/docs/en/build-with-claude/pdf-support> (2026-11)
    fn file(&mut self, to: &mut Object<'_>, file: &File) -> Result<(), Error> {
        let sent_along = matches!(file.source, Source::Bytes(_) | Source::Base64(_));
        let kind = if sent_along { media_type(file.media_type.as_deref())? } else { String::new() };
        let words = kind.starts_with("text/") || kind == "application/json";
        if kind.starts_with("image/") {
            to.set("type", "image");
            self.source(to, &file.source, Some(&kind))?;
            cache_control(to, file.cache_control.as_ref());
            return Ok(());
        }
        to.set("type", "document");
        if words {
            let words = text(&file.source)?.unwrap_or_default();
            to.object("source", |to| {
                to.set("type", "text");
                to.set("media_type", "text/plain");
                to.set("data", &words);
                Ok::<_, Error>(())
            })?;
        } else if sent_along && kind != "application/pdf" {
            return Err(unsupported(&format!("file of type {kind}")));
        } else {
            self.source(to, &file.source, file.media_type.as_deref())?;
        }
        // A file that the provider has stored has its name there.
        to.some("title", file.name.as_ref().filter(|_| !matches!(file.source, Source::Id(_))));
        cache_control(to, file.cache_control.as_ref());
        Ok(())
    }

    fn source(&mut self, to: &mut Object<'_>, source: &Source, kind: Option<&str>) -> Result<(), Error> {
        let data = base64(source)?;
        self.beta |= matches!(source, Source::Id(_));
        to.object("source", |to| {
            match (source, data) {
                (Source::Url(url), _) => {
                    to.set("type", "url");
                    to.set("url", url);
                }
                (Source::Id(id), _) => {
                    to.set("type", "file");
                    to.set("file_id", id);
                }
                (Source::Bytes(_) | Source::Base64(_), data) => {
                    to.set("type", "base64");
                    to.set("media_type", &media_type(kind)?);
                    put_base64(to.key("data"), "", &data.unwrap_or_default());
                }
            }
            Ok(())
        })
    }

    /// <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use> (2026-11)
    fn result(&mut self, to: &mut Object<'_>, said: &ToolResult) -> Result<(), Error> {
        to.set("type", "tool_result");
        to.set("tool_use_id", &*tool_id(&said.call_id));
        let parts: Vec<&Part> =
            said.parts.iter().filter(|part| !matches!(part, Part::Text(text) if text.text.is_empty())).collect();
        match parts.as_slice() {
            [] => {}
            [Part::Text(TextPart { text, cache_control: None })] => to.set("content", text),
            parts => to.list("content", parts, |out, part| {
                json::object(out, |to| self.user_part(to, part, "a tool's result"))
            })?,
        }
        if said.failed {
            to.set("is_error", &true);
        }
        cache_control(to, said.cache_control.as_ref());
        Ok(())
    }
}

fn assistant_part(to: &mut Object<'_>, part: &Part) -> Result<(), Error> {
    match part {
        Part::Text(part) => write_text(to, part),
        // What the model said in refusing is text there.
        Part::Refusal(refusal) => {
            to.set("type", "text");
            to.set("text", refusal);
            Ok(())
        }
        Part::Reasoning(block) => {
            thought(to, block);
            Ok(())
        }
        Part::ToolCall(call) => tool_use(to, call),
        Part::Image(_) | Part::Audio(_) | Part::File(_) => Err(unsupported("assistant images, audio and files")),
    }
}

fn write_text(to: &mut Object<'_>, part: &TextPart) -> Result<(), Error> {
    to.set("type", "text");
    to.set("text", &part.text);
    cache_control(to, part.cache_control.as_ref());
    Ok(())
}

/// Thoughts go back as they came.
fn thought(to: &mut Object<'_>, block: &ReasoningBlock) {
    match block {
        ReasoningBlock::Open(OpenReasoning { text, signature }) => {
            to.set("type", "thinking");
            to.set("thinking", text);
            to.some("signature", signature.as_ref());
        }
        ReasoningBlock::Redacted(data) => {
            to.set("type", "redacted_thinking");
            to.set("data", data);
        }
    }
}

fn tool_use(to: &mut Object<'_>, call: &ToolCall) -> Result<(), Error> {
    if call.kind == ToolKind::Custom {
        return Err(unsupported("custom tool calls"));
    }
    to.set("type", "tool_use");
    to.set("id", &*tool_id(&call.id));
    to.set("name", &call.name);
    let arguments = call.arguments.trim();
    match serde_json::from_str::<&RawValue>(arguments) {
        _ if arguments.is_empty() => to.raw("input", "{}"),
        Ok(json) if json.get().starts_with('{') => to.raw("input", json.get()),
        // A model may write invalid JSON, and only an object can go back: this is the form that is documented for it.
        // https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming (2026-11)
        Ok(_) | Err(_) => to.object("input", |to| {
            to.set("INVALID_JSON", &call.arguments);
            Ok::<_, Error>(())
        })?,
    }
    Ok(())
}

/// A tool call's id as the API takes it, letters, digits, `_` and `-`: another provider's id may become a stable new one.
fn tool_id(id: &str) -> Cow<'_, str> {
    let clean = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if clean { Cow::Borrowed(id) } else { Cow::Owned(format!("toolu_{:016x}", hash(id.as_bytes()))) }
}

/// <https://platform.claude.com/docs/en/build-with-claude/prompt-caching> (2026-11)
pub(super) fn cache_control(to: &mut Object<'_>, mark: Option<&CacheControl>) {
    let Some(mark) = mark else { return };
    let written = to.object("cache_control", |to| {
        to.set("type", "ephemeral");
        to.some("ttl", mark.ttl.map(|ttl| if ttl > 300_000_000_000 { "1h" } else { "5m" }));
        Ok::<_, std::convert::Infallible>(())
    });
    let Ok(()) = written;
}
