//! Cohere's JSON -> deltas, whole or in events.
//!
//! Before: `wire` has read the JSON. After: `fold`, or a stream's reader. Invariant: tool calls are numbered from 0, and the
//! finish and the usage come once, when the message is said to be complete.

use serde_json::value::RawValue;

use super::wire::{self, Function};
use crate::{
    bindings::{
        Annotation, AnnotationDelta, ArgumentsDelta, Delta, Error, ErrorKind, FinishDelta, FinishReason, Logprob,
        Logprobs, LogprobsDelta, OpenReasoning, ReasoningBlock, ReasoningDelta, Start, TextDelta, TokenLogprob,
        ToolCall, ToolCallDelta, ToolKind, Usage,
    },
    dialect::{Decoder, hash, refusal, unexpected},
    frame::Event,
    json,
};

/// Reads a whole answer. Whatever error its body reports, its status said that all is well: that is the provider's failure.
pub(super) fn whole(body: &[u8]) -> Result<Vec<Delta>, Error> {
    let contradictory = |error: Error| Error { kind: ErrorKind::Provider, status: Some(200), ..error };
    let text = std::str::from_utf8(body).map_err(|error| contradictory(unexpected(body, &error.to_string())))?;
    let failed = |why: &str| contradictory(refusal::told(text).unwrap_or_else(|| unexpected(body, why)));
    let answer: wire::Answer<'_> = json::read(text).map_err(|error| failed(&error.to_string()))?;
    let Some(message) = answer.message else { return Err(failed("it has no message")) };
    let mut deltas = Vec::with_capacity(8);
    let mut stream = Stream::default();
    stream.start(answer.id, body, &mut deltas);
    logprobs(answer.logprobs, &mut deltas);
    let calls = message.tool_calls.map_or_else(Vec::new, |calls| calls.0);
    // What the model plans to do with its tools is what it thinks before it calls them.
    deltas.extend(thoughts(message.tool_plan));
    content(message.content, &mut deltas);
    for (place, call) in calls.into_iter().enumerate() {
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        stream.call(index, call, &mut deltas);
        stream.close(index, &mut deltas);
    }
    citations(message.citations, &mut deltas);
    stream.finish(answer.finish_reason, None, answer.usage, &mut deltas)?;
    Ok(deltas)
}

/// Reads a streamed answer.
#[derive(Default)]
pub(super) struct Stream {
    /// The answer's name, from which ids are made where a tool call has none.
    id: String,
    begun: bool,
    /// The tool calls that have begun and not ended.
    open: Vec<Call>,
    /// How many tool calls have begun.
    calls: u32,
    done: bool,
}

/// A tool call that has begun.
struct Call {
    /// The provider's number for it.
    index: u32,
    /// Ours.
    number: u32,
    empty: bool,
}

impl Decoder for Stream {
    fn event(&mut self, event: Event<'_>, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        let data = event.data.trim();
        if self.done || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        let told = |why: &str| refusal::told(data).unwrap_or_else(|| unexpected(data.as_bytes(), why));
        // An error has its text where an event has its delta, so it may not even read as one.
        let read: wire::Event<'_> = json::read(data).map_err(|error| told(&error.to_string()))?;
        let kind = if read.kind.is_empty() { event.name.unwrap_or_default() } else { &read.kind };
        let index = read.index.unwrap_or_default();
        let delta = read.delta.unwrap_or_default();
        match kind {
            "message-start" => self.start(read.id, data.as_bytes(), deltas),
            "tool-call-end" => self.close(index, deltas),
            "message-end" => {
                self.finish(delta.finish_reason, delta.error, delta.usage, deltas)?;
                self.done = true;
            }
            // The errors of its servers are no events of its dialect: they have a text and no type, or say what they are.
            "" | "error" | "stream-error" => return Err(told("it is an event without a type")),
            kind => {
                logprobs(read.logprobs, deltas);
                if let Some(message) = delta.message {
                    self.message(kind, index, message, deltas);
                }
            }
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
    /// The answer does not say which model it is from, nor when it was made.
    fn start(&mut self, id: Option<String>, bytes: &[u8], deltas: &mut Vec<Delta>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("{:016x}", hash(bytes)));
        deltas.push(Delta::Start(Start {
            id: self.id.clone(),
            model: String::new(),
            created: 0,
            system_fingerprint: None,
            service_tier: None,
        }));
    }

    /// What an event adds to the message. The beginnings and ends of other pieces of it say nothing more.
    fn message(&mut self, kind: &str, index: u32, message: wire::Message<'_>, deltas: &mut Vec<Delta>) {
        let calls = message.tool_calls.map_or_else(Vec::new, |calls| calls.0);
        match kind {
            "content-start" | "content-delta" => content(message.content, deltas),
            "tool-plan-delta" => deltas.extend(thoughts(message.tool_plan)),
            "tool-call-start" => calls.into_iter().for_each(|call| self.call(index, call, deltas)),
            "tool-call-delta" => {
                let functions = calls.into_iter().filter_map(|call| call.function);
                functions.for_each(|function| self.arguments(index, function.arguments, deltas));
            }
            "citation-start" => citations(message.citations, deltas),
            _ => {}
        }
    }

    fn call(&mut self, index: u32, call: wire::ToolCall, deltas: &mut Vec<Delta>) {
        self.close(index, deltas);
        let number = self.calls;
        self.calls = self.calls.saturating_add(1);
        let Function { name, arguments } = call.function.unwrap_or_default();
        // Clients name the call by its id when they send the result: one that is made up has to be stable and single.
        let made_up = || format!("call_{:016x}", hash(format!("{}/{number}", self.id).as_bytes()));
        let call = ToolCall {
            id: call.id.filter(|id| !id.is_empty()).unwrap_or_else(made_up),
            kind: ToolKind::Function,
            name: name.unwrap_or_default(),
            arguments: arguments.unwrap_or_default(),
            signature: None,
        };
        self.open.push(Call { index, number, empty: call.arguments.is_empty() });
        deltas.push(Delta::ToolCall(ToolCallDelta { choice: 0, index: number, call }));
    }

    fn arguments(&mut self, index: u32, more: Option<String>, deltas: &mut Vec<Delta>) {
        let Some(arguments) = more.filter(|more| !more.is_empty()) else { return };
        let Some(call) = self.open.iter_mut().find(|call| call.index == index) else { return };
        call.empty = false;
        deltas.push(Delta::Arguments(ArgumentsDelta { choice: 0, index: call.number, arguments }));
    }

    /// A tool call is complete: one without arguments gets an empty object.
    fn close(&mut self, index: u32, deltas: &mut Vec<Delta>) {
        let Some(place) = self.open.iter().position(|call| call.index == index) else { return };
        let call = self.open.remove(place);
        if call.empty {
            let arguments = "{}".to_owned();
            deltas.push(Delta::Arguments(ArgumentsDelta { choice: 0, index: call.number, arguments }));
        }
    }

    /// The message is complete, or has failed.
    fn finish(
        &mut self,
        word: Option<String>,
        error: Option<String>,
        usage: Option<wire::Usage>,
        deltas: &mut Vec<Delta>,
    ) -> Result<(), Error> {
        while let Some(index) = self.open.first().map(|call| call.index) {
            self.close(index, deltas);
        }
        let error = error.filter(|error| !error.is_empty());
        let Some(word) = word else {
            let silent = "the answer does not say why it ended: it lacks its finish_reason".to_owned();
            return Err(Error::new(ErrorKind::Provider, error.unwrap_or(silent)));
        };
        let reason = reason(&word, error)?;
        deltas.push(Delta::Finish(FinishDelta { choice: 0, reason, provider_reason: Some(word) }));
        deltas.extend(usage.and_then(|usage| sum(&usage)).map(Delta::Usage));
        Ok(())
    }
}

fn content(content: Option<wire::Many<wire::Content>>, deltas: &mut Vec<Delta>) {
    for part in content.map_or_else(Vec::new, |content| content.0) {
        deltas.extend(thoughts(part.thinking));
        let text = part.text.filter(|text| !text.is_empty());
        deltas.extend(text.map(|text| Delta::Text(TextDelta { choice: 0, text })));
    }
}

fn thoughts(text: Option<String>) -> Option<Delta> {
    let text = text.filter(|text| !text.is_empty())?;
    let content = ReasoningBlock::Open(OpenReasoning { text, signature: None });
    Some(Delta::Reasoning(ReasoningDelta { choice: 0, content }))
}

/// Sources, as the provider wrote them: they are documents and results of tools, and no pages of the web.
/// <https://docs.cohere.com/docs/tool-use-citations> (2026-11)
fn citations(raw: Option<&RawValue>, deltas: &mut Vec<Delta>) {
    let list = match raw.map(|raw| json::read(raw.get())) {
        Some(Ok(serde_json::Value::Array(list))) => list,
        Some(Ok(one @ serde_json::Value::Object(_))) => vec![one],
        _ => Vec::new(),
    };
    for citation in list.into_iter().filter(serde_json::Value::is_object) {
        let annotation = Annotation::OtherJson(citation.to_string());
        deltas.push(Delta::Annotation(AnnotationDelta { choice: 0, annotation }));
    }
}

/// A piece of text has the probability of all its tokens together: which token is which part of it is not told.
fn logprobs(items: Option<wire::Many<wire::Logprobs>>, deltas: &mut Vec<Delta>) {
    let one = |item: wire::Logprobs| {
        let logprob = item.logprobs?.iter().sum();
        let chosen = Logprob { token: item.text.unwrap_or_default(), logprob, bytes: None };
        Some(TokenLogprob { chosen, top: Vec::new() })
    };
    let content: Vec<TokenLogprob> = items.map_or_else(Vec::new, |items| items.0).into_iter().filter_map(one).collect();
    if !content.is_empty() {
        let logprobs = Logprobs { content, refusal: Vec::new() };
        deltas.push(Delta::Logprobs(LogprobsDelta { choice: 0, logprobs }));
    }
}

/// Why a model stopped. A word for a failure, or one that nobody here has heard of, is never passed off as `stop`.
/// <https://docs.cohere.com/reference/chat> (2026-11)
fn reason(word: &str, error: Option<String>) -> Result<FinishReason, Error> {
    let broke_off = || error.clone().unwrap_or_else(|| format!("the provider broke off: finish_reason `{word}`"));
    match word {
        "COMPLETE" | "STOP_SEQUENCE" => Ok(FinishReason::Stop),
        "MAX_TOKENS" => Ok(FinishReason::Length),
        "TOOL_CALL" => Ok(FinishReason::ToolCalls),
        "ERROR_TOXIC" => Ok(FinishReason::ContentFilter),
        "ERROR" | "ERROR_LIMIT" | "USER_CANCEL" => Err(Error::new(ErrorKind::Provider, broke_off())),
        "TIMEOUT" => Err(Error::new(ErrorKind::Timeout, broke_off())),
        word => {
            let message = format!("the provider stopped for a reason that is not known: `{word}`");
            Err(Error::new(ErrorKind::Provider, message))
        }
    }
}

/// What the model read and wrote; what is billed is less than that, and counts only where nothing else is told.
fn sum(usage: &wire::Usage) -> Option<Usage> {
    let tokens = usage.tokens.as_ref().or(usage.billed_units.as_ref())?;
    let figure = |figure: Option<f64>| figure.map(|figure| figure as u64);
    let prompt_tokens = figure(tokens.input_tokens).unwrap_or_default();
    let completion_tokens = figure(tokens.output_tokens).unwrap_or_default();
    Some(Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens.saturating_add(completion_tokens),
        cached_tokens: figure(usage.cached_tokens),
        cache_write_tokens: None,
        prompt_audio_tokens: None,
        reasoning_tokens: None,
        completion_audio_tokens: None,
        accepted_prediction_tokens: None,
        rejected_prediction_tokens: None,
    })
}
