//! `POST /chat`: a prompt in, a text out, for callers that want no more.
//!
//! Before and after as for OpenAI's own path, whose parameters it takes. Invariant: what an answer holds beside its text is
//! told too, in OpenAI's form.

use serde_json::value::RawValue;

use super::{
    Chunks,
    answer::{self, Written, write_usage},
    request::{self, Incoming, bad},
};
use crate::{
    bindings::{Completion, Delta, Error, FinishReason, Part, Usage},
    json::{self, Pairs},
};

/// Reads a body: `{"model", "message" | "messages", ...}`, where `message` is the text of one message of the user, and all
/// else is as on OpenAI's path. `streams` says whether the client's `Accept` asks for events.
///
/// # Errors
/// `bad-request`, naming the parameter at fault.
pub fn parse_chat(body: &[u8], streams: bool) -> Result<Incoming, Error> {
    let text = request::text(body)?;
    let Pairs(mut fields) = json::read::<Pairs<Option<&RawValue>>>(text).map_err(|wrong| request::explain(&wrong))?;
    let message = fields.iter().position(|(key, _)| key == "message").map(|place| fields.remove(place).1);
    let mut incoming = match message {
        None => request::parse(body)?,
        Some(Some(_)) if fields.iter().any(|(key, _)| key == "messages") => {
            return Err(bad("message", "`message` and `messages` are both there; give one of them"));
        }
        Some(said) => {
            let mut whole = Vec::with_capacity(body.len() + 64);
            let written: Written = json::object(&mut whole, |to| {
                fields.iter().for_each(|(key, value)| to.raw(key, value.map_or("null", RawValue::get)));
                let Some(message) = said else { return Ok(()) };
                to.list("messages", [message], |out, message| {
                    json::object(out, |to| {
                        to.set("role", "user");
                        to.raw("content", message.get());
                        Ok(())
                    })
                })
            });
            let Ok(()) = written;
            request::parse(&whole)?
        }
    };
    if incoming.request.n.is_some_and(|n| n > 1) {
        return Err(bad("n", "`n` is more than 1, and an answer of /chat has one text; use /v1/chat/completions"));
    }
    incoming.stream |= streams;
    Ok(incoming)
}

/// A whole answer: its text, and OpenAI's whole message too where that holds more.
pub fn chat_answer(completion: &Completion, model: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(512);
    let start = &completion.start;
    let written: Written = json::object(&mut body, |to| {
        let Some(choice) = completion.choices.first() else { return Ok(()) };
        let mut text = String::new();
        let mut more = !choice.message.annotations.is_empty();
        for part in &choice.message.parts {
            match part {
                Part::Text(part) => text.push_str(&part.text),
                Part::Image(_)
                | Part::Audio(_)
                | Part::File(_)
                | Part::Refusal(_)
                | Part::Reasoning(_)
                | Part::ToolCall(_) => more = true,
            }
        }
        to.set("text", &text);
        to.set("id", &start.id);
        to.set("model", if start.model.is_empty() { model } else { &start.model });
        answer::finish(to, choice.finish_reason, choice.provider_reason.as_deref());
        if more {
            to.object("message", |to| answer::message(to, &choice.message))?;
        }
        match &completion.usage {
            Some(usage) => to.object("usage", |to| write_usage(to, usage)),
            None => Ok(()),
        }
    });
    let Ok(()) = written;
    body
}

/// Writes the events of one answer: `{"text"}` for each piece, what is no text as OpenAI's chunks, and at the end
/// `{"finish_reason", "usage"}` and `[DONE]`.
#[derive(Debug)]
pub struct Chat {
    chunks: Chunks,
    finish: Option<(FinishReason, Option<String>)>,
    usage: Option<Usage>,
}

impl Chat {
    /// Events of an answer to a request for `model`.
    pub fn new(model: &str) -> Self {
        Self { chunks: Chunks::new(model, false), finish: None, usage: None }
    }

    /// Writes what the deltas add.
    pub fn write(&mut self, deltas: Vec<Delta>, out: &mut Vec<u8>) {
        for delta in deltas {
            if let Delta::Text(delta) = delta {
                out.extend_from_slice(b"data: ");
                let written: Written = json::object(out, |to| {
                    to.set("text", &delta.text);
                    Ok(())
                });
                let Ok(()) = written;
                out.extend_from_slice(b"\n\n");
            } else if let Delta::Finish(delta) = delta {
                self.finish = Some((delta.reason, delta.provider_reason));
            } else if let Delta::Usage(usage) = delta {
                self.usage = Some(usage);
            } else {
                self.chunks.write(vec![delta], out);
            }
        }
    }

    /// Writes the end of a complete stream.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        let written: Written = json::object(out, |to| {
            if let Some((reason, provider)) = &self.finish {
                answer::finish(to, *reason, provider.as_deref());
            }
            match &self.usage {
                Some(usage) => to.object("usage", |to| write_usage(to, usage)),
                None => Ok(()),
            }
        });
        let Ok(()) = written;
        out.extend_from_slice(b"\n\n");
        self.chunks.end(out);
    }

    /// Writes the end of a stream that failed: the error in place of `[DONE]`.
    pub fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        self.chunks.fail(error, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::parse,
        bindings::{FinishDelta, TextDelta},
    };

    #[test]
    fn a_message_is_a_conversation_of_one() {
        let chat = parse_chat(br#"{"model": "m", "message": "hi \u00e9", "temperature": 0.5}"#, false).unwrap();
        let same = br#"{"model": "m", "messages": [{"role": "user", "content": "hi \u00e9"}], "temperature": 0.5}"#;
        assert_eq!(chat, parse(same).unwrap());
        assert_eq!(parse_chat(same, false), parse(same));
        assert!(parse_chat(same, true).unwrap().stream);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (body, param) in [
            (r#"{"model": "m", "message": "x", "messages": []}"#, Some("message")),
            (r#"{"model": "m"}"#, Some("messages")),
            (r#"{"message": "x"}"#, Some("model")),
            (r#"{"model": "m", "message": "x", "temprature": 1}"#, Some("temprature")),
            (r#"{"model": "m", "message": "x", "n": 2}"#, Some("n")),
            (r#"{"model": "m", "message": null}"#, Some("messages")),
            ("{bad", None),
            ("[]", None),
        ] {
            let error = parse_chat(body.as_bytes(), false).unwrap_err();
            assert_eq!(error.param.as_deref(), param, "{body}: {}", error.message);
        }
    }

    #[test]
    fn a_stream_is_texts_and_one_end() {
        let mut chat = Chat::new("m");
        let mut out = Vec::new();
        let text = |text: &str| Delta::Text(TextDelta { choice: 0, text: text.to_owned() });
        let finish = FinishDelta { choice: 0, reason: FinishReason::Stop, provider_reason: None };
        chat.write(vec![text("a\u{2028}"), text("b"), Delta::Finish(finish)], &mut out);
        chat.end(&mut out);
        let said = String::from_utf8(out).unwrap();
        assert_eq!(
            said,
            "data: {\"text\":\"a\u{2028}\"}\n\ndata: {\"text\":\"b\"}\n\ndata: {\"finish_reason\":\"stop\"}\n\ndata: [DONE]\n\n"
        );
    }
}
