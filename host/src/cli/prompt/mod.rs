//! A prompt and its options, as a completion's request: in the types of the WIT, or as OpenAI's JSON.
//!
//! Runs before the runtime starts, so that a missing file or a schema that is no JSON costs nothing. Invariant: what is
//! here has been read and checked; making a request of it cannot fail.

mod parts;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Failure;
use crate::runtime::types;
use parts::insert;
pub(super) use parts::{Image, Schema, Tool, read_text};

/// Everything that a completion of the command line says.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) model: String,
    pub(super) system: Option<String>,
    pub(super) text: String,
    pub(super) images: Vec<Image>,
    pub(super) tools: Vec<Tool>,
    pub(super) schema: Option<Schema>,
    pub(super) sampling: Sampling,
}

/// The knobs.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Sampling {
    /// The most tokens to generate.
    #[arg(long, value_name = "N")]
    pub(super) max_tokens: Option<u64>,
    /// How random the answer is: 0 picks the likeliest token.
    #[arg(long, value_name = "X")]
    pub(super) temperature: Option<f64>,
    /// Only the likeliest tokens whose probabilities add up to this.
    #[arg(long, value_name = "X")]
    pub(super) top_p: Option<f64>,
    /// Ask for the same answer to the same request.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<i64>,
    /// A text at which the answer stops; may be repeated.
    #[arg(long, value_name = "TEXT")]
    pub(super) stop: Vec<String>,
    /// How much the model thinks first.
    #[arg(long, value_name = "EFFORT", value_parser = effort)]
    pub(super) reasoning: Option<(&'static str, types::Effort)>,
}

const EFFORTS: [(&str, types::Effort); 7] = [
    ("none", types::Effort::None),
    ("minimal", types::Effort::Minimal),
    ("low", types::Effort::Low),
    ("medium", types::Effort::Medium),
    ("high", types::Effort::High),
    ("xhigh", types::Effort::Xhigh),
    ("max", types::Effort::Max),
];

fn effort(word: &str) -> Result<(&'static str, types::Effort), String> {
    EFFORTS.into_iter().find(|(known, _)| *known == word).ok_or_else(|| {
        let known = EFFORTS.map(|(word, _)| word).join(", ");
        format!("there is no such effort; known: {known}")
    })
}

impl Prompt {
    /// The request in the types of the WIT.
    pub(super) fn request(self) -> types::Request {
        let Self { model, system, text, images, tools, schema, sampling } = self;
        let Sampling { max_tokens, temperature, top_p, seed, stop, reasoning } = sampling;
        let text_part = |text| types::TextPart { text, cache_control: None };
        let system =
            system.map(|text| types::Message::System(types::Instructions { parts: vec![text_part(text)], name: None }));
        let mut parts: Vec<_> = images.into_iter().map(Image::wit).collect();
        parts.push(types::Part::Text(text_part(text)));
        let user = types::Message::User(types::UserMessage { parts, name: None });
        types::Request {
            sampling: types::Sampling {
                temperature,
                top_p,
                top_k: None,
                presence_penalty: None,
                frequency_penalty: None,
                logit_bias: Vec::new(),
                seed,
                stop,
            },
            max_tokens,
            response_format: schema.map(|Schema { name, schema }| {
                let schema_json = schema.to_string();
                types::ResponseFormat::JsonSchema(types::JsonSchema {
                    name,
                    description: None,
                    schema_json,
                    strict: Some(true),
                })
            }),
            tools: tools.into_iter().map(Tool::wit).collect(),
            reasoning: reasoning.map(|(_, effort)| types::Reasoning { effort: Some(effort), budget: None }),
            ..types::Request::new(model, system.into_iter().chain([user]).collect())
        }
    }

    /// The request as OpenAI's JSON.
    pub(super) fn body(&self, stream: bool) -> Value {
        let Self { model, system, text, images, tools, schema, sampling } = self;
        let Sampling { max_tokens, temperature, top_p, seed, stop, reasoning } = sampling;
        let content = match images.as_slice() {
            [] => json!(text),
            images => {
                let images =
                    images.iter().map(|image| json!({ "type": "image_url", "image_url": { "url": image.address() } }));
                images.chain([json!({ "type": "text", "text": text })]).collect()
            }
        };
        let system = system.iter().map(|text| json!({ "role": "system", "content": text }));
        let messages: Value = system.chain([json!({ "role": "user", "content": content })]).collect();
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(model));
        body.insert("messages".to_owned(), messages);
        insert(&mut body, "max_tokens", max_tokens.as_ref());
        insert(&mut body, "temperature", temperature.as_ref());
        insert(&mut body, "top_p", top_p.as_ref());
        insert(&mut body, "seed", seed.as_ref());
        insert(&mut body, "stop", Some(stop).filter(|stop| !stop.is_empty()));
        insert(&mut body, "reasoning_effort", reasoning.as_ref().map(|(word, _)| word));
        insert(
            &mut body,
            "tools",
            Some(tools.iter().map(Tool::json).collect::<Vec<_>>()).filter(|tools| !tools.is_empty()).as_ref(),
        );
        let format = schema.as_ref().map(|Schema { name, schema }| {
            json!({ "type": "json_schema", "json_schema": { "name": name, "schema": schema, "strict": true } })
        });
        insert(&mut body, "response_format", format.as_ref());
        if stream {
            body.insert("stream".to_owned(), json!(true));
            body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
        }
        Value::Object(body)
    }
}

/// A text: the argument itself, or stdin for `-`.
///
/// # Errors
/// If stdin cannot be read or is no text.
pub(super) fn text(argument: String) -> Result<String, Failure> {
    match argument.as_str() {
        "-" => read_text(Path::new("-"), "PROMPT"),
        _ => Ok(argument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt() -> Prompt {
        Prompt {
            model: "openai/gpt-4o".to_owned(),
            system: Some("be brief".to_owned()),
            text: "hello".to_owned(),
            images: Vec::new(),
            tools: Vec::new(),
            schema: None,
            sampling: Sampling { max_tokens: Some(5), stop: vec!["\n".to_owned()], ..Sampling::default() },
        }
    }

    #[test]
    fn what_is_not_said_is_not_in_the_body() {
        let expected = json!({
            "model": "openai/gpt-4o",
            "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": "hello" }],
            "max_tokens": 5,
            "stop": ["\n"],
        });
        assert_eq!(prompt().body(false), expected);
        assert_eq!(prompt().body(true)["stream_options"]["include_usage"], json!(true));
    }

    #[test]
    fn images_stand_before_the_text() {
        let png = Image::Content { media_type: "image/png", bytes: b"x".to_vec() };
        let prompt = Prompt { images: vec![png], ..prompt() };
        let content = &prompt.body(false)["messages"][1]["content"];
        assert_eq!(content[0]["image_url"]["url"], json!("data:image/png;base64,eA=="));
        assert_eq!(content[1]["text"], json!("hello"));
        let types::Message::User(user) = &prompt.request().messages[1] else {
            panic!("the second message is the user's")
        };
        assert!(matches!(user.parts.as_slice(), [types::Part::Image(_), types::Part::Text(_)]));
    }
}
