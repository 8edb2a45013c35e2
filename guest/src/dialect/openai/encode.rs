//! A request -> OpenAI's JSON, written straight into the body.
//!
//! Before: a target and a request. After: `component` sends the body. Invariant: a parameter is written, or refused by
//! name, or left out because `drop-unsupported` says so; it is never left out silently.

use serde::Serialize;

use super::messages;
use crate::{
    bindings::{Effort, Error, JsonSchema, Modality, Request, ResponseFormat, Verbosity, WebSearch},
    dialect::{
        Exchange,
        carry::{escaped, parsed},
        content::weight,
        parameters::Parameters,
    },
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
    let mut encoder = Encoder { given: Parameters::new(target, request), streamed };
    let mut body = Vec::with_capacity(weight(request));
    json::object(&mut body, |body| encoder.body(body)).map_err(|error| error.from(target.provider))?;
    let path = target.path.unwrap_or("/chat/completions").replace("{model}", &escaped(target.model));
    let version = target.api_version.as_deref().map(|version| format!("?api-version={}", escaped(version)));
    let url = encoder.given.below(&format!("{path}{}", version.unwrap_or_default()))?;
    encoder.given.exchange(url, &[], body)
}

/// One request on its way into a body.
pub(super) struct Encoder<'e> {
    pub(super) given: Parameters<'e>,
    streamed: bool,
}

impl<'e> Encoder<'e> {
    fn body(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        self.given.put(body, "model", self.given.target.model);
        messages::write(self, body.key("messages"), &self.given.request.messages)?;
        self.given.note("messages");
        self.sampling(body)?;
        self.output(body)?;
        self.reasoning(body)?;
        self.tools(body)?;
        self.account(body)?;
        self.stream(body)?;
        self.given.extra(body, OWNED)
    }

    fn sampling(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let sampling = &self.given.request.sampling;
        self.some(body, "temperature", sampling.temperature.as_ref())?;
        self.some(body, "top_p", sampling.top_p.as_ref())?;
        self.some(body, "top_k", sampling.top_k.as_ref())?;
        self.some(body, "presence_penalty", sampling.presence_penalty.as_ref())?;
        self.some(body, "frequency_penalty", sampling.frequency_penalty.as_ref())?;
        if self.given.carries("logit_bias", !sampling.logit_bias.is_empty())? {
            self.given.note("logit_bias");
            body.object("logit_bias", |bias| {
                for token in &sampling.logit_bias {
                    bias.set(&token.token.to_string(), &token.bias);
                }
                Ok::<_, Error>(())
            })?;
        }
        if let Some(seed) =
            sampling.seed.filter(|_| self.given.target.takes("seed") || self.given.target.quirks.seed.is_some())
        {
            self.given.put(body, self.given.target.quirks.seed.as_deref().unwrap_or("seed"), &seed);
        } else {
            self.given.carries("seed", sampling.seed.is_some())?;
        }
        self.some(body, "stop", Some(&sampling.stop).filter(|stop| !stop.is_empty()))
    }

    fn output(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.given.request;
        if let Some(limit) = &request.max_tokens {
            let usual = if self.given.target.reasons() { "max_completion_tokens" } else { "max_tokens" };
            self.given.put(body, self.given.target.quirks.max_tokens.as_deref().unwrap_or(usual), limit);
        }
        // One choice is everyone's default, and some providers answer even `n: 1` with an error.
        self.some(body, "n", request.n.as_ref().filter(|n| **n != 1))?;
        match &request.response_format {
            None => {}
            Some(ResponseFormat::Text) => self.format(body, "text"),
            Some(ResponseFormat::JsonObject) => self.format(body, "json_object"),
            Some(ResponseFormat::JsonSchema(schema)) if self.given.carries("json_schema", true)? => {
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
            && self.given.carries("audio", true)?
        {
            self.given.note("audio");
            body.object("audio", |to| {
                to.set("voice", &audio.voice);
                to.set("format", &audio.format);
                Ok::<_, Error>(())
            })?;
        }
        if self.given.carries("prediction", !request.prediction.is_empty())? {
            self.given.note("prediction");
            body.object("prediction", |to| {
                to.set("type", "content");
                messages::texts(self, to.key("content"), &request.prediction)
            })?;
        }
        Ok(())
    }

    fn format(&mut self, body: &mut Object<'_>, word: &str) {
        self.given.note("response_format");
        let written = body.object("response_format", |format| {
            format.set("type", word);
            Ok::<_, std::convert::Infallible>(())
        });
        let Ok(()) = written;
    }

    fn schema(&mut self, body: &mut Object<'_>, schema: &JsonSchema) -> Result<(), Error> {
        let json = parsed(&schema.schema_json, "response_format")?;
        self.given.note("response_format");
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
        let Some(reasoning) = &self.given.request.reasoning else { return Ok(()) };
        let effort = reasoning.effort.map(effort_word);
        match self.given.target.quirks.reasoning.unwrap_or(ReasoningStyle::Effort) {
            ReasoningStyle::Effort => {
                self.some(body, "reasoning_effort", effort)?;
                self.given.cannot("reasoning_budget", reasoning.budget.is_some())
            }
            ReasoningStyle::Thinking => {
                let off = reasoning.effort == Some(Effort::None);
                self.given.note("thinking");
                body.object("thinking", |to| {
                    to.set("type", if off { "disabled" } else { "enabled" });
                    Ok::<_, Error>(())
                })?;
                self.some(body, "reasoning_effort", effort.filter(|_| !off))?;
                self.given.cannot("reasoning_budget", reasoning.budget.is_some())
            }
            ReasoningStyle::Object => {
                self.given.note("reasoning");
                body.object("reasoning", |to| {
                    to.some("effort", effort);
                    to.some("max_tokens", reasoning.budget.as_ref());
                    Ok(())
                })
            }
        }
    }

    fn account(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.given.request;
        self.some(body, "service_tier", request.service_tier.as_ref())?;
        self.some(body, "user", request.user.as_ref())?;
        self.some(body, "safety_identifier", request.safety_identifier.as_ref())?;
        self.some(body, "prompt_cache_key", request.prompt_cache_key.as_ref())?;
        self.some(body, "prompt_cache_retention", request.prompt_cache_retention.as_ref())?;
        self.some(body, "store", request.store.as_ref())?;
        if self.given.carries("metadata", !request.metadata.is_empty())? {
            self.given.note("metadata");
            body.object("metadata", |to| {
                for label in &request.metadata {
                    to.set(&label.key, &label.value);
                }
                Ok::<_, Error>(())
            })?;
        }
        if let Some(search) = &request.web_search
            && self.given.carries("web_search_options", true)?
        {
            self.given.note("web_search_options");
            body.object("web_search_options", |to| web_search(to, search))?;
        }
        Ok(())
    }

    fn stream(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        if !self.streamed {
            return Ok(());
        }
        self.given.put(body, "stream", &true);
        let Some(options) = &self.given.request.stream_options else { return Ok(()) };
        // Where the option is unknown the usage comes without being asked for.
        if self.given.target.quirks.stream_options == Some(false) {
            return Ok(());
        }
        self.given.note("stream_options");
        body.object("stream_options", |to| {
            to.set("include_usage", &options.include_usage);
            to.some("include_obfuscation", options.include_obfuscation.as_ref());
            Ok(())
        })
    }

    /// Writes a parameter under its own name, if it is there.
    pub(super) fn some(
        &mut self,
        body: &mut Object<'_>,
        key: &'e str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), Error> {
        self.given.some(body, key, key, value)
    }
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
