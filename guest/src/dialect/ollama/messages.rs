//! The conversation -> Ollama's JSON.
//!
//! Before: `encode` writes everything else. After: the same body. Invariant: content is written or refused; one message has
//! one text, and its pictures beside it in bare base64, which is passed on without being decoded.

use super::encode::{Encoder, misplaced};
use crate::{
    bindings::{
        AssistantMessage, CacheControl, Error, Image, Message, Part, ReasoningBlock, TextPart, ToolCall, ToolKind,
        ToolResult,
    },
    dialect::{
        carry::{arguments, unsupported},
        content::{base64, put_base64},
    },
    json::{self, Object},
};

pub(super) fn write(encoder: &Encoder<'_>, out: &mut Vec<u8>, messages: &[Message]) -> Result<(), Error> {
    json::list(out, messages.iter().enumerate(), |out, (place, message)| {
        json::object(out, |to| encoder.message(to, message, &messages[..place])).map_err(|mut error| {
            if error.param.is_none() {
                error.param = Some(format!("messages[{place}]"));
            }
            error
        })
    })
}

impl Encoder<'_> {
    fn message(&self, to: &mut Object<'_>, message: &Message, before: &[Message]) -> Result<(), Error> {
        let name = match message {
            Message::System(said) | Message::Developer(said) => {
                to.set("role", "system");
                to.set("content", &self.text(said.parts.iter())?);
                &said.name
            }
            Message::User(said) => {
                to.set("role", "user");
                self.content(to, &said.parts, "a user message")?;
                &said.name
            }
            Message::Assistant(said) => {
                to.set("role", "assistant");
                self.assistant(to, said)?;
                &said.name
            }
            Message::Tool(said) => return self.tool_result(to, said, before),
        };
        self.carrier.cannot("name", name.is_some())
    }

    /// Text in parts, as one text: a line a part.
    fn text<'p>(&self, parts: impl Iterator<Item = &'p TextPart>) -> Result<String, Error> {
        let mut lines = Vec::new();
        for part in parts {
            self.uncached(part.cache_control.as_ref())?;
            lines.push(part.text.as_str());
        }
        Ok(lines.join("\n"))
    }

    /// Its cache is its own business: there is nothing to mark.
    fn uncached(&self, mark: Option<&CacheControl>) -> Result<(), Error> {
        self.carrier.cannot("cache_control", mark.is_some())
    }

    fn content(&self, to: &mut Object<'_>, parts: &[Part], place: &str) -> Result<(), Error> {
        let mut texts = Vec::new();
        let mut images: Vec<&Image> = Vec::new();
        for part in parts {
            match part {
                Part::Text(text) => texts.push(text),
                Part::Image(image) => images.push(image),
                Part::Audio(_) => return Err(unsupported("input_audio")),
                Part::File(_) => return Err(unsupported("file")),
                Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => return Err(misplaced(place)),
            }
        }
        to.set("content", &self.text(texts.into_iter())?);
        if images.is_empty() {
            return Ok(());
        }
        to.list("images", images, |out, image| self.image(out, image))
    }

    fn image(&self, out: &mut Vec<u8>, image: &Image) -> Result<(), Error> {
        self.carrier.cannot("detail", image.detail.as_deref().is_some_and(|detail| detail != "auto"))?;
        self.uncached(image.cache_control.as_ref())?;
        // The server fetches nothing: https://docs.ollama.com/capabilities/vision (2026-11)
        let Some(data) = base64(&image.source)? else { return Err(unsupported("image_url.url")) };
        put_base64(out, "", &data);
        Ok(())
    }

    fn assistant(&self, to: &mut Object<'_>, said: &AssistantMessage) -> Result<(), Error> {
        let mut texts: Vec<&str> = Vec::new();
        let mut thoughts = String::new();
        let mut calls: Vec<&ToolCall> = Vec::new();
        for part in &said.parts {
            match part {
                Part::Text(part) => {
                    self.uncached(part.cache_control.as_ref())?;
                    texts.push(&part.text);
                }
                Part::Refusal(text) => texts.push(text),
                Part::Reasoning(ReasoningBlock::Open(open)) => thoughts.push_str(&open.text),
                Part::Reasoning(ReasoningBlock::Redacted(_)) => self.carrier.cannot("redacted reasoning", true)?,
                Part::ToolCall(call) => calls.push(call),
                Part::Audio(_) => return Err(unsupported("assistant audio")),
                Part::Image(_) | Part::File(_) => self.carrier.cannot("assistant images and files", true)?,
            }
        }
        to.set("content", &texts.join("\n"));
        to.some("thinking", Some(&thoughts).filter(|thoughts| !thoughts.is_empty()));
        if calls.is_empty() {
            return Ok(());
        }
        to.list("tool_calls", calls, |out, call| {
            if call.kind == ToolKind::Custom {
                return Err(unsupported("custom_tools"));
            }
            json::object(out, |to| {
                to.set("id", &call.id);
                to.object("function", |to| {
                    to.set("name", &call.name);
                    to.raw("arguments", arguments(&call.arguments, &call.id)?);
                    Ok(())
                })
            })
        })
    }

    /// A result goes by the tool's name; servers that number calls take the call's id too.
    /// <https://docs.ollama.com/capabilities/tool-calling> (2026-11)
    fn tool_result(&self, to: &mut Object<'_>, said: &ToolResult, before: &[Message]) -> Result<(), Error> {
        self.uncached(said.cache_control.as_ref())?;
        to.set("role", "tool");
        self.content(to, &said.parts, "a tool's result")?;
        let name = said.name.as_deref().or_else(|| called(before, &said.call_id));
        to.some("tool_name", name);
        to.set("tool_call_id", &said.call_id);
        Ok(())
    }
}

/// The name of the tool that the call of an id called.
fn called<'m>(before: &'m [Message], id: &str) -> Option<&'m str> {
    let assistants = before.iter().rev().filter_map(|message| match message {
        Message::Assistant(said) => Some(said),
        Message::System(_) | Message::Developer(_) | Message::User(_) | Message::Tool(_) => None,
    });
    let mut calls = assistants.flat_map(|said| &said.parts).filter_map(|part| match part {
        Part::ToolCall(call) => Some(call),
        Part::Text(_) | Part::Image(_) | Part::Audio(_) | Part::File(_) | Part::Refusal(_) | Part::Reasoning(_) => None,
    });
    calls.find(|call| call.id == id).map(|call| call.name.as_str())
}
