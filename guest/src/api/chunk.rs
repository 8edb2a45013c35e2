//! Deltas -> OpenAI's chunks, as server-sent events.
//!
//! Before: a stream's reader. After: the client. Invariant: one id; the role in each choice's first delta; tool calls
//! numbered from 0 with id, name and an argument string in the first; one finish chunk a choice; the usage once, without
//! choices, and only when asked for; `[DONE]` last, or an error in its place; no event has a name.
//! <https://platform.openai.com/docs/api-reference/chat-streaming> (2026-11)

use super::answer::{
    Written, finish, head, is_sealed, tail, thinking_block, tool_call, write_annotation, write_image, write_logprobs,
    write_usage,
};
use crate::{
    bindings::{Delta, Error, FinishDelta, Logprobs, ReasoningBlock, Start, Usage},
    dialect::hash,
    json::{self, Object},
};

/// Writes the chunks of one answer.
#[derive(Debug)]
pub struct Chunks {
    /// The name that the caller used, for a provider that names none.
    model: String,
    usage: bool,
    /// Everything before and after the choices, which is the same in every chunk.
    head: Vec<u8>,
    tail: Vec<u8>,
    id: Option<String>,
    choices: Vec<Open>,
}

/// A choice that has begun.
#[derive(Debug)]
struct Open {
    index: u32,
    role: bool,
    finished: bool,
    /// Those of the tokens that the next text brings.
    logprobs: Option<Logprobs>,
}

impl Chunks {
    /// Chunks of an answer to a request for `model`. `usage` says whether the client asked for it.
    pub fn new(model: &str, usage: bool) -> Self {
        Self { model: model.to_owned(), usage, head: Vec::new(), tail: Vec::new(), id: None, choices: Vec::new() }
    }

    /// Writes what the deltas add.
    pub fn write(&mut self, deltas: Vec<Delta>, out: &mut Vec<u8>) {
        for delta in deltas {
            let Ok(()) = self.delta(delta, out);
        }
    }

    /// Writes the end of a complete stream.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Writes the end of a stream that failed: the error in place of `[DONE]`.
    pub fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        let failure = super::failure(error);
        let status = format!(",\"status\":{}}}}}", failure.status);
        out.extend_from_slice(b"data: ");
        // The status is the one that an answer would have had, had it not begun: `{"error":{..}}` gets it as one more key.
        out.extend_from_slice(failure.body.strip_suffix(b"}}").unwrap_or(&failure.body));
        out.extend_from_slice(status.as_bytes());
        out.extend_from_slice(b"\n\n");
    }

    fn delta(&mut self, delta: Delta, out: &mut Vec<u8>) -> Written {
        match delta {
            Delta::Start(start) => {
                self.start(start);
                Ok(())
            }
            Delta::Text(delta) => self.chunk(delta.choice, out, |to| {
                to.set("content", &delta.text);
                Ok(())
            }),
            Delta::Refusal(delta) => self.chunk(delta.choice, out, |to| {
                to.set("refusal", &delta.text);
                Ok(())
            }),
            Delta::Reasoning(delta) => self.chunk(delta.choice, out, |to| thoughts(to, &delta.content)),
            Delta::ToolCall(delta) => self.chunk(delta.choice, out, |to| {
                to.list("tool_calls", [&delta], |out, delta| {
                    json::object(out, |to| {
                        to.set("index", &delta.index);
                        tool_call(to, &delta.call)
                    })
                })
            }),
            Delta::Arguments(delta) => self.chunk(delta.choice, out, |to| {
                to.list("tool_calls", [&delta], |out, delta| {
                    json::object(out, |to| {
                        to.set("index", &delta.index);
                        to.object("function", |to| {
                            to.set("arguments", &delta.arguments);
                            Ok(())
                        })
                    })
                })
            }),
            Delta::Image(delta) => self.chunk(delta.choice, out, |to| to.list("images", [&delta.image], write_image)),
            Delta::Audio(delta) => self.chunk(delta.choice, out, |to| {
                to.object("audio", |to| {
                    to.some("id", delta.id.as_ref());
                    to.some("data", delta.base64.as_ref());
                    to.some("transcript", delta.transcript.as_ref());
                    to.some("expires_at", delta.expires_at.as_ref());
                    Ok(())
                })
            }),
            Delta::Annotation(delta) => {
                self.chunk(delta.choice, out, |to| to.list("annotations", [&delta.annotation], write_annotation))
            }
            Delta::Logprobs(delta) => {
                self.open(delta.choice).logprobs = Some(delta.logprobs);
                Ok(())
            }
            Delta::Finish(delta) => self.finish(&delta, out),
            Delta::Usage(usage) => self.usage(&usage, out),
        }
    }

    fn start(&mut self, mut start: Start) {
        // Whatever the provider does, one answer has one id.
        let id = self.id.get_or_insert_with(|| match start.id.as_str() {
            "" => format!("chatcmpl-{:016x}", hash(self.model.as_bytes())),
            id => id.to_owned(),
        });
        start.id.clone_from(id);
        self.head.clear();
        self.tail.clear();
        // An object's beginning and an object's end: the choices go between them.
        let mut to = Vec::new();
        let written = json::object(&mut to, |to| {
            head(to, &start, &self.model, "chat.completion.chunk");
            Written::Ok(())
        });
        let Ok(()) = written;
        self.head.extend_from_slice(b"data: ");
        self.head.extend_from_slice(to.strip_suffix(b"}").unwrap_or(&to));
        let mut to = Vec::new();
        let written = json::object(&mut to, |to| {
            tail(to, &start);
            Written::Ok(())
        });
        let Ok(()) = written;
        if to.len() > 2 {
            self.tail.push(b',');
        }
        self.tail.extend_from_slice(to.strip_prefix(b"{").unwrap_or(&to));
        self.tail.extend_from_slice(b"\n\n");
    }

    fn open(&mut self, index: u32) -> &mut Open {
        let at = self.choices.iter().position(|open| open.index == index).unwrap_or_else(|| {
            self.choices.push(Open { index, role: false, finished: false, logprobs: None });
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }

    /// One chunk of one choice, whose delta `fill` fills.
    fn chunk(&mut self, choice: u32, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>) -> Written) -> Written {
        self.choice(choice, out, fill, |to| {
            to.raw("finish_reason", "null");
        })
    }

    fn finish(&mut self, delta: &FinishDelta, out: &mut Vec<u8>) -> Written {
        if std::mem::replace(&mut self.open(delta.choice).finished, true) {
            return Ok(());
        }
        let end = |to: &mut Object<'_>| finish(to, delta.reason, delta.provider_reason.as_deref());
        self.choice(delta.choice, out, |_| Ok(()), end)
    }

    fn choice(
        &mut self,
        choice: u32,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Object<'_>) -> Written,
        end: impl FnOnce(&mut Object<'_>),
    ) -> Written {
        let open = self.open(choice);
        let role = !std::mem::replace(&mut open.role, true);
        let logprobs = open.logprobs.take();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b",\"choices\":[");
        json::object(out, |to| {
            to.set("index", &choice);
            to.object("delta", |to| {
                if role {
                    to.set("role", "assistant");
                }
                fill(to)
            })?;
            match &logprobs {
                Some(logprobs) => to.object("logprobs", |to| write_logprobs(to, logprobs))?,
                None => to.raw("logprobs", "null"),
            }
            end(to);
            Written::Ok(())
        })?;
        out.push(b']');
        out.extend_from_slice(&self.tail);
        Ok(())
    }

    fn usage(&self, usage: &Usage, out: &mut Vec<u8>) -> Written {
        if !self.usage {
            return Ok(());
        }
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b",\"choices\":[],\"usage\":");
        json::object(out, |to| write_usage(to, usage))?;
        out.extend_from_slice(&self.tail);
        Ok(())
    }
}

fn thoughts(to: &mut Object<'_>, block: &ReasoningBlock) -> Written {
    if let ReasoningBlock::Open(open) = block
        && !open.text.is_empty()
    {
        to.set("reasoning_content", &open.text);
    }
    if is_sealed(block) {
        to.list("thinking_blocks", [block], thinking_block)?;
    }
    Ok(())
}
