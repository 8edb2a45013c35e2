//! Anthropic's JSON -> deltas, whole or in events.
//!
//! Before: `wire` has read the JSON. After: `fold`, or a stream's reader. Invariant: tool calls are numbered from 0 whatever
//! the numbers of their blocks are, and the finish and the usage come once, when the message is said to be complete.

use serde_json::{Value, value::RawValue};

use super::wire::{self, Block};
use crate::{
    bindings::{
        Annotation, AnnotationDelta, ArgumentsDelta, Delta, Error, ErrorKind, FinishDelta, FinishReason, OpenReasoning,
        ReasoningBlock, ReasoningDelta, Start, TextDelta, ToolCall, ToolCallDelta, ToolKind, UrlCitation, Usage,
    },
    dialect::{Decoder, hash, refusal, unexpected},
    frame::Event,
    json,
};

/// How many bytes of citations wait for the end of their text. More than any block has.
const WAITING: usize = 1 << 20;

/// Reads a whole answer. Whatever error its body reports, its status said that all is well: that is the provider's failure.
pub(super) fn whole(body: &[u8]) -> Result<Vec<Delta>, Error> {
    let contradictory = |error: Error| Error { kind: ErrorKind::Provider, status: Some(200), ..error };
    let text = std::str::from_utf8(body).map_err(|error| contradictory(unexpected(body, &error.to_string())))?;
    let failed = |why: &str| contradictory(refusal::told(text).unwrap_or_else(|| unexpected(body, why)));
    let message: wire::Message<'_> = json::read(text).map_err(|error| failed(&error.to_string()))?;
    if message.kind == "error" || message.content.is_none() {
        return Err(failed("it has no content"));
    }
    let mut deltas = Vec::with_capacity(8);
    let mut stream = Stream::default();
    stream.message(message, body, &mut deltas)?;
    stream.finish(&mut deltas)?;
    Ok(deltas)
}

/// Reads a streamed answer; a whole one is a stream of a single message.
#[derive(Default)]
pub(super) struct Stream {
    /// The answer's name, from which ids are made where a tool call has none.
    id: String,
    begun: bool,
    blocks: Vec<Open>,
    /// How many tool calls have begun.
    calls: u32,
    /// How many characters of text have come.
    length: u64,
    stop_reason: Option<String>,
    refusal: Option<String>,
    usage: Option<wire::Usage>,
    done: bool,
}

/// A piece of content that has begun and not ended.
struct Open {
    /// The provider's number for it.
    index: u32,
    content: Content,
}

enum Content {
    /// Text, from a place on, with the sources that have been named for it.
    Text { begin: u64, citations: Vec<Annotation>, waiting: usize },
    /// A tool call, and its input where that came at once.
    Tool { number: u32, input: Option<String> },
    /// What has nothing more to say at its end.
    Other,
}

impl Decoder for Stream {
    fn event(&mut self, event: Event<'_>, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        let data = event.data.trim();
        if self.done || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        let told = |why: &str| refusal::told(data).unwrap_or_else(|| unexpected(data.as_bytes(), why));
        let told_event: wire::Event<'_> = json::read(data).map_err(|error| told(&error.to_string()))?;
        if told_event.error.is_some() {
            return Err(told("it is an error without a message"));
        }
        let named = if told_event.kind.is_empty() { event.name.unwrap_or_default() } else { &told_event.kind };
        match named {
            "error" => return Err(told("it is an error without a message")),
            "message_start" => {
                if let Some(message) = told_event.message {
                    self.message(message, data.as_bytes(), deltas)?;
                }
            }
            "content_block_start" => {
                if let Some(raw) = told_event.content_block {
                    self.open(told_event.index.unwrap_or_default(), raw, deltas)?;
                }
            }
            "content_block_delta" => {
                if let Some(delta) = told_event.delta {
                    self.more(told_event.index.unwrap_or_default(), delta, deltas);
                }
            }
            "content_block_stop" => self.close(told_event.index.unwrap_or_default(), deltas),
            "message_delta" => {
                self.figures(told_event.usage);
                if let Some(delta) = told_event.delta {
                    self.stopped(delta.stop_reason, delta.stop_details);
                }
            }
            "message_stop" => {
                self.finish(deltas)?;
                self.done = true;
            }
            // `ping`, and what may be added: https://platform.claude.com/docs/en/api/versioning (2026-11)
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _: &mut Vec<Delta>) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Connection, "the stream ended before the answer was complete"))
    }
}

impl Stream {
    /// A message: all of it, or the head of a streamed one.
    fn message(&mut self, message: wire::Message<'_>, bytes: &[u8], deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if !std::mem::replace(&mut self.begun, true) {
            let made_up = || format!("msg_{:016x}", hash(bytes));
            self.id = message.id.filter(|id| !id.is_empty()).unwrap_or_else(made_up);
            deltas.push(Delta::Start(Start {
                id: self.id.clone(),
                model: message.model.unwrap_or_default(),
                created: 0,
                system_fingerprint: None,
                service_tier: message.usage.as_ref().and_then(|usage| usage.service_tier.clone()),
            }));
        }
        self.figures(message.usage);
        for (place, raw) in message.content.into_iter().flatten().enumerate() {
            let index = u32::try_from(place).unwrap_or(u32::MAX);
            self.open(index, raw, deltas)?;
            self.close(index, deltas);
        }
        self.stopped(message.stop_reason, message.stop_details);
        Ok(())
    }

    /// Usage is cumulative, and an event may leave out what has not changed.
    fn figures(&mut self, more: Option<wire::Usage>) {
        let Some(more) = more else { return };
        let known = self.usage.take().unwrap_or_default();
        self.usage = Some(wire::Usage {
            input_tokens: more.input_tokens.or(known.input_tokens),
            cache_creation_input_tokens: more.cache_creation_input_tokens.or(known.cache_creation_input_tokens),
            cache_read_input_tokens: more.cache_read_input_tokens.or(known.cache_read_input_tokens),
            output_tokens: more.output_tokens.or(known.output_tokens),
            output_tokens_details: more.output_tokens_details.or(known.output_tokens_details),
            service_tier: None,
        });
    }

    fn stopped(&mut self, reason: Option<String>, details: Option<wire::StopDetails>) {
        self.stop_reason = reason.or_else(|| self.stop_reason.take());
        self.refusal = details.and_then(|details| details.explanation).or_else(|| self.refusal.take());
    }

    /// A piece of content begins, or is all there.
    fn open(&mut self, index: u32, raw: &RawValue, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        self.close(index, deltas);
        let unreadable = |error: json::Wrong| unexpected(raw.get().as_bytes(), &error.to_string());
        let block: Block<'_> = json::read(raw.get()).map_err(unreadable)?;
        let content = match &*block.kind {
            "text" => {
                let content = Content::Text { begin: self.length, citations: Vec::new(), waiting: 0 };
                self.blocks.push(Open { index, content });
                self.text(block.text, deltas);
                for citation in block.citations.into_iter().flatten() {
                    self.cite(index, citation, deltas);
                }
                return Ok(());
            }
            "thinking" => {
                deltas.extend(thoughts(block.thinking, block.signature));
                Content::Other
            }
            "redacted_thinking" => {
                let redacted = block.data.map(ReasoningBlock::Redacted);
                deltas.extend(redacted.map(|content| Delta::Reasoning(ReasoningDelta { choice: 0, content })));
                Content::Other
            }
            "tool_use" => self.call(block, deltas),
            // What the model asks of the provider's own tools is no one else's to answer; the result follows.
            kind if kind.ends_with("tool_use") => Content::Other,
            _ => {
                // JSON without its white space: it may go into an event, where the end of a line would end it.
                let block: Value = json::read(raw.get()).unwrap_or_default();
                let annotation = Annotation::OtherJson(block.to_string());
                deltas.push(Delta::Annotation(AnnotationDelta { choice: 0, annotation }));
                Content::Other
            }
        };
        self.blocks.push(Open { index, content });
        Ok(())
    }

    fn call(&mut self, block: Block<'_>, deltas: &mut Vec<Delta>) -> Content {
        let number = self.calls;
        self.calls = self.calls.saturating_add(1);
        // Clients name the call by its id when they send the result: one that is made up has to be stable and single.
        let made_up = || format!("toolu_{:016x}", hash(format!("{}/{number}", self.id).as_bytes()));
        let call = ToolCall {
            id: block.id.filter(|id| !id.is_empty()).unwrap_or_else(made_up),
            kind: ToolKind::Function,
            name: block.name.unwrap_or_default(),
            arguments: String::new(),
            signature: None,
        };
        deltas.push(Delta::ToolCall(ToolCallDelta { choice: 0, index: number, call }));
        let input = block.input.map_or("{}", RawValue::get);
        // A stream begins with an empty object, and sends nothing more where the input is just that.
        Content::Tool { number, input: Some(if input == "null" { "{}" } else { input }.to_owned()) }
    }

    /// More of a piece of content.
    fn more(&mut self, index: u32, delta: wire::Delta<'_>, deltas: &mut Vec<Delta>) {
        self.text(delta.text, deltas);
        deltas.extend(thoughts(delta.thinking, delta.signature));
        if let Some(arguments) = delta.partial_json.filter(|json| !json.is_empty()) {
            let open = self.blocks.iter_mut().find(|open| open.index == index);
            if let Some(Content::Tool { number, input }) = open.map(|open| &mut open.content) {
                *input = None;
                deltas.push(Delta::Arguments(ArgumentsDelta { choice: 0, index: *number, arguments }));
            }
        }
        if let Some(citation) = delta.citation {
            self.cite(index, citation, deltas);
        }
    }

    fn text(&mut self, text: Option<String>, deltas: &mut Vec<Delta>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        self.length += text.chars().count() as u64;
        deltas.push(Delta::Text(TextDelta { choice: 0, text }));
    }

    /// A source of a block's text. It comes before, among or after the text, whose end only the block's end tells.
    fn cite(&mut self, index: u32, raw: &RawValue, deltas: &mut Vec<Delta>) {
        let open = self.blocks.iter_mut().find(|open| open.index == index);
        let Some(annotation) = cited(raw) else { return };
        let Some(Content::Text { citations, waiting, .. }) = open.map(|open| &mut open.content) else {
            return deltas.push(Delta::Annotation(AnnotationDelta { choice: 0, annotation }));
        };
        citations.push(annotation);
        *waiting += raw.get().len();
        if *waiting > WAITING {
            self.sources(index, deltas);
        }
    }

    /// The sources of a block's text so far.
    fn sources(&mut self, index: u32, deltas: &mut Vec<Delta>) {
        let end = self.length;
        let open = self.blocks.iter_mut().find(|open| open.index == index);
        let Some(Content::Text { begin, citations, waiting }) = open.map(|open| &mut open.content) else { return };
        *waiting = 0;
        for mut annotation in citations.drain(..) {
            if let Annotation::UrlCitation(citation) = &mut annotation {
                citation.start_index = Some(*begin);
                citation.end_index = Some(end);
            }
            deltas.push(Delta::Annotation(AnnotationDelta { choice: 0, annotation }));
        }
    }

    /// A piece of content is complete.
    fn close(&mut self, index: u32, deltas: &mut Vec<Delta>) {
        self.sources(index, deltas);
        let Some(place) = self.blocks.iter().position(|open| open.index == index) else { return };
        if let Content::Tool { number, input: Some(arguments) } = self.blocks.remove(place).content {
            deltas.push(Delta::Arguments(ArgumentsDelta { choice: 0, index: number, arguments }));
        }
    }

    /// The message is complete.
    fn finish(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        while let Some(index) = self.blocks.first().map(|open| open.index) {
            self.close(index, deltas);
        }
        let Some(word) = self.stop_reason.take() else {
            let message = "the answer does not say why it ended: it lacks its stop_reason";
            return Err(Error::new(ErrorKind::Provider, message));
        };
        let reason = reason(&word)?;
        let refusal = self.refusal.take().filter(|text| !text.is_empty());
        deltas.extend(refusal.map(|text| Delta::Refusal(TextDelta { choice: 0, text })));
        deltas.push(Delta::Finish(FinishDelta { choice: 0, reason, provider_reason: Some(word) }));
        deltas.extend(self.usage.take().map(|usage| Delta::Usage(sum(&usage))));
        Ok(())
    }
}

fn thoughts(text: Option<String>, signature: Option<String>) -> Option<Delta> {
    let text = text.unwrap_or_default();
    let signature = signature.filter(|signature| !signature.is_empty());
    if text.is_empty() && signature.is_none() {
        return None;
    }
    let content = ReasoningBlock::Open(OpenReasoning { text, signature });
    Some(Delta::Reasoning(ReasoningDelta { choice: 0, content }))
}

/// A page of the web as such; a place in a document as the provider wrote it.
/// <https://platform.claude.com/docs/en/build-with-claude/citations> (2026-11)
fn cited(raw: &RawValue) -> Option<Annotation> {
    let citation: Value = json::read(raw.get()).unwrap_or_default();
    if !citation.is_object() {
        return None;
    }
    let text = |key: &str| citation[key].as_str().map(str::to_owned);
    Some(match (citation["type"].as_str(), text("url")) {
        (Some("web_search_result_location"), Some(url)) => {
            Annotation::UrlCitation(UrlCitation { url, title: text("title"), start_index: None, end_index: None })
        }
        _ => Annotation::OtherJson(citation.to_string()),
    })
}

/// Why a model stopped. A word that nobody here has heard of is never passed off as `stop`.
/// <https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons> (2026-11)
fn reason(word: &str) -> Result<FinishReason, Error> {
    match word {
        "end_turn" | "stop_sequence" => Ok(FinishReason::Stop),
        "tool_use" => Ok(FinishReason::ToolCalls),
        // A turn is paused when the provider's own tools have been called as often as one turn may.
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" => Ok(FinishReason::Length),
        "refusal" => Ok(FinishReason::ContentFilter),
        word => {
            let message = format!("the provider stopped for a reason that is not known: `{word}`");
            Err(Error::new(ErrorKind::Provider, message))
        }
    }
}

/// Input tokens are counted without those of the cache. <https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance> (2026-11)
fn sum(usage: &wire::Usage) -> Usage {
    let (read, written) = (usage.cache_read_input_tokens, usage.cache_creation_input_tokens);
    let prompt = [usage.input_tokens, read, written].into_iter().flatten().fold(0, u64::saturating_add);
    let completion = usage.output_tokens.unwrap_or_default();
    Usage {
        prompt_tokens: prompt,
        completion_tokens: completion,
        total_tokens: prompt.saturating_add(completion),
        cached_tokens: read,
        cache_write_tokens: written,
        prompt_audio_tokens: None,
        reasoning_tokens: usage.output_tokens_details.and_then(|details| details.thinking_tokens),
        completion_audio_tokens: None,
        accepted_prediction_tokens: None,
        rejected_prediction_tokens: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stream: &mut Stream, data: &str) -> Vec<Delta> {
        let mut deltas = Vec::new();
        stream.event(Event { name: None, data }, &mut deltas).unwrap();
        deltas
    }

    #[test]
    fn sources_wait_for_the_end_of_their_text_but_not_without_end() {
        let mut stream = Stream::default();
        let begin = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"It rained."}}"#;
        told(&mut stream, begin);
        let citation = |length| {
            let text = "x".repeat(length);
            format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"citations_delta","citation":{{"type":"char_location","cited_text":"{text}"}}}}}}"#
            )
        };
        assert_eq!(told(&mut stream, &citation(9)).len(), 0);
        assert_eq!(told(&mut stream, &citation(WAITING)).len(), 2);
        assert_eq!(told(&mut stream, &citation(9)).len(), 0);
        assert_eq!(told(&mut stream, r#"{"type":"content_block_stop","index":0}"#).len(), 1);
    }
}
