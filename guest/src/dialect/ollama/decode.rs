//! Ollama's JSON -> deltas, whole or line by line.
//!
//! Before: the lines of an answer. After: `fold`, or a stream's reader. Invariant: `done` alone ends an answer; one answer has
//! one id, however its lines differ; calls, which come whole and mostly without an id, get one that is stable and single.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::{
    bindings::{
        Delta, Error, ErrorKind, FinishDelta, FinishReason, Image, ImageDelta, Logprob, Logprobs, LogprobsDelta,
        OpenReasoning, ReasoningBlock, ReasoningDelta, Source, Start, TextDelta, TokenLogprob, ToolCall, ToolCallDelta,
        ToolKind, Usage,
    },
    dialect::{
        Decoder, hash,
        refusal::{since_1970, told},
        unexpected,
    },
    frame::Event,
    json,
};

json::reader! {
    /// A whole answer, or one line of a streamed one.
    struct Answer<'a> {
        "model" => model: Option<Cow<'a, str>>,
        "created_at" => created_at: Option<Cow<'a, str>>,
        "message" => message: Option<Message<'a>>,
        "done" => done: Option<bool>,
        "done_reason" => done_reason: Option<String>,
        "prompt_eval_count" => prompt_eval_count: Option<u64>,
        "eval_count" => eval_count: Option<u64>,
        "logprobs" => logprobs: Option<Vec<Token>>,
        "error" => error: Option<&'a RawValue>,
    }
}

json::reader! {
    struct Message<'a> {
        "content" => content: Option<String>,
        "thinking" => thinking: Option<String>,
        "images" => images: Option<Vec<String>>,
        "tool_calls" => tool_calls: Option<Vec<Call<'a>>>,
    }
}

json::reader! {
    struct Call<'a> {
        "id" => id: Option<String>,
        [needed] "function" => function: Function<'a>,
    }
}

json::reader! {
    struct Function<'a> {
        [needed] "name" => name: String,
        "arguments" => arguments: Option<&'a RawValue>,
    }
}

json::reader! {
    struct Token {
        [needed] "token" => token: String,
        [needed] "logprob" => logprob: f64,
        "bytes" => bytes: Option<Vec<u8>>,
        "top_logprobs" => top_logprobs: Option<Vec<Self>>,
    }
}

/// Reads a whole answer. Whatever error its body reports, its status said that all is well: that is the provider's failure.
pub(super) fn whole(body: &[u8]) -> Result<Vec<Delta>, Error> {
    let contradictory = |error: Error| Error { kind: ErrorKind::Provider, status: Some(200), ..error };
    let text = std::str::from_utf8(body).map_err(|error| contradictory(unexpected(body, &error.to_string())))?;
    let answer = read(text).map_err(contradictory)?;
    let mut deltas = Vec::with_capacity(4);
    let mut state = Stream { whole: true, ..Stream::default() };
    state.answer(answer, text, &mut deltas)?;
    state.end(&mut deltas)?;
    Ok(deltas)
}

/// A line that is no error.
fn read(line: &str) -> Result<Answer<'_>, Error> {
    let failed = |why: &str| told(line).unwrap_or_else(|| unexpected(line.as_bytes(), why));
    let answer: Answer<'_> = json::read(line).map_err(|error| failed(&error.to_string()))?;
    if answer.error.is_some() {
        return Err(failed("it is an error without a message"));
    }
    if answer.message.is_none() && answer.done.is_none() {
        return Err(failed("it has no message"));
    }
    Ok(answer)
}

/// Reads a streamed answer; a whole one is a stream of one line.
#[derive(Default)]
pub(super) struct Stream {
    whole: bool,
    /// The answer's id, once it has begun.
    id: Option<String>,
    calls: u32,
    done: bool,
    usage: Option<Usage>,
}

impl Decoder for Stream {
    fn event(&mut self, event: Event<'_>, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        let line = event.data.trim();
        if self.done || line.is_empty() {
            return Ok(());
        }
        self.answer(read(line)?, line, deltas)
    }

    fn end(&mut self, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if !self.done {
            return Err(if self.whole {
                Error::new(ErrorKind::Provider, "the answer does not say that it is done")
            } else {
                Error::new(ErrorKind::Connection, "the stream ended before the answer was complete")
            });
        }
        deltas.extend(self.usage.take().map(Delta::Usage));
        Ok(())
    }
}

impl Stream {
    fn answer(&mut self, answer: Answer<'_>, line: &str, deltas: &mut Vec<Delta>) -> Result<(), Error> {
        if self.id.is_none() {
            let start = start(&answer, line);
            self.id = Some(start.id.clone());
            deltas.push(Delta::Start(start));
        }
        let content: Vec<TokenLogprob> = answer.logprobs.into_iter().flatten().map(token).collect();
        if !content.is_empty() {
            let logprobs = Logprobs { content, refusal: Vec::new() };
            deltas.push(Delta::Logprobs(LogprobsDelta { choice: 0, logprobs }));
        }
        if let Some(message) = answer.message {
            self.message(message, deltas);
        }
        if answer.done != Some(true) {
            return Ok(());
        }
        let reason = self.reason(answer.done_reason.as_deref())?;
        self.done = true;
        deltas.push(Delta::Finish(FinishDelta { choice: 0, reason, provider_reason: answer.done_reason }));
        // A count of nothing is left out: a prompt that was read from the cache is evaluated at no cost.
        if answer.prompt_eval_count.is_some() || answer.eval_count.is_some() {
            self.usage = Some(usage(answer.prompt_eval_count.unwrap_or(0), answer.eval_count.unwrap_or(0)));
        }
        Ok(())
    }

    fn message(&mut self, message: Message<'_>, deltas: &mut Vec<Delta>) {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        deltas.extend(some(message.thinking).map(|text| {
            let content = ReasoningBlock::Open(OpenReasoning { text, signature: None });
            Delta::Reasoning(ReasoningDelta { choice: 0, content })
        }));
        deltas.extend(some(message.content).map(|text| Delta::Text(TextDelta { choice: 0, text })));
        deltas.extend(message.images.into_iter().flatten().map(|data| {
            let media_type = Some(media_type(&data).to_owned());
            let image = Image { source: Source::Base64(data), media_type, detail: None, cache_control: None };
            Delta::Image(ImageDelta { choice: 0, image })
        }));
        for call in message.tool_calls.into_iter().flatten() {
            let index = self.calls;
            self.calls += 1;
            let answer = self.id.as_deref().unwrap_or_default();
            let made_up = || format!("call_{:016x}", hash(format!("{answer}/{index}").as_bytes()));
            let arguments = call.function.arguments.map(RawValue::get).filter(|json| *json != "null");
            let call = ToolCall {
                id: some(call.id).unwrap_or_else(made_up),
                kind: ToolKind::Function,
                name: call.function.name,
                arguments: arguments.unwrap_or("{}").to_owned(),
                signature: None,
            };
            deltas.push(Delta::ToolCall(ToolCallDelta { choice: 0, index, call }));
        }
    }

    /// Why it is done. Servers before 0.1.33 do not say, and were done all the same.
    /// <https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion> (2026-11)
    fn reason(&self, word: Option<&str>) -> Result<FinishReason, Error> {
        match word {
            None | Some("" | "stop") if self.calls > 0 => Ok(FinishReason::ToolCalls),
            None | Some("" | "stop") => Ok(FinishReason::Stop),
            Some("length") => Ok(FinishReason::Length),
            Some(other) => Err(Error::new(
                ErrorKind::Provider,
                format!("the provider stopped for a reason that is no completion's: `{other}`"),
            )),
        }
    }
}

/// An answer has no id: the model and the moment make one.
fn start(answer: &Answer<'_>, line: &str) -> Start {
    let model = answer.model.as_deref().unwrap_or_default();
    let moment = answer.created_at.as_deref();
    let seed = moment.map_or_else(|| line.to_owned(), |moment| format!("{model}/{moment}"));
    Start {
        id: format!("chatcmpl-{:016x}", hash(seed.as_bytes())),
        model: model.to_owned(),
        created: moment.and_then(seconds).unwrap_or(0),
        system_fingerprint: None,
        service_tier: None,
    }
}

/// Seconds since 1970 of a moment as `2026-11-25T08:30:00.25+01:00`. <https://www.rfc-editor.org/rfc/rfc3339#section-5.6>
fn seconds(moment: &str) -> Option<u64> {
    let (day, time) = moment.split_once(['T', 't'])?;
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let mut numbers = day.split('-').chain(time.split(['.', ':']).take(3)).map(|number| number.parse::<u64>().ok());
    let mut number = || numbers.next()?;
    let (year, month, day) = (number()?, number()?, number()?);
    let there = since_1970((year, month, day), (number()?, number()?, number()?))?;
    let offset = zone.get(1..).and_then(|offset| offset.split_once(':')).and_then(|(hours, minutes)| {
        Some((hours.parse::<u64>().ok()?.min(24) * 60 + minutes.parse::<u64>().ok()?.min(60)) * 60)
    });
    match zone.as_bytes().first() {
        Some(b'+') => there.checked_sub(offset?),
        Some(b'-') => there.checked_add(offset?),
        Some(_) | None => Some(there),
    }
}

/// What the first bytes of a picture in base64 say that it is.
fn media_type(base64: &str) -> &'static str {
    match base64.as_bytes() {
        [b'/', b'9', b'j', b'/', ..] => "image/jpeg",
        [b'U', b'k', b'l', b'G', ..] => "image/webp",
        [b'R', b'0', b'l', b'G', ..] => "image/gif",
        _ => "image/png",
    }
}

fn token(mut token: Token) -> TokenLogprob {
    let one = |token: Token| Logprob { token: token.token, logprob: token.logprob, bytes: token.bytes };
    let top = token.top_logprobs.take().into_iter().flatten().map(one).collect();
    TokenLogprob { chosen: one(token), top }
}

fn usage(prompt_tokens: u64, completion_tokens: u64) -> Usage {
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens.saturating_add(completion_tokens),
        cached_tokens: None,
        cache_write_tokens: None,
        prompt_audio_tokens: None,
        reasoning_tokens: None,
        completion_audio_tokens: None,
        accepted_prediction_tokens: None,
        rejected_prediction_tokens: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_counted_in_seconds_wherever_it_was_told() {
        for (moment, wanted) in [
            ("1970-01-01T00:00:01Z", Some(1)),
            ("2024-05-24T21:01:59.481632Z", Some(1_716_584_519)),
            ("2024-05-24T23:01:59.481632+02:00", Some(1_716_584_519)),
            ("2024-05-24T14:31:59-06:30", Some(1_716_584_519)),
            ("2024-05-24", None),
            ("2024-05-24T21:01Z", None),
            ("2024-13-24T21:01:59Z", None),
            ("1970-01-01T00:00:00+24:00", None),
            ("soon", None),
            ("T+", None),
        ] {
            assert_eq!(seconds(moment), wanted, "{moment}");
        }
    }

    #[test]
    fn calls_of_one_answer_have_ids_of_their_own() {
        let body = r#"{"model":"m","created_at":"2024-05-24T21:01:59Z","message":{"tool_calls":[
            {"function":{"name":"now"}},{"function":{"name":"now","arguments":{}}}]},"done":true}"#;
        let ids: Vec<String> = whole(body.as_bytes())
            .unwrap()
            .into_iter()
            .filter_map(|delta| if let Delta::ToolCall(delta) = delta { Some(delta.call.id) } else { None })
            .collect();
        assert_eq!(ids.len(), 2);
        assert_ne!(ids[0], ids[1]);
    }
}
