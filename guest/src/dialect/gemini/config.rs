//! Everything that shapes the answer -> `generationConfig`.
//! <https://ai.google.dev/api/generate-content#generationconfig> (2026-11)
//!
//! Before: `encode`. After: the same body. Invariant: what no model of the row can take is refused by name, and nothing is
//! added that the caller did not ask for.

use serde::Serialize;

use super::schema;
use crate::{
    bindings::{Effort, Error, Message, Modality, Part, Reasoning, ResponseFormat},
    dialect::carry::{Carrier, Extra, parsed},
    json::{self, Object},
};

/// The keys of `generationConfig` that only this dialect writes.
const OWNED: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "responseMimeType",
    "responseJsonSchema",
    "responseModalities",
];

/// Writes the object; it is empty where the caller left everything to the provider.
pub(super) fn write(carrier: &Carrier<'_>, extra: &mut Extra<'_>) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(256);
    // What this dialect writes only in parts, such as several voices, is the caller's where the dialect has not written it.
    let within = extra.within("generationConfig", OWNED)?;
    json::object(&mut out, |to| {
        let mut config = Config { carrier, to, written: Vec::new() };
        config.sampling()?;
        config.format()?;
        config.output()?;
        config.reasoning()?;
        let Config { to, written, .. } = config;
        within.write(to, &written);
        Ok::<_, Error>(())
    })?;
    Ok(out)
}

struct Config<'c, 'o> {
    carrier: &'c Carrier<'c>,
    to: &'c mut Object<'o>,
    written: Vec<&'static str>,
}

impl Config<'_, '_> {
    /// Writes a parameter under Google's key, if it is there.
    fn some(
        &mut self,
        parameter: &str,
        key: &'static str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), Error> {
        if let Some(value) = value
            && self.carrier.carries(parameter, true)?
        {
            self.put(key, value);
        }
        Ok(())
    }

    fn put(&mut self, key: &'static str, value: &(impl Serialize + ?Sized)) {
        self.written.push(key);
        self.to.set(key, value);
    }

    fn sampling(&mut self) -> Result<(), Error> {
        let request = self.carrier.request;
        let sampling = &request.sampling;
        self.some("temperature", "temperature", sampling.temperature.as_ref())?;
        self.some("top_p", "topP", sampling.top_p.as_ref())?;
        self.some("top_k", "topK", sampling.top_k.as_ref())?;
        self.some("presence_penalty", "presencePenalty", sampling.presence_penalty.as_ref())?;
        self.some("frequency_penalty", "frequencyPenalty", sampling.frequency_penalty.as_ref())?;
        self.some("seed", "seed", sampling.seed.as_ref())?;
        self.some("stop", "stopSequences", Some(&sampling.stop).filter(|stop| !stop.is_empty()))?;
        self.some("max_tokens", "maxOutputTokens", request.max_tokens.as_ref())?;
        self.some("n", "candidateCount", request.n.as_ref().filter(|n| **n != 1))?;
        self.some("logprobs", "responseLogprobs", request.logprobs.as_ref().filter(|asked| **asked))?;
        self.some("top_logprobs", "logprobs", request.top_logprobs.as_ref())
    }

    fn format(&mut self) -> Result<(), Error> {
        match &self.carrier.request.response_format {
            None | Some(ResponseFormat::Text) => {}
            Some(ResponseFormat::JsonObject) => self.put("responseMimeType", "application/json"),
            Some(ResponseFormat::JsonSchema(schema)) => {
                if !self.carrier.carries("json_schema", true)? {
                    return Ok(());
                }
                let json = parsed(&schema.schema_json, "response_format")?;
                self.put("responseMimeType", "application/json");
                self.written.push("responseJsonSchema");
                schema::described(self.to, "responseJsonSchema", json, schema.description.as_deref())?;
            }
        }
        Ok(())
    }

    fn output(&mut self) -> Result<(), Error> {
        let request = self.carrier.request;
        let modalities: Vec<&str> = request.modalities.iter().map(|modality| modality_word(*modality)).collect();
        self.some("modalities", "responseModalities", Some(&modalities).filter(|words| !words.is_empty()))?;
        if let Some(audio) = &request.audio
            && self.carrier.carries("audio", true)?
        {
            // https://ai.google.dev/gemini-api/docs/speech-generation: speech is PCM of 16 bits and 24 kHz (2026-11)
            self.carrier.cannot("audio.format", audio.format != "pcm16")?;
            self.written.push("speechConfig");
            self.to.object("speechConfig", |to| {
                to.object("voiceConfig", |to| {
                    to.object("prebuiltVoiceConfig", |to| {
                        to.set("voiceName", &audio.voice);
                        Ok::<_, Error>(())
                    })
                })
            })?;
        }
        // Newer models take it with each image: see `contents`.
        if thinks_in_tokens(self.carrier)
            && let Some(level) = one_detail(self.carrier)?
        {
            self.put("mediaResolution", level);
        }
        Ok(())
    }

    fn reasoning(&mut self) -> Result<(), Error> {
        let Some(reasoning) = &self.carrier.request.reasoning else { return Ok(()) };
        if !self.carrier.carries("reasoning_effort", true)? {
            return Ok(());
        }
        let Some(thinking) = thinking(self.carrier, reasoning)? else { return Ok(()) };
        self.written.push("thinkingConfig");
        self.to.object("thinkingConfig", |to| {
            match thinking {
                Thinking::Budget(budget) => to.set("thinkingBudget", &budget),
                Thinking::Level(level) => to.set("thinkingLevel", level),
            }
            // Thoughts come only where they are asked for, and who asks for reasoning wants to see it.
            if !matches!(thinking, Thinking::Budget(0)) {
                to.set("includeThoughts", &true);
            }
            Ok(())
        })
    }
}

/// How much a model is to think: in tokens, or in a word.
enum Thinking {
    Budget(u64),
    Level(&'static str),
}

/// Whether the model thinks in tokens, as the older ones do, by the row's prefixes.
pub(super) fn thinks_in_tokens(carrier: &Carrier<'_>) -> bool {
    carrier.target.quirks.budget_models.iter().any(|prefix| carrier.target.model.starts_with(prefix.as_str()))
}

/// <https://ai.google.dev/gemini-api/docs/openai#thinking>: what Google makes of OpenAI's words;
/// <https://ai.google.dev/gemini-api/docs/thinking>: both at once are an error (2026-11)
fn thinking(carrier: &Carrier<'_>, reasoning: &Reasoning) -> Result<Option<Thinking>, Error> {
    if let Some(budget) = reasoning.budget {
        carrier.cannot("reasoning_effort", reasoning.effort.is_some())?;
        return Ok(Some(Thinking::Budget(budget)));
    }
    let Some(effort) = reasoning.effort else { return Ok(None) };
    if thinks_in_tokens(carrier) {
        return Ok(Some(Thinking::Budget(match effort {
            Effort::None => 0,
            Effort::Minimal | Effort::Low => 1024,
            Effort::Medium => 8192,
            Effort::High | Effort::Xhigh | Effort::Max => 24_576,
        })));
    }
    Ok(match effort {
        // These models cannot be kept from thinking.
        Effort::None => return carrier.cannot("reasoning_effort", true).map(|()| None),
        Effort::Minimal => Some(Thinking::Level("minimal")),
        Effort::Low => Some(Thinking::Level("low")),
        Effort::Medium => Some(Thinking::Level("medium")),
        Effort::High | Effort::Xhigh | Effort::Max => Some(Thinking::Level("high")),
    })
}

fn modality_word(modality: Modality) -> &'static str {
    match modality {
        Modality::Text => "TEXT",
        Modality::Audio => "AUDIO",
        Modality::Image => "IMAGE",
    }
}

/// Google's word for how closely the model looks. `None` where it may choose.
/// <https://ai.google.dev/gemini-api/docs/generate-content/media-resolution> (2026-11)
pub(super) fn resolution(carrier: &Carrier<'_>, detail: Option<&str>) -> Result<Option<&'static str>, Error> {
    Ok(match detail {
        None | Some("auto") => None,
        Some("low") => Some("MEDIA_RESOLUTION_LOW"),
        Some("medium") => Some("MEDIA_RESOLUTION_MEDIUM"),
        Some("high") => Some("MEDIA_RESOLUTION_HIGH"),
        Some(_) => return carrier.cannot("image_url.detail", true).map(|()| None),
    })
}

/// The detail of all images, for models that take one for the whole request: images of several cannot be told apart there.
fn one_detail(carrier: &Carrier<'_>) -> Result<Option<&'static str>, Error> {
    let parts = carrier.request.messages.iter().flat_map(|message| match message {
        Message::User(said) => said.parts.as_slice(),
        Message::Assistant(said) => said.parts.as_slice(),
        Message::Tool(said) => said.parts.as_slice(),
        Message::System(_) | Message::Developer(_) => &[],
    });
    let mut all = None;
    for part in parts {
        let Part::Image(image) = part else { continue };
        let level = resolution(carrier, image.detail.as_deref())?;
        if all.is_some_and(|before| before != level) {
            return carrier.cannot("image_url.detail", true).map(|()| None);
        }
        all = Some(level);
    }
    Ok(all.flatten())
}
