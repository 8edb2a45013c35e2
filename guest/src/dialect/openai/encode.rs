//! A request -> OpenAI's JSON, written straight into the body.
//!
//! Before: a target and a request. After: `component` sends the body. Invariant: a parameter is written, or refused by
//! name, or left out because `drop-unsupported` says so; it is never left out silently.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::messages;
use crate::{
    bindings::{Effort, Error, ErrorKind, JsonSchema, Modality, Request, ResponseFormat, Verbosity, WebSearch},
    dialect::{Exchange, Url, exchange::FORBIDDEN},
    json::{self, Object},
    provider::{ReasoningStyle, Target},
};

/// The keys that only this dialect writes: `extra-json` may not name one.
const OWNED: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "n",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "seed",
    "random_seed",
    "user",
    "safety_identifier",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
    "service_tier",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "prompt_cache_key",
    "prompt_cache_retention",
    "store",
    "metadata",
];

pub(super) fn encode(target: &Target<'_>, request: &Request, streamed: bool) -> Result<Exchange, Error> {
    let mut encoder = Encoder { target, request, streamed, written: Vec::with_capacity(16) };
    let mut body = Vec::with_capacity(messages::weight(request));
    json::object(&mut body, |body| encoder.body(body)).map_err(|error| error.from(target.provider))?;
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(Exchange::key_header(target)?);
    for header in &request.extra_headers {
        let name = header.name.to_ascii_lowercase();
        // A placeholder in a header of the caller's own would have the host put a key where no dialect wants one.
        if FORBIDDEN.contains(&name.as_str()) || header.value.contains("seaway-credential:") {
            let message = format!("the header `{name}` cannot be set by a request");
            return Err(Error::new(ErrorKind::BadRequest, message).about("extra_headers"));
        }
        headers.push((name, header.value.clone()));
    }
    Ok(Exchange { url: url(target, request)?, headers, body })
}

fn url(target: &Target<'_>, request: &Request) -> Result<Url, Error> {
    let base = request.base_url.as_deref().unwrap_or(&target.base_url);
    if base.is_empty() {
        let message = format!("provider `{}` needs a `base_url`", target.provider);
        return Err(Error::new(ErrorKind::Configuration, message).from(target.provider));
    }
    let path = target.path.unwrap_or("/chat/completions").replace("{model}", &escaped(target.model));
    let version = target.api_version.as_deref().map(|version| format!("?api-version={}", escaped(version)));
    Url::parse(&format!("{}{path}{}", base.trim_end_matches('/'), version.unwrap_or_default()))
}

/// Percent-encoded for one segment of a path. <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// One request on its way into a body.
pub(super) struct Encoder<'e> {
    pub(super) target: &'e Target<'e>,
    pub(super) request: &'e Request,
    streamed: bool,
    /// The keys that the body has.
    pub(super) written: Vec<&'e str>,
}

impl<'e> Encoder<'e> {
    fn body(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        self.put(body, "model", self.target.model);
        messages::write(self, body.key("messages"), &self.request.messages)?;
        self.written.push("messages");
        self.sampling(body)?;
        self.output(body)?;
        self.reasoning(body)?;
        self.tools(body)?;
        self.account(body)?;
        self.stream(body)?;
        self.extra(body)
    }

    fn sampling(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let sampling = &self.request.sampling;
        self.some(body, "temperature", sampling.temperature.as_ref())?;
        self.some(body, "top_p", sampling.top_p.as_ref())?;
        self.some(body, "top_k", sampling.top_k.as_ref())?;
        self.some(body, "presence_penalty", sampling.presence_penalty.as_ref())?;
        self.some(body, "frequency_penalty", sampling.frequency_penalty.as_ref())?;
        if self.carries("logit_bias", !sampling.logit_bias.is_empty())? {
            self.written.push("logit_bias");
            body.object("logit_bias", |bias| {
                for token in &sampling.logit_bias {
                    bias.set(&token.token.to_string(), &token.bias);
                }
                Ok::<_, Error>(())
            })?;
        }
        if let Some(seed) = sampling.seed.filter(|_| self.target.takes("seed") || self.target.quirks.seed.is_some()) {
            self.put(body, self.target.quirks.seed.as_deref().unwrap_or("seed"), &seed);
        } else {
            self.carries("seed", sampling.seed.is_some())?;
        }
        self.some(body, "stop", Some(&sampling.stop).filter(|stop| !stop.is_empty()))
    }

    fn output(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.request;
        if let Some(limit) = &request.max_tokens {
            let usual = if self.target.reasons() { "max_completion_tokens" } else { "max_tokens" };
            self.put(body, self.target.quirks.max_tokens.as_deref().unwrap_or(usual), limit);
        }
        // One choice is everyone's default, and some providers answer even `n: 1` with an error.
        self.some(body, "n", request.n.as_ref().filter(|n| **n != 1))?;
        match &request.response_format {
            None => {}
            Some(ResponseFormat::Text) => self.format(body, "text"),
            Some(ResponseFormat::JsonObject) => self.format(body, "json_object"),
            Some(ResponseFormat::JsonSchema(schema)) if self.carries("json_schema", true)? => {
                self.schema(body, schema)?
            }
            Some(ResponseFormat::JsonSchema(_)) => {}
        }
        self.some(body, "logprobs", request.logprobs.as_ref())?;
        self.some(body, "top_logprobs", request.top_logprobs.as_ref())?;
        let verbosity = request.verbosity.map(|verbosity| match verbosity {
            Verbosity::Low => "low",
            Verbosity::Medium => "medium",
            Verbosity::High => "high",
        });
        self.some(body, "verbosity", verbosity)?;
        let modalities: Vec<&str> = request.modalities.iter().map(|modality| modality_word(*modality)).collect();
        self.some(body, "modalities", Some(&modalities).filter(|modalities| !modalities.is_empty()))?;
        if let Some(audio) = &request.audio
            && self.carries("audio", true)?
        {
            self.written.push("audio");
            body.object("audio", |to| {
                to.set("voice", &audio.voice);
                to.set("format", &audio.format);
                Ok::<_, Error>(())
            })?;
        }
        if self.carries("prediction", !request.prediction.is_empty())? {
            self.written.push("prediction");
            body.object("prediction", |to| {
                to.set("type", "content");
                messages::texts(self, to.key("content"), &request.prediction)
            })?;
        }
        Ok(())
    }

    fn format(&mut self, body: &mut Object<'_>, word: &str) {
        self.written.push("response_format");
        let written = body.object("response_format", |format| {
            format.set("type", word);
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written;
    }

    fn schema(&mut self, body: &mut Object<'_>, schema: &JsonSchema) -> Result<(), Error> {
        let json = parsed(&schema.schema_json, "response_format")?;
        self.written.push("response_format");
        body.object("response_format", |format| {
            format.set("type", "json_schema");
            format.object("json_schema", |to| {
                to.set("name", &schema.name);
                to.some("description", schema.description.as_ref());
                to.raw("schema", json);
                to.some("strict", schema.strict.as_ref());
                Ok(())
            })
        })
    }

    fn reasoning(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let Some(reasoning) = &self.request.reasoning else { return Ok(()) };
        let effort = reasoning.effort.map(effort_word);
        match self.target.quirks.reasoning.unwrap_or(ReasoningStyle::Effort) {
            ReasoningStyle::Effort => {
                self.some(body, "reasoning_effort", effort)?;
                self.cannot("reasoning_budget", reasoning.budget.is_some())
            }
            ReasoningStyle::Thinking => {
                let off = reasoning.effort == Some(Effort::None);
                self.written.push("thinking");
                body.object("thinking", |to| {
                    to.set("type", if off { "disabled" } else { "enabled" });
                    Ok::<_, Error>(())
                })?;
                self.some(body, "reasoning_effort", effort.filter(|_| !off))?;
                self.cannot("reasoning_budget", reasoning.budget.is_some())
            }
            ReasoningStyle::Object => {
                self.written.push("reasoning");
                body.object("reasoning", |to| {
                    to.some("effort", effort);
                    to.some("max_tokens", reasoning.budget.as_ref());
                    Ok(())
                })
            }
        }
    }

    fn account(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.request;
        self.some(body, "service_tier", request.service_tier.as_ref())?;
        self.some(body, "user", request.user.as_ref())?;
        self.some(body, "safety_identifier", request.safety_identifier.as_ref())?;
        self.some(body, "prompt_cache_key", request.prompt_cache_key.as_ref())?;
        self.some(body, "prompt_cache_retention", request.prompt_cache_retention.as_ref())?;
        self.some(body, "store", request.store.as_ref())?;
        if self.carries("metadata", !request.metadata.is_empty())? {
            self.written.push("metadata");
            body.object("metadata", |to| {
                for label in &request.metadata {
                    to.set(&label.key, &label.value);
                }
                Ok::<_, Error>(())
            })?;
        }
        if let Some(search) = &request.web_search
            && self.carries("web_search_options", true)?
        {
            self.written.push("web_search_options");
            body.object("web_search_options", |to| web_search(to, search))?;
        }
        Ok(())
    }

    fn stream(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        if !self.streamed {
            return Ok(());
        }
        self.put(body, "stream", &true);
        let Some(options) = &self.request.stream_options else { return Ok(()) };
        // Where the option is unknown the usage comes without being asked for.
        if self.target.quirks.stream_options == Some(false) {
            return Ok(());
        }
        self.written.push("stream_options");
        body.object("stream_options", |to| {
            to.set("include_usage", &options.include_usage);
            to.some("include_obfuscation", options.include_obfuscation.as_ref());
            Ok(())
        })
    }

    /// Merges the request's and the model's own JSON, last: the request's may not name an owned key, and the model's
    /// stands back where the caller has said something.
    fn extra(&self, body: &mut Object<'_>) -> Result<(), Error> {
        type Extra<'j> = std::collections::BTreeMap<Cow<'j, str>, &'j RawValue>;
        let mut named: Vec<String> = Vec::new();
        if let Some(extra) = &self.request.extra_json {
            let extra: Extra<'_> = serde_json::from_str(extra).map_err(|error| {
                Error::new(ErrorKind::BadRequest, format!("`extra-json` is no JSON object: {error}"))
                    .about("extra-json")
            })?;
            for (key, value) in extra {
                if OWNED.contains(&&*key) {
                    let message = format!("`extra-json` may not set `{key}`, which is a parameter of its own");
                    return Err(Error::new(ErrorKind::BadRequest, message).about(key));
                }
                body.raw(&key, value.get());
                named.push(key.into_owned());
            }
        }
        for (key, value) in self.target.extra.into_iter().flatten() {
            if !self.written.contains(&key.as_str()) && !named.contains(key) {
                body.set(key, value);
            }
        }
        Ok(())
    }

    pub(super) fn put(&mut self, body: &mut Object<'_>, key: &'e str, value: &(impl Serialize + ?Sized)) {
        self.written.push(key);
        body.set(key, value);
    }

    pub(super) fn some(
        &mut self,
        body: &mut Object<'_>,
        key: &'e str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), Error> {
        if let Some(value) = value
            && self.carries(key, true)?
        {
            self.put(body, key, value);
        }
        Ok(())
    }

    /// Whether a parameter is to be written: `Err` if it is there, the provider cannot take it, and it may not be dropped.
    pub(super) fn carries(&self, parameter: &str, there: bool) -> Result<bool, Error> {
        if !there || self.target.takes(parameter) {
            return Ok(there);
        }
        self.cannot(parameter, true).map(|()| false)
    }

    /// Refuses a parameter that is there, unless it may be dropped.
    pub(super) fn cannot(&self, parameter: &str, there: bool) -> Result<(), Error> {
        let dropped = self.request.drop_unsupported || self.target.drop_unsupported;
        if there && !dropped { Err(unsupported(parameter)) } else { Ok(()) }
    }
}

/// The error of a parameter that the provider cannot take.
pub(super) fn unsupported(parameter: &str) -> Error {
    let message = format!("the provider cannot take `{parameter}`; leave it out, or set `drop_unsupported`");
    Error::new(ErrorKind::Unsupported, message).about(parameter)
}

/// JSON that goes in as it is, once it has been seen to be JSON.
pub(super) fn parsed<'j>(json: &'j str, parameter: &str) -> Result<&'j str, Error> {
    let raw: &RawValue = serde_json::from_str(json).map_err(|error| {
        Error::new(ErrorKind::BadRequest, format!("a schema in `{parameter}` is no JSON: {error}")).about(parameter)
    })?;
    Ok(raw.get())
}

fn effort_word(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}

fn modality_word(modality: Modality) -> &'static str {
    match modality {
        Modality::Text => "text",
        Modality::Audio => "audio",
        Modality::Image => "image",
    }
}

fn web_search(to: &mut Object<'_>, search: &WebSearch) -> Result<(), Error> {
    to.some("search_context_size", search.context_size.as_ref());
    let Some(location) = &search.location else { return Ok(()) };
    to.object("user_location", |to| {
        to.set("type", "approximate");
        to.object("approximate", |to| {
            to.some("city", location.city.as_ref());
            to.some("country", location.country.as_ref());
            to.some("region", location.region.as_ref());
            to.some("timezone", location.timezone.as_ref());
            Ok(())
        })
    })
}
