//! A provider's refusal -> an error: status first, then the typed code, then the text.
//!
//! Before: an answer whose status is no success, or whose body is no answer. After: the caller. Invariant: the provider's
//! message is kept, and a body never overrules a status (a 503 that says `invalid_request_error` is still a 503).

use serde_json::Value;

use super::Head;
use crate::{
    bindings::{Error, ErrorKind},
    json,
};

/// How much of a body that makes no sense is shown, in characters.
const SHOWN: usize = 200;

/// The error of an answer whose status is no success.
pub fn refused(head: &Head, body: &[u8]) -> Error {
    if matches!(head.status, 300..=399) {
        let place = head.header("location").unwrap_or("nowhere");
        let message =
            format!("the provider redirects with status {} to {place}; set that as the base URL", head.status);
        return Error { status: Some(head.status), ..Error::new(ErrorKind::Provider, message) };
    }
    let told = Told::read(body);
    let kind = kind(head.status, &told);
    let message =
        told.message.unwrap_or_else(|| shown(body, &format!("the provider answered with status {}", head.status)));
    Error {
        status: Some(head.status),
        provider_type: told.kind,
        provider_code: told.code,
        param: told.param,
        retry_after: retry_after(head).or(told.retry_after),
        ..Error::new(kind, message)
    }
}

/// The error that stands in a successful answer's body, or in an event of its stream. `None` if `error` is none.
pub(super) fn told(body: &str) -> Option<Error> {
    let told = Told::read(body.as_bytes());
    let status = told.status.or_else(|| told.code.as_deref().and_then(status));
    let kind = match status {
        Some(status) => kind(status, &told),
        None => typed(&told).unwrap_or(ErrorKind::Provider),
    };
    Some(Error {
        status,
        provider_type: told.kind,
        provider_code: told.code,
        param: told.param,
        retry_after: told.retry_after,
        ..Error::new(kind, told.message?)
    })
}

/// The error of a successful answer that is no answer: HTML, broken JSON, nothing.
pub fn unexpected(body: &[u8], why: &str) -> Error {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let message = if text.trim().is_empty() {
        "the provider answered with an empty body".to_owned()
    } else if text.trim_start().starts_with('<') {
        shown(body, "the provider answered with HTML")
    } else {
        shown(body, &format!("the provider's answer is not what its dialect says: {why}"))
    };
    Error { status: None, ..Error::new(ErrorKind::Provider, message) }
}

/// `what`, and the beginning of the body; of HTML the title.
fn shown(body: &[u8], what: &str) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(16 << 10)]);
    let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
    let words: Vec<&str> = title.unwrap_or(&text).split_whitespace().collect();
    let beginning: String = words.join(" ").chars().take(SHOWN).collect();
    if beginning.is_empty() { what.to_owned() } else { format!("{what}: {beginning}") }
}

/// What an error body says.
#[derive(Debug, Default)]
struct Told {
    message: Option<String>,
    kind: Option<String>,
    code: Option<String>,
    param: Option<String>,
    status: Option<u16>,
    /// In nanoseconds.
    retry_after: Option<u64>,
}

impl Told {
    /// Reads the shapes that providers use: `{"error": {..}}`, `{"error": ".."}`, `{"message": ..}`, `{"detail": ..}`, and
    /// a list of one of them.
    fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let Ok(mut value) = json::read::<Value>(&text) else { return Self::default() };
        if let Value::Array(list) = value {
            value = list.into_iter().next().unwrap_or_default();
        }
        let error = match value.get("error") {
            Some(Value::Object(_)) => &value["error"],
            _ => &value,
        };
        let text = |key: &str| error.get(key).and_then(word);
        let message = text("message")
            .or_else(|| text("Message"))
            .or_else(|| value.get("error").and_then(word))
            .or_else(|| value.get("detail").and_then(detail))
            .or_else(|| value.get("message").and_then(detail));
        // OpenRouter wraps the error of the provider behind it: https://openrouter.ai/docs/api-reference/errors (2026-11)
        let inner = error.pointer("/metadata/raw").and_then(Value::as_str);
        let message = match (message, inner) {
            (Some(outer), Some(inner)) if !outer.contains(inner) => Some(format!("{outer}: {inner}")),
            (message, inner) => message.or_else(|| inner.map(str::to_owned)),
        };
        let status = ["status", "status_code", "raw_status_code"].iter().find_map(|key| error.get(*key)?.as_u64());
        let mut told =
            Self { message, kind: text("type"), code: text("code"), param: text("param"), ..Self::default() };
        let status = status.or_else(|| told.google(error));
        told.status = status.and_then(|status| u16::try_from(status).ok()).filter(|status| (400..600).contains(status));
        told
    }

    /// Google's own: `code` is the status, `status` a word for it, and `details` say more. <https://google.aip.dev/193> (2026-11)
    fn google(&mut self, error: &Value) -> Option<u64> {
        let word = error.get("status")?.as_str()?;
        let status = error.get("code")?.as_u64()?;
        let details = || error.get("details").and_then(Value::as_array).into_iter().flatten();
        let detail = |key: &str| details().find_map(|detail| detail.get(key)?.as_str());
        self.kind = Some(word.to_owned());
        self.code = detail("reason").map(str::to_owned);
        self.retry_after = detail("retryDelay").and_then(|wait| nanoseconds(wait.strip_suffix('s')?.parse().ok()?));
        Some(status)
    }

    fn says(&self, words: &[&str]) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    fn is(&self, words: &[&str]) -> bool {
        let typed = [&self.code, &self.kind];
        typed.into_iter().flatten().any(|typed| words.iter().any(|word| typed.eq_ignore_ascii_case(word)))
    }
}

/// A word or a number, as text.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// FastAPI's `detail`: a text, or a list of what is wrong with which field.
fn detail(value: &Value) -> Option<String> {
    word(value).or_else(|| match value {
        Value::Array(_) | Value::Object(_) => Some(value.to_string().chars().take(SHOWN * 5).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// A status written as an error's code.
fn status(code: &str) -> Option<u16> {
    code.parse().ok().filter(|status| (400..600).contains(status))
}

fn kind(status: u16, told: &Told) -> ErrorKind {
    match status {
        400 | 422 => match typed(told) {
            Some(kind @ (ErrorKind::ContextWindowExceeded | ErrorKind::ContentPolicy)) => kind,
            // Google's answer to a wrong key. https://ai.google.dev/gemini-api/docs/troubleshooting (2026-11)
            _ if told.is(&["API_KEY_INVALID"]) => ErrorKind::Authentication,
            _ => ErrorKind::BadRequest,
        },
        401 => ErrorKind::Authentication,
        402 => ErrorKind::Quota,
        403 => ErrorKind::Permission,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        409 => ErrorKind::Conflict,
        413 => match typed(told) {
            Some(ErrorKind::ContextWindowExceeded) => ErrorKind::ContextWindowExceeded,
            _ => ErrorKind::TooLarge,
        },
        429 => match typed(told) {
            Some(ErrorKind::Quota) => ErrorKind::Quota,
            _ => ErrorKind::RateLimit,
        },
        503 | 529 => ErrorKind::Overloaded,
        405..=499 => ErrorKind::BadRequest,
        _ => ErrorKind::Provider,
    }
}

/// What the code and the type, and then the text, say.
fn typed(told: &Told) -> Option<ErrorKind> {
    const CONTEXT: &[&str] = &["context_length_exceeded", "context_window_exceeded", "string_above_max_length"];
    const POLICY: &[&str] =
        &["content_policy_violation", "content_filter", "ResponsibleAIPolicyViolation", "moderation_blocked"];
    const QUOTA: &[&str] =
        &["insufficient_quota", "insufficient_balance", "billing_hard_limit_reached", "billing_error"];
    const RATE: &[&str] =
        &["rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests", "RESOURCE_EXHAUSTED"];
    const BUSY: &[&str] = &["overloaded_error", "overloaded", "service_unavailable"];
    let by_code = [
        (CONTEXT, ErrorKind::ContextWindowExceeded),
        (POLICY, ErrorKind::ContentPolicy),
        (QUOTA, ErrorKind::Quota),
        (RATE, ErrorKind::RateLimit),
        (BUSY, ErrorKind::Overloaded),
        (&["invalid_api_key", "authentication_error"], ErrorKind::Authentication),
        (&["timeout_error"], ErrorKind::Timeout),
        (&["permission_error"], ErrorKind::Permission),
        (&["model_not_found", "not_found_error"], ErrorKind::NotFound),
        (&["invalid_request_error"], ErrorKind::BadRequest),
    ];
    let context = [
        "maximum context length",
        "context window",
        "context length",
        "too many tokens",
        "prompt is too long",
        "exceeds the available context size",
        "input is too long",
        "exceeds the maximum number of tokens allowed",
    ];
    let by_text = [
        (&context[..], ErrorKind::ContextWindowExceeded),
        (
            &["content management policy", "content filtering policy", "content policy", "safety system"],
            ErrorKind::ContentPolicy,
        ),
        (
            &["exceeded your current quota", "insufficient balance", "out of credits", "credit balance"],
            ErrorKind::Quota,
        ),
    ];
    // `invalid_request_error` says too little to go before the text.
    let codes = by_code.iter().take(9).find(|(words, _)| told.is(words));
    let texts = || by_text.iter().find(|(words, _)| told.says(words));
    let last = || by_code.iter().skip(9).find(|(words, _)| told.is(words));
    codes.or_else(texts).or_else(last).map(|(_, kind)| *kind)
}

/// How long to wait, in nanoseconds: `retry-after-ms`, else `retry-after` in seconds or as a date, which is measured against
/// the answer's own `date`, as there is no clock here. <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>
fn retry_after(head: &Head) -> Option<u64> {
    if let Some(wait) = head.header("retry-after-ms").and_then(|wait| wait.parse::<f64>().ok()) {
        return nanoseconds(wait / 1e3);
    }
    let wait = head.header("retry-after")?;
    match wait.parse::<f64>() {
        Ok(seconds) => nanoseconds(seconds),
        Err(_) => {
            let seconds = date(wait)?.saturating_sub(date(head.header("date")?)?);
            seconds.checked_mul(1_000_000_000)
        }
    }
}

fn nanoseconds(seconds: f64) -> Option<u64> {
    // A wait of more than a year is no advice.
    (0.0..=31_536_000.0).contains(&seconds).then_some((seconds * 1e9) as u64)
}

/// Seconds since 1970 of a date as `Sun, 06 Nov 1994 08:49:37 GMT`. <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>
fn date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split([' ', ':']);
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let mut number = || words.next()?.parse::<u64>().ok();
    let year = number()?;
    since_1970((year, month, day), (number()?, number()?, number()?))
}

/// Seconds since 1970 of a year, month and day, and of an hour, minute and second of UTC.
pub(super) fn since_1970((year, month, day): (u64, u64, u64), time: (u64, u64, u64)) -> Option<u64> {
    let (hour, minute, second) = time;
    let (years, months, days) = (1970..10_000, 1..=12, 1..=31);
    if !years.contains(&year) || !months.contains(&month) || !days.contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970, counting years from March so that the leap day is the last of a year.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> Error {
        refused(&Head { status, headers: Vec::new() }, body.as_bytes())
    }

    #[test]
    fn the_status_comes_before_the_body() {
        let says = r#"{"error":{"message":"busy","type":"invalid_request_error"}}"#;
        assert_eq!(error(503, says).kind, ErrorKind::Overloaded);
        assert_eq!(error(529, says).kind, ErrorKind::Overloaded);
        assert_eq!(error(500, says).kind, ErrorKind::Provider);
        assert_eq!(error(401, says).kind, ErrorKind::Authentication);
        assert_eq!(error(400, says).kind, ErrorKind::BadRequest);
    }

    #[test]
    fn a_code_or_a_text_says_which_kind_of_400_or_429_it_is() {
        let code = r#"{"error":{"message":"no","code":"context_length_exceeded"}}"#;
        assert_eq!(error(400, code).kind, ErrorKind::ContextWindowExceeded);
        let text =
            r#"{"error":{"message":"This model's maximum context length is 8 tokens","type":"invalid_request_error"}}"#;
        assert_eq!(error(400, text).kind, ErrorKind::ContextWindowExceeded);
        assert_eq!(error(400, r#"{"error":{"message":"no","code":"content_filter"}}"#).kind, ErrorKind::ContentPolicy);
        assert_eq!(error(429, r#"{"error":{"message":"no","code":"insufficient_quota"}}"#).kind, ErrorKind::Quota);
        assert_eq!(error(429, "{}").kind, ErrorKind::RateLimit);
    }

    #[test]
    fn every_shape_of_message_is_kept() {
        for body in [
            r#"{"error":{"message":"it broke"}}"#,
            r#"{"error":"it broke"}"#,
            r#"{"message":"it broke","object":"error"}"#,
            r#"{"detail":"it broke"}"#,
            r#"[{"error":{"message":"it broke"}}]"#,
            r#"{"error":{"message":"it","metadata":{"raw":"it broke"}}}"#,
            r#"{"detail":[{"loc":["body"],"msg":"it broke"}]}"#,
            "it broke",
            "<html><head><title>it broke</title></head>",
        ] {
            let message = error(500, body).message;
            assert!(message.contains("it broke"), "{body}: {message}");
        }
        assert_eq!(error(500, "").message, "the provider answered with status 500");
    }

    #[test]
    fn retry_after_is_seconds_milliseconds_or_a_date() {
        let head = |fields: &[(&str, &str)]| Head {
            status: 429,
            headers: fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
        };
        assert_eq!(retry_after(&head(&[("Retry-After", "2")])), Some(2_000_000_000));
        assert_eq!(retry_after(&head(&[("retry-after-ms", "1500"), ("retry-after", "2")])), Some(1_500_000_000));
        let dates = [("date", "Sun, 28 Feb 2027 23:59:50 GMT"), ("retry-after", "Mon, 01 Mar 2027 00:00:05 GMT")];
        assert_eq!(retry_after(&head(&dates)), Some(15_000_000_000));
        for odd in ["", "soon", "-1", "1e300", "NaN"] {
            assert_eq!(retry_after(&head(&[("retry-after", odd)])), None, "{odd}");
        }
    }

    #[test]
    fn a_redirect_names_its_location() {
        let head = Head { status: 301, headers: vec![("location".to_owned(), b"https://new.example/v1".to_vec())] };
        let error = refused(&head, b"");
        assert_eq!(error.kind, ErrorKind::Provider);
        assert!(error.message.contains("https://new.example/v1"), "{}", error.message);
    }
}
