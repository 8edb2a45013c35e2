//! Converse's JSON -> deltas, whole or by events.
//!
//! Before: `wire` has read the JSON. After: `fold`, or a stream's reader. Invariant: `messageStop` alone ends an answer; tool
//! calls are numbered from 0 whatever their blocks' numbers; the usage, which comes after the end, is the last delta.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html> (2026-11)

use serde_json::{Value, value::RawValue};

use super::{
    failure,
    wire::{self, Answer, Block, Media, Reasoning, Tier},
};
use crate::{
    bindings::{
        Annotation, AnnotationDelta, ArgumentsDelta, AudioDelta, Delta, Error, ErrorKind, FinishDelta, FinishReason,
        Image, ImageDelta, OpenReasoning, ReasoningBlock, ReasoningDelta, Source, Start, TextDelta, ToolCall,
        ToolCallDelta, ToolKind, UrlCitation, Usage,
    },
    dialect::{Decoder, hash, refusal::told, unexpected},
    frame::{Event, eventstream::EXCEPTION},
    json,
};

/// Reads a whole answer, which the head calls `id`. Whatever error its body reports, its status said that all is well: that
/// is the provider's failure.
pub(super) fn whole(id: Option<&str>, body: &[u8]) -> Result<Vec<Delta>, Error> {
    let failed = |why: &str| {
        let told = std::str::from_utf8(body).ok().and_then(told);
        let error = told.unwrap_or_else(|| unexpected(body, why));
        Error { kind: ErrorKind::Provider, status: Some(200), ..error }
    };
    let text = std::str::from_utf8(body).map_err(|error| failed(&error.to_string()))?;
    let answer: Answer<'_> = json::read(text).map_err(|error| failed(&error.to_string()))?;
    let Some(output) = answer.output else { return Err(failed("it has no output")) };
    let mut deltas = Vec::with_capacity(4);
    let mut state = Stream::default();
    let id = id.map_or_else(|| format!("chatcmpl-{:016x}", hash(body)), str::to_owned);
    deltas.push(start(id, answer.service_tier));
    for (place, block) in output.message.content.into_iter().enumerate() {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        state.block(place, block, &mut deltas);
        state.close(place, &mut deltas);
    }
    let Some(word) = answer.stop_reason else {
        return Err(Error::new(ErrorKind::Provider, "the answer does not say why it ended: it has no stopReason"));
    };
    state.stop(word, &mut deltas)?;
    deltas.extend(answer.usage.map(|usage| Delta::Usage(figures(&usage))));
    Ok(deltas)
}

/// Reads a streamed answer.
#[derive(Default)]
pub(super) struct Stream {
    begun: bool,
    calls: Vec<Open>,
    /// The format of the pictures in the block that has begun last.
    format: Option<String>,
    finished: bool,
    usage: Option<Usage>,
}

/// A tool call that has begun.
struct Open {
    /// The number of its block.
    block: u32,
    /// The service calls the tool itself: that is not the caller's to do.
    served: bool,
    empty: bool,
    closed: bool,
}

impl Decoder for Stream {
    fn event(&mut self, event: Event<'_>, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        let name = event.name.unwrap_or_default();
        if let Some(exception) = name.strip_prefix(EXCEPTION) {
            return Err(failure::exception(exception, event.data));
        }
        if self.finished && name != "metadata" {
            return Ok(());
        }
        if !self.begun {
            self.begun = true;
            // The head alone names the answer.
            deltas.push(start(String::new(), None));
        }
        // `messageStart` says nothing, and what is not known yet is passed over.
        if !matches!(name, "contentBlockStart" | "contentBlockDelta" | "contentBlockStop" | "messageStop" | "metadata")
        {
            return Ok(());
        }
        let failed = |why: &str| unexpected(event.data.as_bytes(), why);
        let told: Answer<'_> = json::read(event.data).map_err(|error| failed(&error.to_string()))?;
        if name == "messageStop" {
            return self.stop(told.stop_reason.ok_or_else(|| failed("it has no stopReason"))?, deltas);
        }
        if name == "metadata" {
            self.usage = told.usage.as_ref().map(figures).or(self.usage);
            if told.service_tier.as_ref().is_some_and(|tier| tier.kind.is_some()) {
                deltas.push(start(String::new(), told.service_tier));
            }
            return Ok(());
        }
        let place = told.content_block_index.ok_or_else(|| failed("it has no contentBlockIndex"))?;
        if let Some(block) = told.start {
            self.format = block.image.as_ref().and_then(|image| image.format.clone());
            self.block(place, block, deltas);
        }
        if let Some(block) = told.delta {
            self.block(place, block, deltas);
        }
        if name == "contentBlockStop" {
            self.close(place, deltas);
        }
        Ok(())
    }

    fn end(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if !self.finished {
            return Err(Error::new(ErrorKind::Connection, "the stream ended before the answer was complete"));
        }
        deltas.extend(self.usage.take().map(Delta::Usage));
        Ok(())
    }
}

impl Stream {
    /// A block, or what an event adds to one.
    fn block(&mut self, place: u32, block: Block<'_>, deltas: &mut Vec<Delta>) {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let text = |text| Delta::Text(TextDelta { choice: 0, text });
        if let Some(more) = block.reasoning_content {
            thoughts(more, deltas);
        }
        deltas.extend(some(block.text).map(text));
        if let Some(cited) = block.citations_content {
            deltas.extend(cited.content.into_iter().filter_map(|content| some(content.text)).map(text));
            deltas.extend(cited.citations.into_iter().map(noted));
        }
        deltas.extend(block.citation.map(noted));
        deltas.extend(block.image.and_then(|image| picture(image, self.format.as_deref())));
        deltas.extend(block.audio.and_then(|audio| audio.source?.bytes).map(|bytes| {
            let base64 = Some(bytes);
            Delta::Audio(AudioDelta { choice: 0, id: None, base64, transcript: None, expires_at: None })
        }));
        let Some(call) = block.tool_use else { return };
        if let Some(name) = call.name {
            self.open(place, call.tool_use_id.unwrap_or_default(), name, call.kind.as_deref(), deltas);
        }
        self.input(place, call.input, deltas);
    }

    fn open(&mut self, block: u32, id: String, name: String, kind: Option<&str>, deltas: &mut Vec<Delta>) {
        let served = kind == Some("server_tool_use");
        let index = self.number(self.calls.len());
        self.calls.push(Open { block, served, empty: true, closed: false });
        if !served {
            let call = ToolCall { id, kind: ToolKind::Function, name, arguments: String::new(), signature: None };
            deltas.push(Delta::ToolCall(ToolCallDelta { choice: 0, index, call }));
        }
    }

    /// The number of the call at a place, among those that are the caller's.
    fn number(&self, place: usize) -> u32 {
        let before = self.calls[..place].iter().filter(|call| !call.served).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    fn input(&mut self, block: u32, input: Option<&RawValue>, deltas: &mut Vec<Delta>) {
        let open = self.calls.iter().rposition(|call| call.block == block && !call.closed);
        let (Some(place), Some(input)) = (open, input) else { return };
        let arguments = match input.get() {
            "null" => String::new(),
            text if text.starts_with('"') => json::read(text).unwrap_or_default(),
            json => json.to_owned(),
        };
        if !arguments.is_empty() && !self.calls[place].served {
            self.calls[place].empty = false;
            let index = self.number(place);
            deltas.push(Delta::Arguments(ArgumentsDelta { choice: 0, index, arguments }));
        }
    }

    /// A block is complete: a call without input gets an empty object.
    fn close(&mut self, block: u32, deltas: &mut Vec<Delta>) {
        for place in 0..self.calls.len() {
            let call = &mut self.calls[place];
            if call.block != block || std::mem::replace(&mut call.closed, true) {
                continue;
            }
            if call.empty && !call.served {
                let index = self.number(place);
                deltas.push(Delta::Arguments(ArgumentsDelta { choice: 0, index, arguments: "{}".to_owned() }));
            }
        }
    }

    fn stop(&mut self, word: String, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if self.finished {
            return Ok(());
        }
        let calls = self.calls.iter().any(|call| !call.served);
        let mut reason = reason(&word)?;
        if reason == FinishReason::Stop && calls {
            reason = FinishReason::ToolCalls;
        }
        let open: Vec<u32> = self.calls.iter().filter(|call| !call.closed).map(|call| call.block).collect();
        open.into_iter().for_each(|block| self.close(block, deltas));
        self.finished = true;
        deltas.push(Delta::Finish(FinishDelta { choice: 0, reason, provider_reason: Some(word) }));
        Ok(())
    }
}

/// Why a model stopped. A word for a failure is an error, and so is one that nobody here has heard of.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_ResponseElements> (2026-11)
fn reason(word: &str) -> Result<FinishReason, Error> {
    Ok(match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" | "refusal" => FinishReason::ContentFilter,
        "malformed_model_output" | "malformed_tool_use" => {
            return Err(Error::new(ErrorKind::Provider, format!("the provider broke off: stopReason `{word}`")));
        }
        other => {
            let message = format!("the provider stopped for a reason that is not known: `{other}`");
            return Err(Error::new(ErrorKind::Provider, message));
        }
    })
}

fn start(id: String, tier: Option<Tier>) -> Delta {
    Delta::Start(Start {
        id,
        model: String::new(),
        created: 0,
        system_fingerprint: None,
        service_tier: tier.and_then(|tier| tier.kind),
    })
}

fn thoughts(more: Reasoning, deltas: &mut Vec<Delta>) {
    let (text, signature) = match more.reasoning_text {
        Some(whole) => (whole.text, whole.signature),
        None => (more.text, more.signature),
    };
    let (text, signature) = (text.unwrap_or_default(), signature.filter(|signature| !signature.is_empty()));
    if !text.is_empty() || signature.is_some() {
        let content = ReasoningBlock::Open(OpenReasoning { text, signature });
        deltas.push(Delta::Reasoning(ReasoningDelta { choice: 0, content }));
    }
    deltas.extend(more.redacted_content.filter(|data| !data.is_empty()).map(|data| {
        let content = ReasoningBlock::Redacted(data);
        Delta::Reasoning(ReasoningDelta { choice: 0, content })
    }));
}

/// A source: a page of the web, or what else the service writes.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html> (2026-11)
fn noted(raw: &RawValue) -> Delta {
    let citation: Value = json::read(raw.get()).unwrap_or_default();
    let text = |place: &str| citation.pointer(place).and_then(Value::as_str).map(str::to_owned);
    let annotation = match text("/location/web/url") {
        Some(url) => {
            Annotation::UrlCitation(UrlCitation { url, title: text("/title"), start_index: None, end_index: None })
        }
        // On one line: it may go into an event, where the end of a line would end it.
        None => Annotation::OtherJson(serde_json::json!({ "type": "citation", "citation": citation }).to_string()),
    };
    Delta::Annotation(AnnotationDelta { choice: 0, annotation })
}

fn picture(image: Media, format: Option<&str>) -> Option<Delta> {
    let bytes = image.source?.bytes.filter(|bytes| !bytes.is_empty())?;
    let format = image.format.as_deref().or(format).unwrap_or("png");
    let media_type = Some(format!("image/{format}"));
    let image = Image { source: Source::Base64(bytes), media_type, detail: None, cache_control: None };
    Some(Delta::Image(ImageDelta { choice: 0, image }))
}

/// The input's count leaves out what was read from and written to the cache.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html> (2026-11)
fn figures(usage: &wire::Usage) -> Usage {
    let (cached_tokens, cache_write_tokens) = (usage.cache_read_input_tokens, usage.cache_write_input_tokens);
    let prompt_tokens =
        [usage.input_tokens, cached_tokens, cache_write_tokens].into_iter().flatten().fold(0, u64::saturating_add);
    let completion_tokens = usage.output_tokens.unwrap_or_default();
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens.saturating_add(completion_tokens),
        cached_tokens,
        cache_write_tokens,
        prompt_audio_tokens: None,
        reasoning_tokens: None,
        completion_audio_tokens: None,
        accepted_prediction_tokens: None,
        rejected_prediction_tokens: None,
    }
}
