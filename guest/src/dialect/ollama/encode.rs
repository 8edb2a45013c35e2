//! A request -> Ollama's JSON, written straight into the body.
//!
//! Before: a target and a request. After: `component` sends the body. Invariant: a parameter is written, or refused by name,
//! or left out because `drop-unsupported` says so; numbers that steer the model go into `options`.

use serde::Serialize;

use super::messages;
use crate::{
    bindings::{Effort, Error, Modality, Request, ResponseFormat, Tool, ToolChoice},
    dialect::{
        Exchange,
        carry::{Carrier, Extra, bad, parsed, unsupported},
        content::weight,
    },
    json::{self, Object},
    provider::Target,
};

/// The keys that only this dialect writes. `options` is shared with the caller.
const OWNED: &[&str] = &["model", "messages", "stream", "tools", "format", "think", "logprobs", "top_logprobs"];

/// The keys of `options` that only this dialect writes.
/// <https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx#valid-parameters-and-values> (2026-11)
const OPTIONS: &[&str] =
    &["num_predict", "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty"];

pub(super) fn encode(target: &Target<'_>, request: &Request, streamed: bool) -> Result<Exchange, Error> {
    let encoder = Encoder { carrier: Carrier { target, request } };
    let mut body = Vec::with_capacity(weight(request));
    json::object(&mut body, |body| encoder.body(body, streamed)).map_err(|error| error.from(target.provider))?;
    let url = encoder.carrier.below(target.path.unwrap_or("/api/chat"))?;
    encoder.carrier.exchange(url, &[], body)
}

/// One request on its way into a body.
pub(super) struct Encoder<'e> {
    pub(super) carrier: Carrier<'e>,
}

impl Encoder<'_> {
    fn body(&self, body: &mut Object<'_>, streamed: bool) -> Result<(), Error> {
        let request = self.carrier.request;
        let mut extra = Extra::of(&self.carrier, OWNED)?;
        let mut written = vec!["model", "messages", "stream"];
        body.set("model", self.carrier.target.model);
        messages::write(self, body.key("messages"), &request.messages)?;
        // Absent means true there.
        body.set("stream", &streamed);
        self.refuse()?;
        let options = extra.within("options", OPTIONS)?;
        self.options(body, &options)?;
        match &request.response_format {
            None | Some(ResponseFormat::Text) => {}
            Some(ResponseFormat::JsonObject) => {
                written.push("format");
                body.set("format", "json");
            }
            // https://docs.ollama.com/capabilities/structured-outputs: the schema itself, which the answer has to fit (2026-11)
            Some(ResponseFormat::JsonSchema(schema)) => {
                written.push("format");
                body.raw("format", parsed(&schema.schema_json, "response_format")?);
            }
        }
        if let Some(logprobs) = &request.logprobs {
            written.push("logprobs");
            body.set("logprobs", logprobs);
        }
        if let Some(top) = &request.top_logprobs {
            written.push("top_logprobs");
            body.set("top_logprobs", top);
        }
        if self.think(body)? {
            written.push("think");
        }
        self.tools(body)?;
        extra.write(body, &written);
        Ok(())
    }

    /// What the API has no place for.
    fn refuse(&self) -> Result<(), Error> {
        let request = self.carrier.request;
        let more = |modality: &Modality| !matches!(modality, Modality::Text);
        self.carrier.cannot_any(&[
            ("n", request.n.is_some_and(|n| n != 1)),
            ("logit_bias", !request.sampling.logit_bias.is_empty()),
            ("parallel_tool_calls", request.parallel_tool_calls == Some(false)),
            ("verbosity", request.verbosity.is_some()),
            ("modalities", request.modalities.iter().any(more)),
            ("audio", request.audio.is_some()),
            ("prediction", !request.prediction.is_empty()),
            ("web_search_options", request.web_search.is_some()),
            ("service_tier", request.service_tier.is_some()),
            ("user", request.user.is_some()),
            ("safety_identifier", request.safety_identifier.is_some()),
            ("prompt_cache_key", request.prompt_cache_key.is_some()),
            ("prompt_cache_retention", request.prompt_cache_retention.is_some()),
            // It stores nothing, so that is what a request may ask for.
            ("store", request.store == Some(true)),
            ("metadata", !request.metadata.is_empty()),
        ])
    }

    fn options(&self, body: &mut Object<'_>, extra: &Extra<'_>) -> Result<(), Error> {
        let request = self.carrier.request;
        let sampling = &request.sampling;
        let stop = Some(&sampling.stop).filter(|stop| !stop.is_empty());
        let mut options = Vec::new();
        json::object(&mut options, |to| {
            let mut written = Vec::with_capacity(OPTIONS.len());
            self.some(to, &mut written, ("max_tokens", "num_predict"), request.max_tokens.as_ref())?;
            self.some(to, &mut written, ("temperature", "temperature"), sampling.temperature.as_ref())?;
            self.some(to, &mut written, ("top_p", "top_p"), sampling.top_p.as_ref())?;
            self.some(to, &mut written, ("top_k", "top_k"), sampling.top_k.as_ref())?;
            self.some(to, &mut written, ("seed", "seed"), sampling.seed.as_ref())?;
            self.some(to, &mut written, ("stop", "stop"), stop)?;
            self.some(to, &mut written, ("presence_penalty", "presence_penalty"), sampling.presence_penalty.as_ref())?;
            self.some(
                to,
                &mut written,
                ("frequency_penalty", "frequency_penalty"),
                sampling.frequency_penalty.as_ref(),
            )?;
            extra.write(to, &written);
            Ok(())
        })?;
        if options.len() > 2 {
            body.key("options").extend_from_slice(&options);
        }
        Ok(())
    }

    /// Writes an option, by OpenAI's name and by Ollama's, if it is there and the row does not say that it is lacking.
    fn some<'k>(
        &self,
        to: &mut Object<'_>,
        written: &mut Vec<&'k str>,
        (parameter, key): (&str, &'k str),
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), Error> {
        if self.carrier.carries(parameter, value.is_some())? {
            written.push(key);
            to.some(key, value);
        }
        Ok(())
    }

    /// Whether the model thinks. Most models know yes and no; those that the row names want a level.
    /// <https://docs.ollama.com/capabilities/thinking> (2026-11)
    fn think(&self, body: &mut Object<'_>) -> Result<bool, Error> {
        let Some(reasoning) = &self.carrier.request.reasoning else { return Ok(false) };
        self.carrier.cannot("reasoning_budget", reasoning.budget.is_some())?;
        let Some(effort) = reasoning.effort else { return Ok(false) };
        let level = match effort {
            Effort::None => None,
            Effort::Minimal | Effort::Low => Some("low"),
            Effort::Medium => Some("medium"),
            Effort::High | Effort::Xhigh | Effort::Max => Some("high"),
        };
        match level.filter(|_| self.carrier.target.reasons()) {
            Some(level) => body.set("think", level),
            None => body.set("think", &level.is_some()),
        }
        Ok(true)
    }

    /// The tools. There is no choice among them but by leaving some, or all, out.
    fn tools(&self, body: &mut Object<'_>) -> Result<(), Error> {
        let request = self.carrier.request;
        let offered: Vec<&Tool> = match &request.tool_choice {
            None | Some(ToolChoice::Auto) => request.tools.iter().collect(),
            Some(ToolChoice::None) => return Ok(()),
            Some(ToolChoice::Allowed(allowed)) => {
                self.carrier.cannot("tool_choice", allowed.required)?;
                request.tools.iter().filter(|tool| allowed.names.iter().any(|name| name == name_of(tool))).collect()
            }
            Some(ToolChoice::Required | ToolChoice::Named(_)) => {
                self.carrier.cannot("tool_choice", true)?;
                request.tools.iter().collect()
            }
        };
        if offered.is_empty() {
            return Ok(());
        }
        body.list("tools", offered, |out, tool| self.tool(out, tool))
    }

    fn tool(&self, out: &mut Vec<u8>, tool: &Tool) -> Result<(), Error> {
        // A tool is content, so it is refused even where parameters may be dropped.
        let Tool::Function(tool) = tool else { return Err(unsupported("custom_tools")) };
        self.carrier.cannot("cache_control", tool.cache_control.is_some())?;
        json::object(out, |to| {
            to.set("type", "function");
            to.object("function", |to| {
                to.set("name", &tool.name);
                to.some("description", tool.description.as_ref());
                let schema = tool.schema_json.as_deref().unwrap_or(r#"{"type":"object","properties":{}}"#);
                to.raw("parameters", parsed(schema, "tools")?);
                // The server reads the tool without it: that it is passed on says what was asked for.
                to.some("strict", tool.strict.as_ref());
                Ok(())
            })
        })
    }
}

fn name_of(tool: &Tool) -> &str {
    match tool {
        Tool::Function(tool) => &tool.name,
        Tool::Custom(tool) => &tool.name,
    }
}

/// The error of a part that cannot stand where it stands.
pub(super) fn misplaced(place: &str) -> Error {
    bad(format!("{place} holds text and images only"))
}
