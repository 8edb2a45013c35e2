//! Deltas -> a completion: the same for a whole answer and for a streamed one.
//!
//! Before: a dialect's deltas, in order. After: the caller of `complete`. Invariant: a choice without its finish, or an
//! answer without a choice, is an error, never a completion.

use crate::bindings::{
    AssistantMessage, Audio, Choice, Completion, Delta, Error, ErrorKind, FinishReason, Logprobs, OpenReasoning, Part,
    ReasoningBlock, Source, Start, TextPart, Usage,
};

/// Puts deltas together.
///
/// # Errors
/// `provider` if there is no choice, or one without its finish.
pub fn fold(deltas: impl IntoIterator<Item = Delta>) -> Result<Completion, Error> {
    let mut fold = Fold::default();
    for delta in deltas {
        fold.add(delta);
    }
    fold.end()
}

/// A completion in the making.
#[derive(Debug, Default)]
pub struct Fold {
    start: Option<Start>,
    /// By their number.
    choices: Vec<Open>,
    usage: Option<Usage>,
}

/// A choice in the making.
#[derive(Debug)]
struct Open {
    choice: Choice,
    /// Where in the message's parts each tool call is.
    calls: Vec<usize>,
    finished: bool,
}

impl Fold {
    /// Adds what a delta says.
    pub fn add(&mut self, delta: Delta) {
        match delta {
            Delta::Start(start) => self.start = Some(start),
            Delta::Text(delta) => self.choice(delta.choice).text(delta.text),
            Delta::Refusal(delta) => self.choice(delta.choice).refusal(&delta.text),
            Delta::Reasoning(delta) => self.choice(delta.choice).reasoning(delta.content),
            Delta::ToolCall(delta) => {
                let open = self.choice(delta.choice);
                open.calls.push(open.choice.message.parts.len());
                open.choice.message.parts.push(Part::ToolCall(delta.call));
            }
            Delta::Arguments(delta) => self.choice(delta.choice).arguments(delta.index, &delta.arguments),
            Delta::Image(delta) => self.choice(delta.choice).choice.message.parts.push(Part::Image(delta.image)),
            Delta::Audio(delta) => {
                let audio = Audio {
                    source: Source::Base64(delta.base64.unwrap_or_default()),
                    format: None,
                    id: delta.id,
                    transcript: delta.transcript,
                    expires_at: delta.expires_at,
                };
                self.choice(delta.choice).audio(audio);
            }
            Delta::Annotation(delta) => self.choice(delta.choice).choice.message.annotations.push(delta.annotation),
            Delta::Logprobs(delta) => {
                let none = || Logprobs { content: Vec::new(), refusal: Vec::new() };
                let logprobs = self.choice(delta.choice).choice.logprobs.get_or_insert_with(none);
                logprobs.content.extend(delta.logprobs.content);
                logprobs.refusal.extend(delta.logprobs.refusal);
            }
            Delta::Finish(delta) => {
                let open = self.choice(delta.choice);
                open.finished = true;
                open.choice.finish_reason = delta.reason;
                open.choice.provider_reason = delta.provider_reason;
            }
            Delta::Usage(usage) => self.usage = Some(usage),
        }
    }

    /// The completion.
    ///
    /// # Errors
    /// `provider` if there is no choice, or one without its finish.
    pub fn end(self) -> Result<Completion, Error> {
        if self.choices.is_empty() || self.choices.iter().any(|open| !open.finished) {
            return Err(Error::new(ErrorKind::Provider, "the answer ended before the provider said why"));
        }
        let unnamed = || Start {
            id: String::new(),
            model: String::new(),
            created: 0,
            system_fingerprint: None,
            service_tier: None,
        };
        Ok(Completion {
            start: self.start.unwrap_or_else(unnamed),
            choices: self.choices.into_iter().map(|open| open.choice).collect(),
            usage: self.usage,
        })
    }

    fn choice(&mut self, index: u32) -> &mut Open {
        let place = self.choices.partition_point(|open| open.choice.index < index);
        if self.choices.get(place).is_none_or(|open| open.choice.index != index) {
            let message = AssistantMessage { parts: Vec::new(), annotations: Vec::new(), name: None };
            let choice =
                Choice { index, message, finish_reason: FinishReason::Stop, provider_reason: None, logprobs: None };
            self.choices.insert(place, Open { choice, calls: Vec::new(), finished: false });
        }
        &mut self.choices[place]
    }
}

impl Open {
    fn text(&mut self, text: String) {
        match self.choice.message.parts.last_mut() {
            Some(Part::Text(part)) => part.text.push_str(&text),
            _ => self.choice.message.parts.push(Part::Text(TextPart::new(text))),
        }
    }

    fn refusal(&mut self, text: &str) {
        match self.choice.message.parts.last_mut() {
            Some(Part::Refusal(refusal)) => refusal.push_str(text),
            _ => self.choice.message.parts.push(Part::Refusal(text.to_owned())),
        }
    }

    /// A block of thoughts grows until its signature has come.
    fn reasoning(&mut self, block: ReasoningBlock) {
        let parts = &mut self.choice.message.parts;
        match (parts.last_mut(), block) {
            (
                Some(Part::Reasoning(ReasoningBlock::Open(OpenReasoning { text, signature: closed @ None }))),
                ReasoningBlock::Open(more),
            ) => {
                text.push_str(&more.text);
                *closed = more.signature;
            }
            (_, block) => parts.push(Part::Reasoning(block)),
        }
    }

    fn arguments(&mut self, index: u32, more: &str) {
        let place = self.calls.get(index as usize).copied();
        if let Some(Part::ToolCall(call)) = place.and_then(|place| self.choice.message.parts.get_mut(place)) {
            call.arguments.push_str(more);
        }
    }

    fn audio(&mut self, more: Audio) {
        let parts = &mut self.choice.message.parts;
        let Some(Part::Audio(audio)) = parts.iter_mut().find(|part| matches!(part, Part::Audio(_))) else {
            return parts.push(Part::Audio(more));
        };
        if let (Source::Base64(sound), Source::Base64(more)) = (&mut audio.source, &more.source) {
            sound.push_str(more);
        }
        if let Some(more) = more.transcript {
            audio.transcript.get_or_insert_default().push_str(&more);
        }
        audio.id = more.id.or_else(|| audio.id.take());
        audio.expires_at = more.expires_at.or(audio.expires_at);
    }
}
