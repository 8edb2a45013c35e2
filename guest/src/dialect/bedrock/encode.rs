//! A request -> Converse's JSON, written straight into the body.
//!
//! Before: a target and a request. After: `component` sends the body. Invariant: a parameter is written, or refused by name,
//! or left out because `drop-unsupported` says so.

use serde::Serialize;

use super::{family, messages, tools};
use crate::{
    bindings::{Error, JsonSchema, Modality, Request, ResponseFormat},
    dialect::{
        Exchange,
        carry::{Carrier, Extra, escaped, parsed},
        content::weight,
    },
    json::{self, Object},
    provider::Target,
};

/// The keys that only this dialect writes. `additionalModelRequestFields` is shared with the caller.
const OWNED: &[&str] = &[
    "modelId",
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "outputConfig",
    "serviceTier",
    "requestMetadata",
];

pub(super) fn encode(target: &Target<'_>, request: &Request, streamed: bool) -> Result<Exchange, Error> {
    let carrier = Carrier { target, request };
    let mut body = Vec::with_capacity(weight(request));
    json::object(&mut body, |body| write(&carrier, body)).map_err(|error| error.from(target.provider))?;
    // The model's name is one segment of the path, whatever it holds; the signature encodes it once more.
    // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html (2026-11)
    let usual = if streamed { "/model/{model}/converse-stream" } else { "/model/{model}/converse" };
    let path = target.path.unwrap_or(usual).replace("{model}", &escaped(target.model));
    carrier.exchange(carrier.below(&path)?, &[], body)
}

fn write(carrier: &Carrier<'_>, body: &mut Object<'_>) -> Result<(), Error> {
    let request = carrier.request;
    let mut extra = Extra::of(carrier, OWNED)?;
    let mut written = vec!["messages"];
    messages::write(carrier, body)?;
    if messages::system(carrier, body)? {
        written.push("system");
    }
    refuse(carrier)?;
    let family = family::Fields::of(carrier)?;
    if inference(carrier, body, family.limit)? {
        written.push("inferenceConfig");
    }
    if tools::write(carrier, body)? {
        written.push("toolConfig");
    }
    if let Some(ResponseFormat::JsonSchema(schema)) = &request.response_format
        && carrier.carries("response_format", true)?
    {
        written.push("outputConfig");
        output(body, schema)?;
    }
    // `auto` leaves the tier to the account, as its absence does.
    if let Some(tier) = request.service_tier.as_deref().filter(|tier| *tier != "auto")
        && carrier.carries("service_tier", true)?
    {
        written.push("serviceTier");
        body.object("serviceTier", |to| {
            to.set("type", tier);
            Ok::<_, Error>(())
        })?;
    }
    if carrier.carries("metadata", !request.metadata.is_empty())? {
        written.push("requestMetadata");
        body.object("requestMetadata", |to| {
            request.metadata.iter().for_each(|label| to.set(&label.key, &label.value));
            Ok::<_, Error>(())
        })?;
    }
    family.write(body, &mut extra)?;
    extra.write(body, &written);
    Ok(())
}

/// What Converse has no place for.
fn refuse(carrier: &Carrier<'_>) -> Result<(), Error> {
    let request = carrier.request;
    let sampling = &request.sampling;
    let more = |modality: &Modality| !matches!(modality, Modality::Text);
    carrier.cannot_any(&[
        ("n", request.n.is_some_and(|n| n != 1)),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("logit_bias", !sampling.logit_bias.is_empty()),
        ("seed", sampling.seed.is_some()),
        ("logprobs", request.logprobs == Some(true)),
        ("top_logprobs", request.top_logprobs.is_some()),
        ("response_format", matches!(request.response_format, Some(ResponseFormat::JsonObject))),
        ("parallel_tool_calls", request.parallel_tool_calls == Some(false)),
        ("verbosity", request.verbosity.is_some()),
        ("modalities", request.modalities.iter().any(more)),
        ("audio", request.audio.is_some()),
        ("prediction", !request.prediction.is_empty()),
        ("web_search_options", request.web_search.is_some()),
        ("user", request.user.is_some()),
        ("safety_identifier", request.safety_identifier.is_some()),
        ("prompt_cache_key", request.prompt_cache_key.is_some()),
        ("prompt_cache_retention", request.prompt_cache_retention.is_some()),
        // It stores nothing, so that is what a request may ask for.
        ("store", request.store == Some(true)),
    ])
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InferenceConfiguration.html> (2026-11)
fn inference(carrier: &Carrier<'_>, body: &mut Object<'_>, limit: Option<u64>) -> Result<bool, Error> {
    fn some(
        carrier: &Carrier<'_>,
        to: &mut Object<'_>,
        (parameter, key): (&str, &str),
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), Error> {
        if carrier.carries(parameter, value.is_some())? {
            to.some(key, value);
        }
        Ok(())
    }
    let sampling = &carrier.request.sampling;
    let stop = Some(&sampling.stop).filter(|stop| !stop.is_empty());
    let mut config = Vec::new();
    json::object(&mut config, |to| {
        some(carrier, to, ("max_tokens", "maxTokens"), limit.as_ref())?;
        some(carrier, to, ("temperature", "temperature"), sampling.temperature.as_ref())?;
        some(carrier, to, ("top_p", "topP"), sampling.top_p.as_ref())?;
        some(carrier, to, ("stop", "stopSequences"), stop)
    })?;
    let there = config.len() > 2;
    if there {
        body.key("inferenceConfig").extend_from_slice(&config);
    }
    Ok(there)
}

/// <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html> (2026-11): the schema is text, and always strict.
fn output(body: &mut Object<'_>, schema: &JsonSchema) -> Result<(), Error> {
    let json = parsed(&schema.schema_json, "response_format")?;
    body.object("outputConfig", |to| {
        to.object("textFormat", |to| {
            to.set("type", "json_schema");
            to.object("structure", |to| {
                to.object("jsonSchema", |to| {
                    to.set("schema", json);
                    to.set("name", &schema.name);
                    to.some("description", schema.description.as_ref());
                    Ok(())
                })
            })
        })
    })
}
