//! What the host is told of an answer: who gave it, why it ended, what it took.
//!
//! Before: the completion, or a stream's deltas on their way to the client. After: the host, which reads it in the trailers
//! of the response and tells no client. Invariant: nothing in it but names of configuration, OpenAI's words and figures, and
//! of an error its kind, status and code: its message may say what nobody should read in a log.

use super::answer::finish_word;
use crate::bindings::{Completion, Delta, Error, ErrorKind, FinishReason, Usage};

/// What the host is told of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    provider: String,
    model: String,
    /// Why the first choice that ended did; absent where none has.
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    error: Option<String>,
}

/// More of a model's name is told to nobody: it may be the caller's, and as long as a request.
const LONGEST: usize = 128;
/// What is longer is no code.
const LONGEST_CODE: usize = 64;

impl Report {
    /// The trailer with the provider's row.
    pub const PROVIDER: &str = "seaway-provider";
    /// The trailer with the model, by the name that the provider was asked for.
    pub const MODEL: &str = "seaway-model";
    /// The trailer with OpenAI's word for the end; absent where the answer did not come to it.
    pub const FINISH: &str = "seaway-finish";
    /// The trailer with the tokens: a dictionary of <https://www.rfc-editor.org/rfc/rfc9651#section-3.2>, of which `prompt`,
    /// `completion` and `total` are always there. Absent where the provider gave none.
    pub const USAGE: &str = "seaway-usage";
    /// The trailer that says what went wrong: `rate limit (429, rate_limit_exceeded)`. Absent where nothing did. The only one
    /// where the request is for no provider that is known.
    pub const ERROR: &str = "seaway-error";

    /// The report of an answer by this provider's model, of which nothing has come yet.
    pub fn new(provider: &str, model: &str) -> Self {
        Self { provider: value(provider), model: value(model), finish: None, usage: None, error: None }
    }

    /// Notes a whole answer.
    #[must_use]
    pub fn of(self, completion: &Completion) -> Self {
        let finish = completion.choices.first().map(|choice| choice.finish_reason);
        Self { finish, usage: completion.usage, ..self }
    }

    /// Notes what a stream brings.
    pub fn note(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            if let Delta::Finish(delta) = delta {
                self.finish.get_or_insert(delta.reason);
            } else if let Delta::Usage(usage) = delta {
                self.usage = Some(*usage);
            }
        }
    }

    /// It failed, perhaps after it had begun.
    pub fn fail(&mut self, error: &Error) {
        self.finish = None;
        self.error = Some(what(error));
    }

    /// The trailer of an answer that is for no provider.
    pub fn without_provider(error: &Error) -> Vec<(String, Vec<u8>)> {
        vec![(Self::ERROR.to_owned(), what(error).into_bytes())]
    }

    /// The trailers: names, and values that a header can hold.
    pub fn trailers(self) -> Vec<(String, Vec<u8>)> {
        let Self { provider, model, finish, usage, error } = self;
        let mut trailers = Vec::with_capacity(4);
        trailers.push((Self::PROVIDER.to_owned(), provider.into_bytes()));
        trailers.push((Self::MODEL.to_owned(), model.into_bytes()));
        trailers.extend(finish.map(|reason| (Self::FINISH.to_owned(), finish_word(reason).as_bytes().to_vec())));
        trailers.extend(usage.map(|usage| (Self::USAGE.to_owned(), dictionary(&usage).into_bytes())));
        trailers.extend(error.map(|error| (Self::ERROR.to_owned(), error.into_bytes())));
        trailers
    }
}

/// `rate limit (429, rate_limit_exceeded)`: without its message, and without a code that is no word.
fn what(error: &Error) -> String {
    let word = |letter: u8| letter.is_ascii_alphanumeric() || b"_.-".contains(&letter);
    let code = error.provider_code.as_deref().or(error.code.as_deref());
    let code = code.filter(|code| code.len() <= LONGEST_CODE && code.bytes().all(word)).map(str::to_owned);
    let told: Vec<String> = error.status.map(|status| status.to_string()).into_iter().chain(code).collect();
    match told.is_empty() {
        true => kind(error.kind).to_owned(),
        false => format!("{} ({})", kind(error.kind), told.join(", ")),
    }
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::BadRequest => "bad request",
        ErrorKind::ContextWindowExceeded => "context window exceeded",
        ErrorKind::ContentPolicy => "content policy",
        ErrorKind::Authentication => "authentication",
        ErrorKind::Permission => "permission",
        ErrorKind::NotFound => "not found",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Conflict => "conflict",
        ErrorKind::TooLarge => "too large",
        ErrorKind::RateLimit => "rate limit",
        ErrorKind::Quota => "quota",
        ErrorKind::Provider => "provider",
        ErrorKind::Overloaded => "overloaded",
        ErrorKind::Denied => "denied",
        ErrorKind::Configuration => "configuration",
        ErrorKind::Connection => "connection",
        ErrorKind::Unsupported => "unsupported",
    }
}

/// As much of a name as a header can hold: what is no visible ASCII is a question mark.
fn value(name: &str) -> String {
    name.chars().take(LONGEST).map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }).collect()
}

fn dictionary(usage: &Usage) -> String {
    let Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens,
        cached_tokens,
        cache_write_tokens,
        prompt_audio_tokens,
        reasoning_tokens,
        completion_audio_tokens,
        accepted_prediction_tokens,
        rejected_prediction_tokens,
    } = usage;
    let mut out = format!("prompt={prompt_tokens}, completion={completion_tokens}, total={total_tokens}");
    let further = [
        ("cached", cached_tokens),
        ("cache-write", cache_write_tokens),
        ("prompt-audio", prompt_audio_tokens),
        ("reasoning", reasoning_tokens),
        ("completion-audio", completion_audio_tokens),
        ("accepted-prediction", accepted_prediction_tokens),
        ("rejected-prediction", rejected_prediction_tokens),
    ];
    for (kind, tokens) in further {
        // None of a kind is what most answers say of most kinds.
        if let Some(tokens) = tokens.filter(|tokens| *tokens > 0) {
            out.push_str(", ");
            out.push_str(kind);
            out.push('=');
            out.push_str(&tokens.to_string());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::FinishDelta;

    fn usage() -> Usage {
        Usage {
            prompt_tokens: 3,
            completion_tokens: 5,
            total_tokens: 8,
            cached_tokens: Some(2),
            cache_write_tokens: Some(0),
            prompt_audio_tokens: None,
            reasoning_tokens: Some(4),
            completion_audio_tokens: None,
            accepted_prediction_tokens: None,
            rejected_prediction_tokens: None,
        }
    }

    fn told(report: Report) -> Vec<(String, String)> {
        let text = |(name, value)| (name, String::from_utf8(value).unwrap());
        report.trailers().into_iter().map(text).collect()
    }

    #[test]
    fn a_stream_is_told_by_its_first_end_and_its_last_usage() {
        let mut report = Report::new("openai", "gpt-4o");
        let finish = |reason| Delta::Finish(FinishDelta { choice: 0, reason, provider_reason: None });
        report.note(&[finish(FinishReason::Length), finish(FinishReason::Stop)]);
        report.note(&[Delta::Usage(usage())]);
        let expected = [
            (Report::PROVIDER, "openai"),
            (Report::MODEL, "gpt-4o"),
            (Report::FINISH, "length"),
            (Report::USAGE, "prompt=3, completion=5, total=8, cached=2, reasoning=4"),
        ];
        assert_eq!(told(report), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn an_answer_that_fails_has_no_end() {
        let mut report = Report::new("openai", "gpt-4o");
        report.note(&[Delta::Finish(FinishDelta { choice: 0, reason: FinishReason::Stop, provider_reason: None })]);
        let mut error = Error::new(ErrorKind::RateLimit, "too many, Ms. Doe");
        for (code, says) in [("slow_down", "rate limit (429, slow_down)"), ("Ms. Doe", "rate limit (429)")] {
            (error.status, error.provider_code) = (Some(429), Some(code.to_owned()));
            report.fail(&error);
            let told = told(report.clone());
            assert_eq!(told.len(), 3);
            assert_eq!(told[2], (Report::ERROR.to_owned(), says.to_owned()));
        }
    }

    #[test]
    fn whatever_a_model_is_called_a_header_can_hold_it() {
        let told = told(Report::new("corp", &format!("a b\n\u{e9}{}", "x".repeat(1 << 20))));
        assert!(told[1].1.starts_with("a?b??x") && told[1].1.len() == LONGEST, "{}", told[1].1.len());
    }
}
