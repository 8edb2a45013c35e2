//! OpenAI's JSON -> deltas, whole or in chunks.
//!
//! Before: `wire` has read the JSON. After: `fold`, or a stream's reader. Invariant: each choice is finished exactly once,
//! tool calls are numbered from 0 without gaps, and the usage comes once, last.

use serde_json::value::RawValue;

use super::{
    finish,
    wire::{self, Body, Content, Word},
};
use crate::{
    bindings::{
        Annotation, AnnotationDelta, ArgumentsDelta, AudioDelta, Delta, Error, ErrorKind, FinishDelta, Image,
        ImageDelta, Logprob, Logprobs, LogprobsDelta, OpenReasoning, ReasoningBlock, ReasoningDelta, Source, Start,
        TextDelta, TokenLogprob, ToolCall, ToolCallDelta, ToolKind, UrlCitation, Usage,
    },
    dialect::{Decoder, hash, refusal, unexpected},
    frame::Event,
    json,
};

/// Reads a whole answer. Whatever error its body reports, its status said that all is well: that is the provider's failure.
pub(super) fn whole(body: &[u8]) -> Result<Vec<Delta>, Error> {
    let contradictory = |error: Error| Error { kind: ErrorKind::Provider, status: Some(200), ..error };
    let text = std::str::from_utf8(body).map_err(|error| contradictory(unexpected(body, &error.to_string())))?;
    let answer: Body<'_> = json::read(text).map_err(|error| contradictory(failed(body, &error.to_string())))?;
    if let Some(error) = answer.error {
        return Err(contradictory(reported(error, body)));
    }
    if answer.choices.as_ref().is_none_or(Vec::is_empty) {
        return Err(contradictory(failed(body, "it has no choices")));
    }
    let mut deltas = Vec::with_capacity(8);
    let mut state = Stream { whole: true, ..Stream::default() };
    state.body(answer, body, &mut deltas)?;
    state.end(&mut deltas)?;
    Ok(deltas)
}

/// A body that is no answer: it may still say what is wrong, in one of the shapes of an error.
fn failed(body: &[u8], why: &str) -> Error {
    let told = std::str::from_utf8(body).ok().and_then(refusal::told);
    told.unwrap_or_else(|| unexpected(body, why))
}

/// The error under a key `error` that is not null.
fn reported(error: &RawValue, body: &[u8]) -> Error {
    let wrapped = format!("{{\"error\":{}}}", error.get());
    refusal::told(&wrapped).unwrap_or_else(|| unexpected(body, "it is an error without a message"))
}

/// Reads a streamed answer; a whole one is a stream of one event.
#[derive(Default)]
pub(super) struct Stream {
    whole: bool,
    start: Option<Start>,
    choices: Vec<Open>,
    usage: Option<Usage>,
    sources: Vec<UrlCitation>,
    done: bool,
}

/// A choice that has begun.
#[derive(Default)]
struct Open {
    index: u32,
    finished: bool,
    calls: Vec<Call>,
}

/// A tool call that has begun.
struct Call {
    /// The provider's number for it.
    number: Option<u32>,
    id: String,
    name: String,
    kind: ToolKind,
    /// What came before the name did: then the call has not been announced yet.
    arguments: String,
    signature: Option<String>,
    announced: bool,
    empty: bool,
}

impl Decoder for Stream {
    fn event(&mut self, event: Event<'_>, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        let data = event.data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Body<'_> = json::read(data).map_err(|error| failed(data.as_bytes(), &error.to_string()))?;
        if let Some(error) = chunk.error {
            return Err(reported(error, data.as_bytes()));
        }
        if chunk.choices.is_none() && chunk.usage.is_none() && chunk.id.given().is_none() {
            // Neither an answer nor under `error`, such as vLLM's and Mistral's `{"object": "error", "message": ..}`.
            if let Some(error) = refusal::told(data) {
                return Err(error);
            }
        }
        self.body(chunk, data.as_bytes(), deltas)
    }

    fn end(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        // The finish of every choice is what makes an answer complete: some servers leave `[DONE]` out, and `[DONE]`
        // after a choice without its finish does not mend it.
        if self.choices.is_empty() || self.choices.iter().any(|open| !open.finished) {
            return Err(if self.whole {
                Error::new(
                    ErrorKind::Provider,
                    "the answer does not say why it ended: a choice lacks its finish_reason",
                )
            } else {
                Error::new(ErrorKind::Connection, "the stream ended before the answer was complete")
            });
        }
        deltas.extend(self.usage.take().map(Delta::Usage));
        Ok(())
    }
}

impl Stream {
    fn body(&mut self, body: Body<'_>, bytes: &[u8], deltas: &mut Vec<Delta>) -> Result<(), Error> {
        self.start(&body, bytes, deltas);
        if let Some(usage) = body.usage.or_else(|| body.x_groq.and_then(|groq| groq.usage)) {
            self.usage = Some(figures(&usage));
        }
        let results = body.search_results.and_then(|raw| json::read::<Vec<wire::SearchResult>>(raw.get()).ok());
        if let Some(results) = results.filter(|results| !results.is_empty()) {
            self.sources = results.into_iter().map(|found| source(found.url, found.title)).collect();
        } else if let Some(raw) = body.citations.filter(|_| self.sources.is_empty()) {
            let urls = json::read::<Vec<String>>(raw.get()).unwrap_or_default();
            self.sources = urls.into_iter().map(|url| source(url, None)).collect();
        }
        for (place, choice) in body.choices.into_iter().flatten().enumerate() {
            let place = if self.whole { u32::try_from(place).unwrap_or(u32::MAX) } else { 0 };
            self.choice(choice, place, bytes, deltas)?;
        }
        Ok(())
    }

    /// Azure's first chunk has neither id nor choices: the answer starts with the first chunk that names it or says something.
    fn start(&mut self, body: &Body<'_>, bytes: &[u8], deltas: &mut Vec<Delta>) {
        let says_something = body.choices.as_ref().is_some_and(|choices| !choices.is_empty());
        let text = |word: &Word<'_>| word.given().map(str::to_owned);
        match &mut self.start {
            None if says_something || body.id.given().is_some() => {
                let start = Start {
                    id: text(&body.id).unwrap_or_else(|| format!("chatcmpl-{:016x}", hash(bytes))),
                    model: text(&body.model).unwrap_or_default(),
                    created: body.created.unwrap_or_default() as u64,
                    system_fingerprint: text(&body.system_fingerprint),
                    service_tier: text(&body.service_tier),
                };
                deltas.push(Delta::Start(start.clone()));
                self.start = Some(start);
            }
            Some(start) => {
                let more = start.model.is_empty() && body.model.given().is_some()
                    || start.system_fingerprint.is_none() && body.system_fingerprint.given().is_some()
                    || start.service_tier.is_none() && body.service_tier.given().is_some();
                if more {
                    if start.model.is_empty() {
                        start.model = text(&body.model).unwrap_or_default();
                    }
                    start.system_fingerprint =
                        start.system_fingerprint.take().or_else(|| text(&body.system_fingerprint));
                    start.service_tier = start.service_tier.take().or_else(|| text(&body.service_tier));
                    deltas.push(Delta::Start(start.clone()));
                }
            }
            None => {}
        }
    }

    fn choice(
        &mut self,
        choice: wire::Choice<'_>,
        place: u32,
        bytes: &[u8],
        deltas: &mut Vec<Delta>,
    ) -> Result<(), Error> {
        if let Some(error) = choice.error {
            return Err(reported(error, bytes));
        }
        let index = choice.index.unwrap_or(place);
        let id = self.start.as_ref().map_or("", |start| start.id.as_str());
        let at = self.choices.iter().position(|open| open.index == index).unwrap_or_else(|| {
            self.choices.push(Open { index, ..Open::default() });
            self.choices.len() - 1
        });
        let open = &mut self.choices[at];
        // Perplexity's chunks have the whole message so far beside the delta.
        let message = if self.whole { choice.message.or(choice.delta) } else { choice.delta };
        if let Some(logprobs) = choice.logprobs {
            let logprobs = Logprobs { content: tokens(logprobs.content), refusal: tokens(logprobs.refusal) };
            if !logprobs.content.is_empty() || !logprobs.refusal.is_empty() {
                deltas.push(Delta::Logprobs(LogprobsDelta { choice: index, logprobs }));
            }
        }
        if let Some(message) = message {
            open.message(message, id, deltas);
        }
        if let Some(word) = choice.finish_reason.given()
            && !open.finished
        {
            let reason = finish::reason(word)?;
            open.close(id, deltas);
            if index == 0 {
                let sources = std::mem::take(&mut self.sources).into_iter().map(Annotation::UrlCitation);
                deltas
                    .extend(sources.map(|annotation| Delta::Annotation(AnnotationDelta { choice: index, annotation })));
            }
            let provider_reason = choice.native_finish_reason.given().unwrap_or(word).to_owned();
            deltas.push(Delta::Finish(FinishDelta { choice: index, reason, provider_reason: Some(provider_reason) }));
        }
        Ok(())
    }
}

impl Open {
    fn message(&mut self, message: wire::Message<'_>, answer: &str, deltas: &mut Vec<Delta>) {
        let choice = self.index;
        thoughts(choice, &message, deltas);
        content(choice, message.content, deltas);
        let refusal = message.refusal.filter(|text| !text.is_empty());
        deltas.extend(refusal.map(|text| Delta::Refusal(TextDelta { choice, text })));
        for call in message.tool_calls.into_iter().flatten() {
            self.call(call, answer, deltas);
        }
        let images = message.images.into_iter().flatten().filter_map(|image| picture(image.image_url?));
        deltas.extend(images.map(|image| Delta::Image(ImageDelta { choice, image })));
        if let Some(audio) = message.audio {
            let wire::Audio { id, data: base64, transcript, expires_at } = audio;
            deltas.push(Delta::Audio(AudioDelta { choice, id, base64, transcript, expires_at }));
        }
        for annotation in message.annotations.into_iter().flatten() {
            let annotation = noted(annotation);
            deltas.push(Delta::Annotation(AnnotationDelta { choice, annotation }));
        }
    }

    /// A tool call, or more of one. OpenAI numbers them; followers leave the number out, or give every call number 0.
    fn call(&mut self, more: wire::ToolCall<'_>, answer: &str, deltas: &mut Vec<Delta>) {
        let (function, kind) = match (more.function, more.custom) {
            (Some(function), _) => (Some(function), ToolKind::Function),
            (None, custom) => (custom, ToolKind::Custom),
        };
        let name = function.as_ref().and_then(|function| function.name.given()).unwrap_or_default();
        let arguments =
            function.as_ref().and_then(|function| function.arguments).map(argument_text).unwrap_or_default();
        let id = more.id.given().unwrap_or_default();
        let known = self.calls.iter().rposition(|call| match more.index {
            Some(number) => call.number == Some(number),
            None => id.is_empty() || call.id == id,
        });
        let another = |call: &Call| !id.is_empty() && !name.is_empty() && !call.id.is_empty() && call.id != id;
        let at = known.filter(|at| !another(&self.calls[*at])).unwrap_or_else(|| {
            self.calls.push(Call {
                number: more.index,
                id: String::new(),
                name: String::new(),
                kind,
                arguments: String::new(),
                signature: None,
                announced: false,
                empty: true,
            });
            self.calls.len() - 1
        });
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id.push_str(id);
        }
        if call.name.is_empty() {
            call.name.push_str(name);
        }
        if let Some(google) = more.extra_content.and_then(|extra| extra.google) {
            call.signature = google.thought_signature.given().map(str::to_owned);
        }
        call.empty &= arguments.is_empty();
        if call.announced {
            if !arguments.is_empty() {
                let index = u32::try_from(at).unwrap_or(u32::MAX);
                deltas.push(Delta::Arguments(ArgumentsDelta { choice: self.index, index, arguments }));
            }
            return;
        }
        call.arguments.push_str(&arguments);
        if !call.name.is_empty() {
            self.announce(at, answer, deltas);
        }
    }

    fn announce(&mut self, at: usize, answer: &str, deltas: &mut Vec<Delta>) {
        let choice = self.index;
        let call = &mut self.calls[at];
        call.announced = true;
        if call.id.is_empty() {
            // Clients name the call by its id when they send the result: one that is made up has to be stable and single.
            call.id = format!("call_{:016x}", hash(format!("{answer}/{choice}/{at}").as_bytes()));
        }
        let call = ToolCall {
            id: call.id.clone(),
            kind: call.kind,
            name: call.name.clone(),
            arguments: std::mem::take(&mut call.arguments),
            signature: call.signature.take(),
        };
        deltas.push(Delta::ToolCall(ToolCallDelta { choice, index: u32::try_from(at).unwrap_or(u32::MAX), call }));
    }

    /// The choice is complete: a call without a name is announced as it is, and one without arguments gets an empty object.
    fn close(&mut self, answer: &str, deltas: &mut Vec<Delta>) {
        self.finished = true;
        for at in 0..self.calls.len() {
            if !self.calls[at].announced {
                self.announce(at, answer, deltas);
            }
            let call = &self.calls[at];
            if call.empty && call.kind == ToolKind::Function {
                let index = u32::try_from(at).unwrap_or(u32::MAX);
                let arguments = "{}".to_owned();
                deltas.push(Delta::Arguments(ArgumentsDelta { choice: self.index, index, arguments }));
            }
        }
    }
}

fn content(choice: u32, content: Content<'_>, deltas: &mut Vec<Delta>) {
    let text = |text: String| (!text.is_empty()).then_some(Delta::Text(TextDelta { choice, text }));
    let parts = match content {
        Content::None => return,
        Content::Text(all) => return deltas.extend(text(all)),
        Content::Parts(parts) => parts,
    };
    for part in parts {
        match part.kind.given() {
            Some("text") | None => deltas.extend(part.text.and_then(text)),
            Some("refusal") => {
                deltas.extend(part.refusal.map(|text| Delta::Refusal(TextDelta { choice, text })));
            }
            Some("thinking") => {
                let thoughts = match part.thinking {
                    Content::None => String::new(),
                    Content::Text(text) => text,
                    Content::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
                };
                deltas.extend(open(choice, thoughts, None));
            }
            Some("image_url") => {
                let image = part.image_url.and_then(picture);
                deltas.extend(image.map(|image| Delta::Image(ImageDelta { choice, image })));
            }
            Some("reference") => {
                let note = format!(
                    r#"{{"type":"reference","reference_ids":{}}}"#,
                    part.reference_ids.map_or("[]", RawValue::get)
                );
                let annotation = Annotation::OtherJson(one_line(&note));
                deltas.push(Delta::Annotation(AnnotationDelta { choice, annotation }));
            }
            Some(_) => {}
        }
    }
}

/// Thoughts come under several keys, which may repeat each other: blocks say most, then details, then plain text.
fn thoughts(choice: u32, message: &wire::Message<'_>, deltas: &mut Vec<Delta>) {
    let redacted = |data: &Option<String>| {
        let content = ReasoningBlock::Redacted(data.clone()?);
        Some(Delta::Reasoning(ReasoningDelta { choice, content }))
    };
    if let Some(blocks) = message.thinking_blocks.as_ref().filter(|blocks| !blocks.is_empty()) {
        for block in blocks {
            deltas.extend(open(choice, block.thinking.clone().unwrap_or_default(), block.signature.clone()));
            deltas.extend(redacted(&block.data));
        }
        return;
    }
    let plain = [&message.reasoning_content, &message.reasoning.0].into_iter().flatten().find(|text| !text.is_empty());
    let details = message.reasoning_details.as_deref().unwrap_or_default();
    if let (Some(plain), [] | [_]) = (plain, details) {
        let signature = details.first().and_then(|detail| detail.signature.clone());
        deltas.extend(open(choice, plain.clone(), signature));
        deltas.extend(details.iter().filter_map(|detail| redacted(&detail.data)));
        return;
    }
    for detail in details {
        let text = detail.text.clone().or_else(|| detail.summary.clone()).unwrap_or_default();
        deltas.extend(open(choice, text, detail.signature.clone()));
        deltas.extend(redacted(&detail.data));
    }
}

fn open(choice: u32, text: String, signature: Option<String>) -> Option<Delta> {
    let signature = signature.filter(|signature| !signature.is_empty());
    if text.is_empty() && signature.is_none() {
        return None;
    }
    let content = ReasoningBlock::Open(OpenReasoning { text, signature });
    Some(Delta::Reasoning(ReasoningDelta { choice, content }))
}

/// Arguments as text: OpenAI writes JSON into a string, some followers write the JSON itself.
fn argument_text(raw: &RawValue) -> String {
    match raw.get() {
        "null" => String::new(),
        text if text.starts_with('"') => json::read(text).unwrap_or_default(),
        json => json.to_owned(),
    }
}

/// An image by its address, or by an object around one.
fn picture(raw: &RawValue) -> Option<Image> {
    let url = match raw.get().starts_with('"') {
        true => json::read(raw.get()).ok()?,
        false => json::read::<wire::ImageUrl>(raw.get()).ok()?.url,
    };
    let (source, media_type) = Source::at(url.into());
    Some(Image { source, media_type, detail: None, cache_control: None })
}

fn noted(raw: &RawValue) -> Annotation {
    let citation = json::read::<wire::Annotation>(raw.get()).ok().and_then(|annotation| annotation.url_citation);
    match citation {
        Some(wire::UrlCitation { url, title, start_index, end_index }) => {
            Annotation::UrlCitation(UrlCitation { url, title, start_index, end_index })
        }
        None => Annotation::OtherJson(one_line(raw.get())),
    }
}

/// JSON without its white space: it may go into an event, where the end of a line would end it.
fn one_line(json: &str) -> String {
    json::read::<serde_json::Value>(json).map_or_else(|_| "{}".to_owned(), |value| value.to_string())
}

fn source(url: String, title: Option<String>) -> UrlCitation {
    UrlCitation { url, title, start_index: None, end_index: None }
}

fn tokens(list: Option<Vec<wire::TokenLogprob>>) -> Vec<TokenLogprob> {
    let one = |token: wire::TokenLogprob| Logprob { token: token.token, logprob: token.logprob, bytes: token.bytes };
    let all = list.into_iter().flatten().map(|mut token| {
        let top = token.top_logprobs.take().into_iter().flatten().map(one).collect();
        TokenLogprob { chosen: one(token), top }
    });
    all.collect()
}

fn figures(usage: &wire::Usage) -> Usage {
    let none = wire::PromptDetails::default();
    let prompt = usage.prompt_tokens_details.as_ref().unwrap_or(&none);
    let none = wire::CompletionDetails::default();
    let completion = usage.completion_tokens_details.as_ref().unwrap_or(&none);
    let prompt_tokens = usage.prompt_tokens.unwrap_or_default();
    let reasoning_tokens = completion.reasoning_tokens.or(usage.reasoning_tokens);
    let mut completion_tokens = usage.completion_tokens.unwrap_or_default();
    // xAI counts reasoning beside the completion; its total proves it.
    // https://docs.x.ai/docs/guides/reasoning (2026-11)
    if let (Some(total), Some(reasoning @ 1..)) = (usage.total_tokens, reasoning_tokens)
        && Some(total) == prompt_tokens.checked_add(completion_tokens).and_then(|sum| sum.checked_add(reasoning))
    {
        completion_tokens += reasoning;
    }
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: usage.total_tokens.unwrap_or_else(|| prompt_tokens.saturating_add(completion_tokens)),
        cached_tokens: prompt.cached_tokens.or(usage.prompt_cache_hit_tokens),
        cache_write_tokens: prompt.cache_write_tokens,
        prompt_audio_tokens: prompt.audio_tokens,
        reasoning_tokens,
        completion_audio_tokens: completion.audio_tokens,
        accepted_prediction_tokens: completion.accepted_prediction_tokens,
        rejected_prediction_tokens: completion.rejected_prediction_tokens,
    }
}
