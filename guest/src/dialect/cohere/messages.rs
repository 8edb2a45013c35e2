//! The conversation -> Cohere's JSON.
//!
//! Before: `encode` has named the model. After: the same body. Invariant: content is written or refused, never dropped.

use super::encode::Encoder;
use crate::{
    bindings::{
        AssistantMessage, CacheControl, Error, Image, Message, Part, ReasoningBlock, Source, TextPart, ToolCall,
        ToolKind, ToolResult,
    },
    dialect::{
        carry::{bad, unsupported},
        content::{base64, prefix, put_base64},
    },
    json::{self, Object},
};

pub(super) fn write(encoder: &Encoder<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    json::list(out, encoder.given.request.messages.iter().enumerate(), |out, (place, message)| {
        json::object(out, |to| encoder.message(to, message)).map_err(|mut error| {
            error.param.get_or_insert_with(|| format!("messages[{place}]"));
            error
        })
    })
}

impl Encoder<'_> {
    fn message(&self, to: &mut Object<'_>, message: &Message) -> Result<(), Error> {
        let name = match message {
            Message::System(said) | Message::Developer(said) => {
                to.set("role", "system");
                match said.parts.as_slice() {
                    [part] => to.set("content", self.plain(part)?),
                    parts => to.list("content", parts, |out, part| self.text(out, part))?,
                }
                &said.name
            }
            Message::User(said) => {
                to.set("role", "user");
                match said.parts.as_slice() {
                    [Part::Text(part)] => to.set("content", self.plain(part)?),
                    parts => to.list("content", parts, |out, part| self.user_part(out, part))?,
                }
                &said.name
            }
            Message::Assistant(said) => {
                self.assistant(to, said)?;
                &said.name
            }
            Message::Tool(said) => return self.result(to, said),
        };
        self.given.cannot("name", name.is_some())
    }

    fn user_part(&self, out: &mut Vec<u8>, part: &Part) -> Result<(), Error> {
        match part {
            Part::Text(part) => self.text(out, part),
            Part::Image(image) => self.image(out, image),
            Part::Audio(_) => Err(unsupported("input_audio")),
            Part::File(_) => Err(unsupported("file")),
            Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {
                Err(bad("a user message holds text and images only"))
            }
        }
    }

    /// <https://docs.cohere.com/docs/image-inputs> (2026-11)
    fn image(&self, out: &mut Vec<u8>, image: &Image) -> Result<(), Error> {
        self.unmarked(image.cache_control.as_ref())?;
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
            })
        })
    }

    fn assistant(&self, to: &mut Object<'_>, said: &AssistantMessage) -> Result<(), Error> {
        to.set("role", "assistant");
        let mut calls: Vec<&ToolCall> = Vec::new();
        let mut thoughts: Vec<&str> = Vec::new();
        let mut content: Vec<&str> = Vec::new();
        for part in &said.parts {
            match part {
                Part::Text(part) => content.push(self.plain(part)?),
                // What the model said in refusing is text there.
                Part::Refusal(refusal) => content.push(refusal),
                Part::Reasoning(ReasoningBlock::Open(open)) => thoughts.push(&open.text),
                Part::Reasoning(ReasoningBlock::Redacted(_)) => self.given.cannot("redacted reasoning", true)?,
                Part::ToolCall(call) if call.kind == ToolKind::Function => calls.push(call),
                Part::ToolCall(_) => return Err(unsupported("custom tool calls")),
                Part::Image(_) | Part::Audio(_) | Part::File(_) => {
                    return Err(unsupported("assistant images, audio and files"));
                }
            }
        }
        // Thoughts before tool calls are the plan. https://docs.cohere.com/docs/tool-use-overview (2026-11)
        if !calls.is_empty() && !thoughts.is_empty() {
            to.set("tool_plan", &thoughts.concat());
            thoughts.clear();
        }
        match (thoughts.as_slice(), content.as_slice()) {
            ([], []) if calls.is_empty() => to.set("content", ""),
            ([], []) => {}
            ([], [text]) => to.set("content", text),
            (thoughts, texts) => {
                let thoughts = thoughts.iter().map(|text| ("thinking", text));
                let parts = thoughts.chain(texts.iter().map(|text| ("text", text)));
                to.list("content", parts, |out, (kind, text)| {
                    json::object(out, |to| {
                        to.set("type", kind);
                        to.set(kind, text);
                        Ok::<_, Error>(())
                    })
                })?;
            }
        }
        if calls.is_empty() {
            return Ok(());
        }
        to.list("tool_calls", calls, call)
    }

    fn result(&self, to: &mut Object<'_>, said: &ToolResult) -> Result<(), Error> {
        self.unmarked(said.cache_control.as_ref())?;
        to.set("role", "tool");
        to.set("tool_call_id", &said.call_id);
        match said.parts.as_slice() {
            [] => {
                to.set("content", "");
                Ok(())
            }
            [Part::Text(part)] => {
                to.set("content", self.plain(part)?);
                Ok(())
            }
            parts => to.list("content", parts, |out, part| match part {
                Part::Text(part) => self.text(out, part),
                Part::Image(_) | Part::Audio(_) | Part::File(_) => {
                    Err(unsupported("images, audio and files in a tool's result"))
                }
                Part::Refusal(_) | Part::Reasoning(_) | Part::ToolCall(_) => {
                    Err(bad("a tool's result holds text only"))
                }
            }),
        }
    }

    fn text(&self, out: &mut Vec<u8>, part: &TextPart) -> Result<(), Error> {
        let text = self.plain(part)?;
        json::object(out, |to| {
            to.set("type", "text");
            to.set("text", text);
            Ok(())
        })
    }

    fn plain<'t>(&self, part: &'t TextPart) -> Result<&'t str, Error> {
        self.unmarked(part.cache_control.as_ref())?;
        Ok(&part.text)
    }

    /// There are no marks for the prompt's cache.
    fn unmarked(&self, mark: Option<&CacheControl>) -> Result<(), Error> {
        self.given.cannot("cache_control", mark.is_some())
    }
}

fn call(out: &mut Vec<u8>, call: &ToolCall) -> Result<(), Error> {
    json::object(out, |to| {
        to.set("id", &call.id);
        to.set("type", "function");
        to.object("function", |to| {
            to.set("name", &call.name);
            to.set("arguments", if call.arguments.is_empty() { "{}" } else { &call.arguments });
            Ok(())
        })
    })
}
