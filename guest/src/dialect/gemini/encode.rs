//! A request -> Google's JSON, written straight into the body.
//!
//! Before: a target and a request. After: `component` sends the body. Invariant: a parameter is written, or refused by name, or
//! left out because `drop-unsupported` says so; it is never left out silently.

use super::{config, contents::Conversation, tools};
use crate::{
    bindings::{Error, Request},
    dialect::{
        Exchange,
        carry::{Carrier, Extra, escaped},
        content::weight,
    },
    json::{self, Object},
    provider::Target,
};

/// The keys that only this dialect writes, in both of the spellings that Google reads: `extra-json` may not name one.
const OWNED: &[&str] = &[
    "contents",
    "systemInstruction",
    "system_instruction",
    "tools",
    "toolConfig",
    "tool_config",
    "generation_config",
    "labels",
    "serviceTier",
    "service_tier",
    "store",
];

pub(super) fn encode(target: &Target<'_>, request: &Request, streamed: bool) -> Result<Exchange, Error> {
    let carrier = Carrier { target, request };
    let mut body = Vec::with_capacity(weight(request));
    json::object(&mut body, |to| write(&carrier, to)).map_err(|error| error.from(target.provider))?;
    // https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent: events only where asked for (2026-11)
    let method = if streamed { ":streamGenerateContent?alt=sse" } else { ":generateContent" };
    let model = target.path.unwrap_or("/models/{model}").replace("{model}", &escaped(target.model));
    carrier.exchange(carrier.below(&format!("{model}{method}"))?, &[], body)
}

fn write(carrier: &Carrier<'_>, to: &mut Object<'_>) -> Result<(), Error> {
    let request = carrier.request;
    let mut extra = Extra::of(carrier, OWNED)?;
    let mut written = vec!["contents"];
    Conversation::of(carrier)?.write(to)?;
    if tools::write(carrier, to)? {
        written.extend(["tools", "toolConfig"]);
    }
    let config = config::write(carrier, &mut extra)?;
    if config != b"{}" {
        to.key("generationConfig").extend_from_slice(&config);
    }
    if carrier.carries("metadata", !request.metadata.is_empty())? {
        written.push("labels");
        to.object("labels", |to| {
            request.metadata.iter().for_each(|label| to.set(&label.key, &label.value));
            Ok::<_, Error>(())
        })?;
    }
    // Google's usual tier is OpenAI's `default`, and `auto` leaves the choice to the provider.
    // https://ai.google.dev/gemini-api/docs/priority-inference (2026-11)
    let tier = request.service_tier.as_deref().filter(|tier| *tier != "auto");
    if let Some(tier) = tier.filter(|tier| *tier != "default" || carrier.target.takes("service_tier"))
        && carrier.carries("service_tier", true)?
    {
        written.push("serviceTier");
        to.set("serviceTier", if tier == "default" { "standard" } else { tier });
    }
    // https://ai.google.dev/gemini-api/docs/logs-datasets (2026-11)
    if carrier.carries("store", request.store.is_some())? {
        written.push("store");
        to.some("store", request.store.as_ref());
    }
    carrier.cannot_any(&[
        ("logit_bias", !request.sampling.logit_bias.is_empty()),
        ("verbosity", request.verbosity.is_some()),
        ("prediction", !request.prediction.is_empty()),
        ("user", request.user.is_some()),
        ("safety_identifier", request.safety_identifier.is_some()),
        ("prompt_cache_key", request.prompt_cache_key.is_some()),
        ("prompt_cache_retention", request.prompt_cache_retention.is_some()),
        // The usage always comes; padding never does.
        (
            "stream_options.include_obfuscation",
            request.stream_options.as_ref().is_some_and(|options| options.include_obfuscation == Some(true)),
        ),
    ])?;
    extra.write(to, &written);
    Ok(())
}
