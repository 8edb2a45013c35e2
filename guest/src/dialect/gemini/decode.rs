//! Google's JSON -> deltas, whole or in events.
//!
//! Before: `wire` has read the JSON. After: `fold`, or a stream's reader. Invariant: each choice is finished exactly once,
//! after all else that it says, tool calls are numbered from 0 without gaps, and the usage comes once, last.

use serde_json::{Value, value::RawValue};

use super::{
    finish,
    schema::compact,
    sources::{Sources, other, read, text},
    wire::{self, Body, Part},
};
use crate::{
    bindings::{
        Annotation, AnnotationDelta, AudioDelta, Delta, Error, ErrorKind, FinishDelta, FinishReason, Image, ImageDelta,
        Logprob, Logprobs, LogprobsDelta, OpenReasoning, ReasoningBlock, ReasoningDelta, Source, Start, TextDelta,
        TokenLogprob, ToolCall, ToolCallDelta, ToolKind, Usage,
    },
    dialect::{Decoder, hash, refusal, unexpected},
    frame::Event,
    json,
};

/// Reads a whole answer. Whatever error its body reports, its status said that all is well: that is the provider's failure.
pub(super) fn whole(body: &[u8]) -> Result<Vec<Delta>, Error> {
    let contradictory = |error: Error| Error { kind: ErrorKind::Provider, status: Some(200), ..error };
    let text = std::str::from_utf8(body).map_err(|error| contradictory(unexpected(body, &error.to_string())))?;
    let unreadable = |error: json::Wrong| contradictory(failed(text, &error.to_string()));
    // A server that streams without having been asked for events sends a list of them.
    let events: Vec<Body<'_>> = match text.trim_start().starts_with('[') {
        true => json::read(text).map_err(unreadable)?,
        false => vec![json::read(text).map_err(unreadable)?],
    };
    let mut deltas = Vec::with_capacity(8);
    let mut state = Stream { whole: true, ..Stream::default() };
    for event in events {
        if let Some(error) = event.error {
            return Err(contradictory(reported(error, body)));
        }
        state.body(event, body, &mut deltas)?;
    }
    if state.choices.is_empty() && state.blocked.is_none() {
        return Err(contradictory(failed(text, "it has no candidates")));
    }
    state.end(&mut deltas)?;
    Ok(deltas)
}

/// A body that is no answer: it may still say what is wrong, in one of the shapes of an error.
fn failed(body: &str, why: &str) -> Error {
    refusal::told(body).unwrap_or_else(|| unexpected(body.as_bytes(), why))
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
    /// Why the prompt was blocked, in Google's word and perhaps a sentence: then there are no candidates.
    blocked: Option<(String, Option<String>)>,
    /// Repeats and grows: the last counts.
    usage: Option<Usage>,
}

/// A choice that has begun.
#[derive(Default)]
struct Open {
    index: u32,
    calls: u32,
    sources: Sources,
    /// The word for its end. It is held back until the stream has ended, so that nothing comes after it.
    finish: Option<String>,
}

impl Decoder for Stream {
    fn event(&mut self, event: Event<'_>, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        let data = event.data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        let body: Body<'_> = json::read(data).map_err(|error| failed(data, &error.to_string()))?;
        if let Some(error) = body.error {
            return Err(reported(error, data.as_bytes()));
        }
        if body.candidates.is_none() && body.usage_metadata.is_none() && body.prompt_feedback.is_none() {
            // Neither an answer nor under `error`.
            if let Some(error) = refusal::told(data) {
                return Err(error);
            }
        }
        self.body(body, data.as_bytes(), deltas)
    }

    fn end(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if let (true, Some((word, said))) = (self.choices.is_empty(), self.blocked.take()) {
            deltas.extend(said.map(|text| Delta::Refusal(TextDelta { choice: 0, text })));
            let reason = FinishReason::ContentFilter;
            deltas.push(Delta::Finish(FinishDelta { choice: 0, reason, provider_reason: Some(word) }));
        } else if self.choices.is_empty() || self.choices.iter().any(|open| open.finish.is_none()) {
            // There is no other terminal event: the finish of every candidate is what makes an answer complete.
            return Err(if self.whole {
                let message = "the answer does not say why it ended: a candidate lacks its finishReason";
                Error::new(ErrorKind::Provider, message)
            } else {
                Error::new(ErrorKind::Connection, "the stream ended before the answer was complete")
            });
        }
        for mut open in std::mem::take(&mut self.choices) {
            open.close(deltas)?;
        }
        deltas.extend(self.usage.take().map(Delta::Usage));
        Ok(())
    }
}

impl Stream {
    fn body(&mut self, body: Body<'_>, bytes: &[u8], deltas: &mut Vec<Delta>) -> Result<(), Error> {
        let tier = body.usage_metadata.as_ref().and_then(|usage| usage.service_tier.as_deref());
        let (id, model) = (body.response_id.as_deref(), body.model_version.as_deref());
        self.start(id, model, body.create_time.as_deref(), tier, bytes, deltas);
        if let Some(usage) = body.usage_metadata.filter(|usage| usage.prompt_token_count.is_some()) {
            self.usage = Some(figures(&usage));
        }
        if let Some(feedback) = body.prompt_feedback.map(|raw| read(raw.get()))
            && let Some(word) = text(&feedback, "blockReason")
        {
            self.blocked = Some((word.to_owned(), text(&feedback, "blockReasonMessage").map(str::to_owned)));
        }
        for (place, candidate) in body.candidates.into_iter().flatten().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            self.candidate(candidate, place, deltas)?;
        }
        Ok(())
    }

    /// The answer starts with its first event, and again where a later one names what that left out.
    fn start(
        &mut self,
        id: Option<&str>,
        model: Option<&str>,
        created: Option<&str>,
        tier: Option<&str>,
        bytes: &[u8],
        deltas: &mut Vec<Delta>,
    ) {
        match &mut self.start {
            None => {
                let made_up = || format!("chatcmpl-{:016x}", hash(bytes));
                let start = Start {
                    id: id.filter(|id| !id.is_empty()).map_or_else(made_up, str::to_owned),
                    model: model.unwrap_or_default().to_owned(),
                    created: created.and_then(seconds).unwrap_or_default(),
                    system_fingerprint: None,
                    service_tier: tier.filter(|tier| !tier.is_empty()).map(tier_word),
                };
                deltas.push(Delta::Start(start.clone()));
                self.start = Some(start);
            }
            Some(start) => {
                let model = model.filter(|model| start.model.is_empty() && !model.is_empty());
                let tier = tier.filter(|tier| start.service_tier.is_none() && !tier.is_empty());
                if model.is_some() || tier.is_some() {
                    if let Some(model) = model {
                        model.clone_into(&mut start.model);
                    }
                    start.service_tier = tier.map(tier_word).or_else(|| start.service_tier.take());
                    deltas.push(Delta::Start(start.clone()));
                }
            }
        }
    }

    fn candidate(&mut self, candidate: wire::Candidate<'_>, place: u32, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        let index = candidate.index.unwrap_or(place);
        let answer = self.start.as_ref().map_or("", |start| start.id.as_str());
        let at = self.choices.iter().position(|open| open.index == index).unwrap_or_else(|| {
            self.choices.push(Open { index, ..Open::default() });
            self.choices.len() - 1
        });
        let open = &mut self.choices[at];
        deltas.extend(candidate.logprobs_result.and_then(|result| tokens(index, &read(result.get()))));
        for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
            open.part(part, answer, deltas);
        }
        if let Some(metadata) = candidate.citation_metadata {
            let cited = open.sources.cited(metadata.get());
            open.annotate(cited, deltas);
        }
        if let Some(metadata) = candidate.grounding_metadata {
            open.sources.grounding(metadata.get());
        }
        if let Some(metadata) = candidate.url_context_metadata {
            open.annotate([other("urlContextMetadata", metadata.get())], deltas);
        }
        let word = candidate.finish_reason.filter(|word| !word.is_empty() && word != "FINISH_REASON_UNSPECIFIED");
        if let Some(word) = word {
            let said = candidate.finish_message.filter(|said| !said.is_empty());
            if finish::reason(&word, said.as_deref(), false)? == FinishReason::ContentFilter {
                deltas.extend(said.map(|text| Delta::Refusal(TextDelta { choice: index, text })));
            }
            open.finish = Some(word);
        }
        Ok(())
    }
}

impl Open {
    fn part(&mut self, part: Part<'_>, answer: &str, deltas: &mut Vec<Delta>) {
        let choice = self.index;
        let signature = part.thought_signature.filter(|signature| !signature.is_empty());
        if let Some(call) = part.function_call {
            return self.call(call, signature, answer, deltas);
        }
        let (thoughts, text) = match part.thought {
            Some(true) => (part.text.unwrap_or_default(), None),
            Some(false) | None => (String::new(), part.text),
        };
        // The signature of a part that is no thought goes before it, as a block of thoughts without a text: so it goes back.
        if !thoughts.is_empty() || signature.is_some() {
            let content = ReasoningBlock::Open(OpenReasoning { text: thoughts, signature });
            deltas.push(Delta::Reasoning(ReasoningDelta { choice, content }));
        }
        if part.thought == Some(true) {
            // A picture among the thoughts is a draft of the one that comes.
            return;
        }
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.sources.text(&text);
            deltas.push(Delta::Text(TextDelta { choice, text }));
        }
        if let Some(raw) = part.inline_data {
            match media(choice, raw) {
                Some(delta) => deltas.push(delta),
                None => self.annotate([other("inlineData", raw.get())], deltas),
            }
        }
        let others = [
            ("fileData", part.file_data),
            ("executableCode", part.executable_code),
            ("codeExecutionResult", part.code_execution_result),
        ];
        self.annotate(others.into_iter().filter_map(|(key, raw)| Some(other(key, raw?.get()))), deltas);
    }

    fn call(&mut self, call: wire::FunctionCall<'_>, signature: Option<String>, answer: &str, deltas: &mut Vec<Delta>) {
        let (choice, index) = (self.index, self.calls);
        self.calls += 1;
        // Clients name the call by its id when they send the result: one that is made up has to be stable and single.
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| {
            let made_up = hash(format!("{answer}/{choice}/{index}").as_bytes());
            format!("{}{made_up:016x}", super::contents::MADE_UP)
        });
        let arguments = match call.args.map(RawValue::get) {
            None | Some("null") => "{}".to_owned(),
            Some(json) => compact(json),
        };
        let call = ToolCall { id, kind: ToolKind::Function, name: call.name, arguments, signature };
        deltas.push(Delta::ToolCall(ToolCallDelta { choice, index, call }));
    }

    fn annotate(&self, annotations: impl IntoIterator<Item = Annotation>, deltas: &mut Vec<Delta>) {
        let choice = self.index;
        let notes = annotations.into_iter().map(|annotation| AnnotationDelta { choice, annotation });
        deltas.extend(notes.map(Delta::Annotation));
    }

    fn close(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        let found = self.sources.end();
        self.annotate(found, deltas);
        let word = self.finish.take().unwrap_or_default();
        let reason = finish::reason(&word, None, self.calls > 0)?;
        deltas.push(Delta::Finish(FinishDelta { choice: self.index, reason, provider_reason: Some(word) }));
        Ok(())
    }
}

/// A picture or a sound. `None` for anything else.
fn media(choice: u32, raw: &RawValue) -> Option<Delta> {
    let mut blob = read(raw.get());
    let mime_type = text(&blob, "mimeType")?.to_owned();
    let (image, audio) = (mime_type.starts_with("image/"), mime_type.starts_with("audio/"));
    let Some(Value::String(data)) = blob.get_mut("data").filter(|_| image || audio).map(Value::take) else {
        return None;
    };
    if audio {
        let (base64, id, transcript, expires_at) = (Some(data), None, None, None);
        return Some(Delta::Audio(AudioDelta { choice, id, base64, transcript, expires_at }));
    }
    let (source, media_type) = (Source::Base64(data), Some(mime_type));
    Some(Delta::Image(ImageDelta { choice, image: Image { source, media_type, detail: None, cache_control: None } }))
}

fn tokens(choice: u32, result: &Value) -> Option<Delta> {
    let one = |token: &Value| Logprob {
        token: token.get("token").and_then(Value::as_str).unwrap_or_default().to_owned(),
        logprob: token.get("logProbability").and_then(Value::as_f64).unwrap_or_default(),
        bytes: None,
    };
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let top = list(result, "topCandidates");
    let content: Vec<TokenLogprob> = list(result, "chosenCandidates")
        .iter()
        .enumerate()
        .map(|(place, chosen)| {
            let top = top.get(place).map(|top| list(top, "candidates")).unwrap_or_default();
            TokenLogprob { chosen: one(chosen), top: top.iter().map(one).collect() }
        })
        .collect();
    let logprobs = Logprobs { content, refusal: Vec::new() };
    (!logprobs.content.is_empty()).then_some(Delta::Logprobs(LogprobsDelta { choice, logprobs }))
}

/// Google counts thoughts beside the candidates, and what tools put into the prompt beside the prompt; what it read from a
/// cache is in the prompt. <https://ai.google.dev/api/generate-content#UsageMetadata> (2026-11)
fn figures(usage: &wire::Usage<'_>) -> Usage {
    let sum = |one: Option<u64>, other: Option<u64>| one.unwrap_or_default().saturating_add(other.unwrap_or_default());
    let audio = |details: Option<&RawValue>| {
        // Few answers have any, and every event has the details.
        let details = read(details.map(RawValue::get).filter(|details| details.contains("AUDIO"))?);
        let audio = details.as_array()?.iter().find(|detail| text(detail, "modality") == Some("AUDIO"))?;
        audio.get("tokenCount")?.as_u64()
    };
    let prompt_tokens = sum(usage.prompt_token_count, usage.tool_use_prompt_token_count);
    let completion_tokens = sum(usage.candidates_token_count, usage.thoughts_token_count);
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: usage.total_token_count.unwrap_or_else(|| prompt_tokens.saturating_add(completion_tokens)),
        cached_tokens: usage.cached_content_token_count,
        cache_write_tokens: None,
        prompt_audio_tokens: audio(usage.prompt_tokens_details),
        reasoning_tokens: usage.thoughts_token_count,
        completion_audio_tokens: audio(usage.candidates_tokens_details),
        accepted_prediction_tokens: None,
        rejected_prediction_tokens: None,
    }
}

/// OpenAI's word for Google's usual tier, which clients know; the others are the same.
/// <https://ai.google.dev/gemini-api/docs/priority-inference> (2026-11)
fn tier_word(tier: &str) -> String {
    if tier == "standard" { "default".to_owned() } else { tier.to_owned() }
}

/// Seconds since 1970 of a time of UTC as `2026-11-25T07:24:16.5Z`. <https://www.rfc-editor.org/rfc/rfc3339#section-5.6>
fn seconds(time: &str) -> Option<u64> {
    let mut numbers = time.strip_suffix('Z')?.split(['-', 'T', ':', '.']).map(|number| number.parse::<u64>().ok());
    let mut number = || numbers.next()?;
    refusal::since_1970((number()?, number()?, number()?), (number()?, number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Reader, by_name, fold};

    const EVENTS: [&str; 3] = [
        r#"{"candidates":[{"content":{"parts":[{"text":"Hm.","thought":true},{"text":"Hel"}]}}],"responseId":"r","createTime":"2026-11-25T07:24:16.5Z"}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"lo"},{"functionCall":{"name":"now"},"thoughtSignature":"c2ln"}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"then","args":{"a": 1}}}]},"finishReason":"STOP"}]}"#,
    ];

    #[test]
    fn a_whole_answer_and_a_streamed_one_fold_to_the_same() {
        let whole = whole(format!("[{}]", EVENTS.join(",")).as_bytes()).and_then(fold).unwrap();
        let mut reader = Reader::new(by_name("gemini").unwrap());
        let mut deltas = Vec::new();
        for event in EVENTS {
            reader.push(format!("data: {event}\r\n\r\n").as_bytes(), &mut deltas).unwrap();
        }
        reader.end(&mut deltas).unwrap();
        let streamed = fold(deltas).unwrap();
        assert_eq!(streamed.choices, whole.choices);
        assert_eq!(streamed.start.created, whole.start.created);
        assert_eq!(whole.start.created, 1_795_591_456);
        assert_eq!(whole.choices[0].message.parts.len(), 4);
    }

    #[test]
    fn an_odd_time_is_none() {
        for time in ["", "Z", "2026-11-25", "2026-13-25T07:24:16Z", "2026-11-25T07:24:16+01:00", "x-y-zT1:2:3Z"] {
            assert_eq!(seconds(time), None, "{time}");
        }
    }
}
