//! The body of `POST /v1/chat/completions` -> a request.
//!
//! Before: `component` has read the body. After: `provider` finds the target. Invariant: every key is understood or refused
//! by name; text is copied once, out of the body; schemas stay text.

use serde_json::value::RawValue;

use super::{
    conversation::{self, Message},
    parameters::{
        self, AudioBody, FormatBody, OneOrMore, PredictionBody, ReasoningBody, StreamOptionsBody, ThinkingBody,
        ToolBody, WebSearchBody,
    },
};
use crate::{
    bindings::{AudioOutput, Error, ErrorKind, Label, Request, Sampling, StreamOptions},
    json::{self, Fault, Pairs, Wrong},
};

/// A request that came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// What to ask for.
    pub request: Request,
    /// Whether the answer is to come as events.
    pub stream: bool,
}

/// Reads the body of a request.
///
/// # Errors
/// `bad-request`, naming the parameter at fault.
pub fn parse(body: &[u8]) -> Result<Incoming, Error> {
    let body: Body<'_> = json::read(text(body)?).map_err(|error| explain(&error))?;
    body.into_incoming()
}

/// A body as text.
pub(super) fn text(body: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(body)
        .map_err(|error| Error::new(ErrorKind::BadRequest, format!("the request is not UTF-8: {error}")))
}

/// What is wrong with a body, as an error.
pub(super) fn explain(wrong: &Wrong) -> Error {
    match wrong.fault() {
        Fault::Unknown(key) => bad(key, format!("`{key}` is not a parameter of this API")),
        Fault::Missing(key) => bad(key, format!("`{key}` is missing")),
        Fault::Shape(place, _) if !place.is_empty() => bad(place, format!("the request cannot be read: {wrong}")),
        Fault::Shape(..) | Fault::Json(_) => {
            Error::new(ErrorKind::BadRequest, format!("the request cannot be read: {wrong}"))
        }
    }
}

pub(super) fn bad(param: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadRequest, message).about(param)
}

json::reader! {
    [strict]
    /// OpenAI's parameters, and the few that its followers share.
    struct Body<'a> {
        [needed] "model" => model: String,
        [needed] "messages" => messages: Vec<Message<'a>>,
        "temperature" => temperature: Option<f64>,
        "top_p" => top_p: Option<f64>,
        "top_k" => top_k: Option<u32>,
        "presence_penalty" => presence_penalty: Option<f64>,
        "frequency_penalty" => frequency_penalty: Option<f64>,
        "logit_bias" => logit_bias: Option<Pairs<f64>>,
        "seed" => seed: Option<i64>,
        "stop" => stop: Option<OneOrMore>,
        "max_tokens" => max_tokens: Option<u64>,
        "max_completion_tokens" => max_completion_tokens: Option<u64>,
        "n" => n: Option<u32>,
        "response_format" => response_format: Option<FormatBody<'a>>,
        "tools" => tools: Option<Vec<ToolBody<'a>>>,
        "tool_choice" => tool_choice: Option<&'a RawValue>,
        "parallel_tool_calls" => parallel_tool_calls: Option<bool>,
        "reasoning_effort" => reasoning_effort: Option<String>,
        /// OpenRouter's form of the same.
        "reasoning" => reasoning: Option<ReasoningBody>,
        /// Anthropic's form of the same.
        "thinking" => thinking: Option<ThinkingBody>,
        "verbosity" => verbosity: Option<String>,
        "logprobs" => logprobs: Option<bool>,
        "top_logprobs" => top_logprobs: Option<u32>,
        "stream" => stream: Option<bool>,
        "stream_options" => stream_options: Option<StreamOptionsBody>,
        "modalities" => modalities: Option<Vec<String>>,
        "audio" => audio: Option<AudioBody>,
        "prediction" => prediction: Option<PredictionBody<'a>>,
        "web_search_options" => web_search_options: Option<WebSearchBody>,
        "service_tier" => service_tier: Option<String>,
        "user" => user: Option<String>,
        "safety_identifier" => safety_identifier: Option<String>,
        "prompt_cache_key" => prompt_cache_key: Option<String>,
        "prompt_cache_retention" => prompt_cache_retention: Option<String>,
        "store" => store: Option<bool>,
        "metadata" => metadata: Option<Pairs<String>>,
        /// The names of LiteLLM's clients for leaving out what a provider cannot take, and for what this API does not know.
        "drop_params" | "drop_unsupported" => drop_params: Option<bool>,
        "extra_body" => extra_body: Option<&'a RawValue>,
    }
}

impl Body<'_> {
    /// The two spellings of one limit, and the little that can be wrong with a request without knowing who answers it.
    fn limit(&self) -> Result<Option<u64>, Error> {
        if self.messages.is_empty() {
            return Err(bad("messages", "`messages` is empty"));
        }
        if self.n == Some(0) {
            return Err(bad("n", "`n` has to be at least 1"));
        }
        match (self.max_tokens, self.max_completion_tokens) {
            (Some(one), Some(other)) if one != other => {
                Err(bad("max_tokens", "`max_tokens` and `max_completion_tokens` differ; give one of them"))
            }
            (one, other) => Ok(one.or(other)),
        }
    }

    fn into_incoming(self) -> Result<Incoming, Error> {
        let max_tokens = self.limit()?;
        let mut messages = Vec::with_capacity(self.messages.len());
        for (place, message) in self.messages.into_iter().enumerate() {
            messages.push(conversation::message(message, place)?);
        }
        let request = Request {
            messages,
            sampling: Sampling {
                temperature: self.temperature,
                top_p: self.top_p,
                top_k: self.top_k,
                presence_penalty: self.presence_penalty,
                frequency_penalty: self.frequency_penalty,
                logit_bias: parameters::biases(self.logit_bias)?,
                seed: self.seed,
                stop: self.stop.map(|stop| stop.0).unwrap_or_default(),
            },
            max_tokens,
            n: self.n,
            response_format: self.response_format.map(parameters::format).transpose()?,
            tools: self.tools.into_iter().flatten().map(parameters::tool).collect::<Result<_, _>>()?,
            tool_choice: self.tool_choice.map(parameters::choice).transpose()?,
            parallel_tool_calls: self.parallel_tool_calls,
            reasoning: parameters::reasoning(self.reasoning_effort, self.reasoning, self.thinking)?,
            verbosity: self.verbosity.map(|word| parameters::verbosity(&word)).transpose()?,
            logprobs: self.logprobs,
            top_logprobs: self.top_logprobs,
            stream_options: self.stream_options.map(|options| StreamOptions {
                include_usage: options.include_usage.unwrap_or_default(),
                include_obfuscation: options.include_obfuscation,
            }),
            modalities: parameters::modalities(self.modalities)?,
            audio: self.audio.map(|audio| AudioOutput { voice: audio.voice, format: audio.format }),
            prediction: match self.prediction {
                Some(prediction) => conversation::texts(prediction.content, "prediction")?,
                None => Vec::new(),
            },
            web_search: self.web_search_options.map(parameters::web_search),
            service_tier: self.service_tier,
            user: self.user,
            safety_identifier: self.safety_identifier,
            prompt_cache_key: self.prompt_cache_key,
            prompt_cache_retention: self.prompt_cache_retention,
            store: self.store,
            metadata: self
                .metadata
                .into_iter()
                .flat_map(|pairs| pairs.0)
                .map(|(key, value)| Label { key, value })
                .collect(),
            extra_json: self.extra_body.map(|extra| extra.get().to_owned()).filter(|extra| extra != "null"),
            drop_unsupported: self.drop_params.unwrap_or_default(),
            ..Request::new(self.model, Vec::new())
        };
        Ok(Incoming { request, stream: self.stream.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Error {
        parse(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_wherever_it_is() {
        for (body, name) in [
            (r#"{"model": "m", "messages": [{"role": "user", "content": "x"}], "temprature": 1}"#, "temprature"),
            (r#"{"model": "m", "messages": [{"role": "user", "content": "x", "nam": "y"}]}"#, "nam"),
            (r#"{"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "txt": "x"}]}]}"#, "txt"),
            (r#"{"model": "m", "messages": [], "base_url": "http://x"}"#, "base_url"),
            (r#"{"messages": []}"#, "model"),
        ] {
            let error = refused(body);
            assert_eq!(error.kind, ErrorKind::BadRequest, "{body}");
            assert_eq!(error.param.as_deref(), Some(name), "{body}: {}", error.message);
            assert!(error.message.contains(name), "{}", error.message);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_parameter() {
        let with =
            |rest: &str| format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": "x"}}], {rest}}}"#);
        for (rest, param) in [
            (r#""n": 0"#, "n"),
            (r#""max_tokens": 1, "max_completion_tokens": 2"#, "max_tokens"),
            (r#""tool_choice": "sometimes""#, "tool_choice"),
            (r#""tool_choice": {"type": "function"}"#, "tool_choice"),
            (r#""tools": [{"type": "function"}]"#, "tools"),
            (r#""tools": [{"type": "search"}]"#, "tools.type"),
            (r#""response_format": {"type": "xml"}"#, "response_format.type"),
            (r#""response_format": {"type": "json_schema"}"#, "response_format"),
            (r#""reasoning_effort": "huge""#, "reasoning_effort"),
            (r#""logit_bias": {"hello": 1}"#, "logit_bias"),
            (r#""modalities": ["smell"]"#, "modalities"),
        ] {
            let error = refused(&with(rest));
            assert_eq!(error.param.as_deref(), Some(param), "{rest}: {}", error.message);
        }
    }

    #[test]
    fn a_message_that_makes_no_sense_is_refused_with_its_place() {
        let with =
            |message: &str| format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": "x"}}, {message}]}}"#);
        for message in [
            r#"{"role": "tool", "content": "x"}"#,
            r#"{"role": "user"}"#,
            r#"{"role": "user", "content": "x", "tool_calls": []}"#,
            r#"{"role": "assistant", "function_call": {"name": "x", "arguments": ""}}"#,
            r#"{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}"#,
            r#"{"role": "user", "content": [{"type": "image_url"}]}"#,
        ] {
            let error = refused(&with(message));
            assert_eq!(error.param.as_deref(), Some("messages[1]"), "{message}: {}", error.message);
        }
        assert_eq!(refused(&with(r#"{"role": "robot", "content": "x"}"#)).param.as_deref(), Some("role"));
    }

    #[test]
    fn null_is_the_same_as_absent() {
        let nulls = r#"{"model": "m", "messages": [{"role": "assistant", "content": null, "tool_calls": null,
            "function_call": null, "audio": null, "refusal": null}], "tools": null, "tool_choice": null, "stream": null,
            "stop": null, "n": null, "response_format": null, "stream_options": null, "metadata": null}"#;
        let absent = r#"{"model": "m", "messages": [{"role": "assistant"}]}"#;
        assert_eq!(parse(nulls.as_bytes()).unwrap(), parse(absent.as_bytes()).unwrap());
    }

    #[test]
    fn broken_json_is_a_bad_request() {
        for body in ["", "{", "[]", "\u{0}", "{\"model\": 1}"] {
            assert_eq!(refused(body).kind, ErrorKind::BadRequest, "{body:?}");
        }
        assert_eq!(parse(b"\xff").unwrap_err().kind, ErrorKind::BadRequest);
    }
}
