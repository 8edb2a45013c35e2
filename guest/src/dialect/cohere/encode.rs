//! A request -> Cohere's JSON, written straight into the body.
//!
//! Before: a target and a request. After: `component` sends the body. Invariant: a parameter is written, or refused by
//! name, or left out because `drop-unsupported` says so; it is never left out silently.

use super::messages;
use crate::{
    bindings::{Effort, Error, FunctionTool, Modality, Request, ResponseFormat, Tool, ToolChoice},
    dialect::{
        Exchange,
        carry::{bad, parsed, unsupported},
        content::weight,
        parameters::Parameters,
    },
    json::{self, Object},
    provider::Target,
};

/// The keys that only this dialect writes: `extra-json` may not name one.
const OWNED: &[&str] = &[
    "model",
    "messages",
    "stream",
    "temperature",
    "p",
    "k",
    "seed",
    "stop_sequences",
    "max_tokens",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "response_format",
    "thinking",
    "tools",
    "strict_tools",
    "tool_choice",
];

pub(super) fn encode(target: &Target<'_>, request: &Request, streamed: bool) -> Result<Exchange, Error> {
    let mut encoder = Encoder { given: Parameters::new(target, request) };
    let mut body = Vec::with_capacity(weight(request));
    json::object(&mut body, |body| encoder.body(body, streamed)).map_err(|error| error.from(target.provider))?;
    let url = encoder.given.below_version("/v2", "/chat")?;
    encoder.given.exchange(url, &[], body)
}

/// One request on its way into a body.
pub(super) struct Encoder<'e> {
    pub(super) given: Parameters<'e>,
}

impl Encoder<'_> {
    fn body(&mut self, body: &mut Object<'_>, streamed: bool) -> Result<(), Error> {
        let model = self.given.target.model;
        self.given.put(body, "model", model);
        self.given.note("messages");
        messages::write(self, body.key("messages"))?;
        self.sampling(body)?;
        self.output(body)?;
        self.thinking(body)?;
        self.tools(body)?;
        self.unknown()?;
        self.given.put(body, "stream", &streamed);
        self.given.extra(body, OWNED)
    }

    fn sampling(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.given.request;
        let sampling = &request.sampling;
        let stop = Some(&sampling.stop).filter(|stop| !stop.is_empty());
        let given = &mut self.given;
        given.some(body, "temperature", "temperature", sampling.temperature.as_ref())?;
        given.some(body, "top_p", "p", sampling.top_p.as_ref())?;
        given.some(body, "top_k", "k", sampling.top_k.as_ref())?;
        given.some(body, "seed", "seed", sampling.seed.as_ref())?;
        given.some(body, "presence_penalty", "presence_penalty", sampling.presence_penalty.as_ref())?;
        given.some(body, "frequency_penalty", "frequency_penalty", sampling.frequency_penalty.as_ref())?;
        given.some(body, "stop", "stop_sequences", stop)?;
        given.some(body, "max_tokens", "max_tokens", request.max_tokens.as_ref())?;
        given.some(body, "logprobs", "logprobs", request.logprobs.as_ref())
    }

    /// <https://docs.cohere.com/docs/structured-outputs> (2026-11)
    fn output(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let (kind, schema) = match &self.given.request.response_format {
            None => return Ok(()),
            Some(ResponseFormat::Text) => ("text", None),
            Some(ResponseFormat::JsonObject) => ("json_object", None),
            Some(ResponseFormat::JsonSchema(schema)) => {
                ("json_object", Some(parsed(&schema.schema_json, "response_format")?))
            }
        };
        self.given.note("response_format");
        body.object("response_format", |to| {
            to.set("type", kind);
            if let Some(schema) = schema {
                to.raw("json_schema", schema);
            }
            Ok(())
        })
    }

    /// Thinking is on or off, and may have a budget. <https://docs.cohere.com/docs/reasoning> (2026-11)
    fn thinking(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let Some(reasoning) = &self.given.request.reasoning else { return Ok(()) };
        let budget = reasoning.budget.or(match reasoning.effort {
            Some(Effort::Minimal | Effort::Low) => Some(1024),
            Some(Effort::Medium) => Some(4096),
            // Much thinking is what happens without a budget.
            Some(Effort::High | Effort::Xhigh | Effort::Max | Effort::None) | None => None,
        });
        let off = reasoning.effort == Some(Effort::None);
        self.given.note("thinking");
        body.object("thinking", |to| {
            to.set("type", if off { "disabled" } else { "enabled" });
            to.some("token_budget", budget.filter(|_| !off).as_ref());
            Ok(())
        })
    }

    /// <https://docs.cohere.com/docs/tool-use-usage-patterns> (2026-11)
    fn tools(&mut self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.given.request;
        let functions = functions(request)?;
        if functions.is_empty() {
            return Ok(());
        }
        self.given.cannot("parallel_tool_calls", request.parallel_tool_calls == Some(false))?;
        self.given.note("tools");
        let strict = functions.iter().filter(|tool| tool.strict == Some(true)).count();
        let all = functions.len();
        body.list("tools", functions, |out, tool| self.function(out, tool))?;
        // It holds for all tools or for none.
        self.given.cannot("tools.strict", strict > 0 && strict < all)?;
        if strict == all {
            self.given.put(body, "strict_tools", &true);
        }
        let word = match &request.tool_choice {
            None | Some(ToolChoice::Auto) => return Ok(()),
            Some(ToolChoice::None) => "NONE",
            Some(ToolChoice::Required | ToolChoice::Named(_)) => "REQUIRED",
            Some(ToolChoice::Allowed(allowed)) if allowed.required => "REQUIRED",
            Some(ToolChoice::Allowed(_)) => return Ok(()),
        };
        self.given.put(body, "tool_choice", word);
        Ok(())
    }

    fn function(&self, out: &mut Vec<u8>, tool: &FunctionTool) -> Result<(), Error> {
        self.given.cannot("cache_control", tool.cache_control.is_some())?;
        let schema = tool.schema_json.as_deref().map(|schema| parsed(schema, "tools")).transpose()?;
        json::object(out, |to| {
            to.set("type", "function");
            to.object("function", |to| {
                to.set("name", &tool.name);
                to.some("description", tool.description.as_ref());
                // A schema is needed even where the tool takes nothing.
                to.raw("parameters", schema.map_or(r#"{"type":"object","properties":{}}"#, |schema| schema));
                Ok(())
            })
        })
    }

    /// Refuses what Cohere has no word for. What asks for no more than what happens anyway may pass.
    fn unknown(&self) -> Result<(), Error> {
        let (request, given) = (self.given.request, &self.given);
        given.cannot("logit_bias", !request.sampling.logit_bias.is_empty())?;
        given.cannot("n", request.n.is_some_and(|n| n != 1))?;
        given.cannot("top_logprobs", request.top_logprobs.is_some_and(|top| top != 0))?;
        given.cannot("verbosity", request.verbosity.is_some())?;
        given.cannot("modalities", request.modalities.iter().any(|modality| *modality != Modality::Text))?;
        given.cannot("audio", request.audio.is_some())?;
        given.cannot("prediction", !request.prediction.is_empty())?;
        given.cannot("web_search_options", request.web_search.is_some())?;
        given.cannot("service_tier", request.service_tier.as_deref().is_some_and(|tier| tier != "auto"))?;
        given.cannot("user", request.user.is_some())?;
        given.cannot("safety_identifier", request.safety_identifier.is_some())?;
        given.cannot("prompt_cache_key", request.prompt_cache_key.is_some())?;
        given.cannot("prompt_cache_retention", request.prompt_cache_retention.is_some())?;
        given.cannot("store", request.store == Some(true))?;
        given.cannot("metadata", !request.metadata.is_empty())
    }
}

/// The functions that the model may call. Where the choice allows only some, or one, it is shown only those.
fn functions(request: &Request) -> Result<Vec<&FunctionTool>, Error> {
    let allowed = |name: &String| match &request.tool_choice {
        Some(ToolChoice::Named(named)) => named == name,
        Some(ToolChoice::Allowed(allowed)) => allowed.names.contains(name),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required) | None => true,
    };
    let mut functions = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        match tool {
            Tool::Function(tool) if allowed(&tool.name) => functions.push(tool),
            Tool::Function(_) => {}
            Tool::Custom(_) => return Err(unsupported("custom_tools")),
        }
    }
    if functions.is_empty() && !request.tools.is_empty() {
        return Err(bad("`tool_choice` allows none of the `tools`").about("tool_choice"));
    }
    Ok(functions)
}
