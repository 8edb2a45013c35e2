//! A request -> Anthropic's JSON, written straight into the body.
//!
//! Before: a target and a request. After: `component` sends the body. Invariant: a parameter is written, or refused by
//! name, or left out because `drop-unsupported` says so; the token limit is always there, and above the thinking budget.

use super::messages;
use crate::{
    bindings::{Effort, Error, JsonSchema, Modality, Reasoning, Request, ResponseFormat},
    dialect::{
        Exchange,
        carry::{bad, parsed},
        content::weight,
        parameters::Parameters,
    },
    json::{self, Any, Object, Pairs},
    provider::Target,
};

/// The keys that only this dialect writes: `extra-json` may not name one.
const OWNED: &[&str] = &[
    "model",
    "messages",
    "system",
    "max_tokens",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "thinking",
    "output_config",
    "output_format",
    "tools",
    "tool_choice",
    "metadata",
    "service_tier",
];

/// The token limit where nobody gave one, since Anthropic demands one: no model that is still served has a lower one of
/// its own. <https://platform.claude.com/docs/en/about-claude/models/overview> (2026-11)
const LIMIT: u64 = 32_000;

/// The least that a thinking budget may be.
/// <https://platform.claude.com/docs/en/build-with-claude/extended-thinking> (2026-11)
const LEAST_BUDGET: u64 = 1024;

/// What is left for the answer where the budget alone would reach [`LIMIT`].
const ANSWER: u64 = 4096;

pub(super) fn encode(target: &Target<'_>, request: &Request, streamed: bool) -> Result<Exchange, Error> {
    let mut encoder = Encoder { given: Parameters::new(target, request), beta: false };
    let mut body = Vec::with_capacity(weight(request));
    json::object(&mut body, |body| encoder.body(body, streamed)).map_err(|error| error.from(target.provider))?;
    let mut own = vec![("anthropic-version", "2023-06-01")];
    // https://platform.claude.com/docs/en/build-with-claude/files (2026-11)
    if encoder.beta {
        own.push(("anthropic-beta", "files-api-2025-04-14"));
    }
    let url = encoder.given.below_version("/v1", "/messages")?;
    encoder.given.exchange(url, &own, body)
}

/// One request on its way into a body.
pub(super) struct Encoder<'e> {
    pub(super) given: Parameters<'e>,
    /// A stored file is named, which the API takes as a beta feature only.
    pub(super) beta: bool,
}

/// How the model is told to think.
enum Thinking {
    Off,
    /// As much as this many tokens.
    Budget(u64),
    /// As much as the model finds right.
    Adaptive,
}

impl Encoder<'_> {
    fn body(&mut self, body: &mut Object<'_>, streamed: bool) -> Result<(), Error> {
        let model = self.given.target.model;
        self.given.put(body, "model", model);
        self.limits(body)?;
        messages::write(self, body)?;
        self.sampling(body)?;
        self.output_config(body)?;
        self.tools(body)?;
        self.account(body)?;
        self.unknown()?;
        if streamed {
            self.given.put(body, "stream", &true);
        }
        self.given.extra(body, OWNED)
    }

    /// The token limit and the thinking budget, which has to stay below it.
    fn limits(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let given = self.given.request.max_tokens;
        let from_row = self.given.target.extra.and_then(|extra| extra.get("max_tokens")?.as_u64());
        let known = given.or(from_row);
        let mut limit = known.unwrap_or(LIMIT);
        let reasoning = self.given.request.reasoning.as_ref();
        let mut thinking = reasoning.and_then(|reasoning| self.thinking(reasoning));
        if let Some(Thinking::Budget(budget)) = &mut thinking
            && *budget >= limit
        {
            let asked_for = reasoning.is_some_and(|reasoning| reasoning.budget.is_some());
            match known {
                None => limit = budget.saturating_add(ANSWER),
                Some(_) if asked_for => {
                    let message = format!("`max_tokens` is {limit}; it has to be above the thinking budget, {budget}");
                    return Err(bad(message).about("max_tokens"));
                }
                // The budget stands for a word, so it can shrink; where it cannot, the answer still gets what was asked for.
                Some(_) if limit > LEAST_BUDGET => *budget = limit - 1,
                Some(_) => {
                    *budget = LEAST_BUDGET;
                    limit += LEAST_BUDGET;
                }
            }
        }
        self.given.put(body, "max_tokens", &limit);
        let Some(thinking) = thinking else { return Ok(()) };
        self.given.note("thinking");
        body.object("thinking", |to| {
            match thinking {
                Thinking::Off => to.set("type", "disabled"),
                Thinking::Budget(budget) => {
                    to.set("type", "enabled");
                    to.set("budget_tokens", &budget);
                }
                Thinking::Adaptive => {
                    to.set("type", "adaptive");
                    // Newer models leave the thoughts out unless they are asked for.
                    // https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking (2026-11)
                    to.set("display", "summarized");
                }
            }
            Ok(())
        })
    }

    fn thinking(&self, reasoning: &Reasoning) -> Option<Thinking> {
        match (reasoning.budget, reasoning.effort) {
            (_, Some(Effort::None)) => Some(Thinking::Off),
            (Some(budget), _) => Some(Thinking::Budget(budget)),
            (None, Some(effort)) if self.by_budget() => Some(Thinking::Budget(budget(effort))),
            (None, Some(_)) => Some(Thinking::Adaptive),
            (None, None) => None,
        }
    }

    /// Whether the model's thinking is asked for with a budget of tokens rather than with a word.
    fn by_budget(&self) -> bool {
        let target = self.given.target;
        target.quirks.budget_models.iter().any(|prefix| target.model.starts_with(prefix.as_str()))
    }

    fn sampling(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let sampling = &self.given.request.sampling;
        let stop = Some(&sampling.stop).filter(|stop| !stop.is_empty());
        self.given.some(body, "temperature", "temperature", sampling.temperature.as_ref())?;
        self.given.some(body, "top_p", "top_p", sampling.top_p.as_ref())?;
        self.given.some(body, "top_k", "top_k", sampling.top_k.as_ref())?;
        self.given.some(body, "stop", "stop_sequences", stop)
    }

    /// The schema of the answer, and the effort where it is a word.
    /// <https://platform.claude.com/docs/en/build-with-claude/structured-outputs> (2026-11)
    fn output_config(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.given.request;
        let schema = match &request.response_format {
            Some(ResponseFormat::JsonSchema(schema)) if self.given.carries("json_schema", true)? => Some(schema),
            // Any JSON at all cannot be asked for: every object needs its keys listed.
            Some(ResponseFormat::JsonObject) => self.given.cannot("json_object", true).map(|()| None)?,
            None | Some(ResponseFormat::Text | ResponseFormat::JsonSchema(_)) => None,
        };
        let effort = request.reasoning.as_ref().and_then(|reasoning| reasoning.effort).and_then(effort_word);
        let effort = effort.filter(|_| !self.by_budget());
        if schema.is_none() && effort.is_none() {
            return Ok(());
        }
        self.given.note("output_config");
        body.object("output_config", |to| {
            to.some("effort", effort);
            let Some(schema) = schema else { return Ok(()) };
            to.object("format", |to| {
                to.set("type", "json_schema");
                write_schema(to, schema)
            })
        })
    }

    fn account(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.given.request;
        // https://platform.claude.com/docs/en/api/service-tiers (2026-11)
        match request.service_tier.as_deref() {
            None => {}
            Some("auto" | "priority") => self.given.put(body, "service_tier", "auto"),
            Some("default" | "standard" | "standard_only") => self.given.put(body, "service_tier", "standard_only"),
            Some(_) => self.given.cannot("service_tier", true)?,
        }
        // There is one place for a name of the end user.
        let label = request.metadata.iter().find(|label| label.key == "user_id").map(|label| &label.value);
        let names = [request.safety_identifier.as_ref(), label, request.user.as_ref()];
        let user = names.into_iter().flatten().next();
        self.given.cannot("metadata", request.metadata.iter().any(|label| label.key != "user_id"))?;
        self.given.cannot("metadata.user_id", label.is_some() && label != user)?;
        self.given.cannot("user", request.user.is_some() && request.user.as_ref() != user)?;
        let Some(user) = user else { return Ok(()) };
        self.given.note("metadata");
        body.object("metadata", |to| {
            to.set("user_id", user);
            Ok(())
        })
    }

    /// Refuses what Anthropic has no word for. What asks for no more than what happens anyway may pass.
    fn unknown(&self) -> Result<(), Error> {
        let (request, given) = (self.given.request, &self.given);
        let sampling = &request.sampling;
        let some = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
        given.cannot("presence_penalty", some(sampling.presence_penalty))?;
        given.cannot("frequency_penalty", some(sampling.frequency_penalty))?;
        given.cannot("logit_bias", !sampling.logit_bias.is_empty())?;
        given.cannot("seed", sampling.seed.is_some())?;
        given.cannot("n", request.n.is_some_and(|n| n != 1))?;
        given.cannot("logprobs", request.logprobs == Some(true))?;
        given.cannot("top_logprobs", request.top_logprobs.is_some_and(|top| top != 0))?;
        given.cannot("verbosity", request.verbosity.is_some())?;
        given.cannot("modalities", request.modalities.iter().any(|modality| *modality != Modality::Text))?;
        given.cannot("audio", request.audio.is_some())?;
        given.cannot("prediction", !request.prediction.is_empty())?;
        given.cannot("prompt_cache_key", request.prompt_cache_key.is_some())?;
        given.cannot("prompt_cache_retention", request.prompt_cache_retention.is_some())?;
        given.cannot("store", request.store == Some(true))
    }
}

/// The schema, with what it is for where it does not say so itself: there is no other place for that.
fn write_schema(to: &mut Object<'_>, schema: &JsonSchema) -> Result<(), Error> {
    let json = parsed(&schema.schema_json, "response_format")?;
    let keys: Option<Pairs<Any<'_>>> = json::read(json).ok();
    match (&schema.description, keys) {
        (Some(description), Some(Pairs(keys))) if !keys.iter().any(|(key, _)| key == "description") => {
            to.object("schema", |to| {
                to.set("description", description);
                for (key, value) in keys {
                    to.raw(&key, value.get());
                }
                Ok(())
            })
        }
        _ => {
            to.raw("schema", json);
            Ok(())
        }
    }
}

/// A word as a budget: the figures that LiteLLM's users have.
/// <https://docs.litellm.ai/docs/providers/anthropic#usage---thinking--reasoning_content> (2026-11)
fn budget(effort: Effort) -> u64 {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => LEAST_BUDGET,
        Effort::Medium => 2048,
        Effort::High => 4096,
        Effort::Xhigh => 8192,
        Effort::Max => 16_384,
    }
}

/// Anthropic's word. <https://platform.claude.com/docs/en/build-with-claude/effort> (2026-11)
fn effort_word(effort: Effort) -> Option<&'static str> {
    match effort {
        Effort::None => None,
        Effort::Minimal | Effort::Low => Some("low"),
        Effort::Medium => Some("medium"),
        Effort::High => Some("high"),
        Effort::Xhigh => Some("xhigh"),
        Effort::Max => Some("max"),
    }
}
