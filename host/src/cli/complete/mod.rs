//! `seaway complete`: one completion on the command line.
//!
//! A prompt goes through the component's typed exports and prints text as it comes; `--request` and `--json` go through
//! its HTTP handler, in process, so that the translation to and from OpenAI's JSON exists once. Invariant: where the
//! provider refuses, stdout stays empty.

mod text;
mod json;

use std::path::PathBuf;

use bytes::Bytes;
use clap::builder::ArgPredicate;
use seaway_session::Environment;
use serde_json::Value;

use super::prompt::{self, Image, Prompt, Sampling, Schema, Tool};
use super::{Failure, Started, say, start, waterfall};
use crate::runtime::{CallError, CallRecord, Limits, Runtime, types};

const EXAMPLES: &str = "\
Examples:
  seaway complete 'Why is the sea salt?'
  seaway complete -m mistral/mistral-small-latest --system 'One sentence.' 'Why is the sea salt?'
  git diff | seaway complete -s 'Write the commit message.' -
  seaway complete --image chart.png --schema rows.json 'Read this chart.'
  seaway complete --timings -m openai/gpt-5-mini 'Say hello.'
  seaway complete --json --request request.json

Without -m: `[complete] model` of the file, else the default model of the only provider whose key is set.
Exit codes: 0 an answer, 1 none or not all of it, 2 the command line, the file or the environment is wrong.";

/// Arguments of `seaway complete`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// What to ask; `-` reads stdin.
    #[arg(value_name = "PROMPT|-", required_unless_present = "request")]
    prompt: Option<String>,
    /// Who answers: `provider/model`, or a name from `[models]`.
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// Instructions that stand before the prompt.
    #[arg(short, long, value_name = "TEXT")]
    system: Option<String>,
    /// Print the answer as it comes (the default for text).
    #[arg(long, overrides_with = "no_stream")]
    stream: bool,
    /// Ask for the answer whole (the default for --json).
    #[arg(long)]
    no_stream: bool,
    #[command(flatten)]
    sampling: Sampling,
    /// An image for the model to look at; may be repeated.
    #[arg(long, value_name = "FILE|URL")]
    image: Vec<String>,
    /// A file with one tool or a list of them, as OpenAI writes functions; may be repeated.
    #[arg(long, value_name = "FILE")]
    tool: Vec<PathBuf>,
    /// A file with the JSON schema that the answer has to fit.
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Print OpenAI's JSON: the whole answer, or with --stream one chunk a line.
    #[arg(long, default_value_if("request", ArgPredicate::IsPresent, "true"))]
    json: bool,
    /// Send this OpenAI chat-completions body; its own `stream` says how the answer comes. Implies --json.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["prompt", "system", "image", "tool", "schema", "max_tokens", "temperature", "top_p", "seed", "stop", "reasoning"])]
    request: Option<PathBuf>,
    /// Draw what the call took, on stderr.
    #[arg(long)]
    timings: bool,
    /// The file. By default SEAWAY_CONFIG, else ./seaway.toml, else built-in defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A component to run instead of the one that is built in.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
}

/// What is asked of the component.
enum Asked {
    /// In the types of the WIT, for text.
    Typed { request: Box<types::Request>, stream: bool },
    /// As OpenAI's JSON, for JSON.
    Json(Bytes),
}

pub(super) fn run(mut arguments: Arguments, environment: &Environment) -> Result<(), Failure> {
    let (config, component, timings) = (arguments.config.take(), arguments.component.take(), arguments.timings);
    // One call needs one instance: little address space is reserved, and the start is quick.
    let one = |limits| Limits { calls: 1, ..limits };
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let executor = executor.map_err(|error| Failure::failed(format_args!("the executor does not start: {error}")))?;
    executor.block_on(async {
        let started = start(config.as_deref(), component, environment, one)?;
        let (model, asked) = ask(arguments, &started, environment)?;
        let record = CallRecord::new();
        let outcome = answer(&started.runtime, asked, &record).await;
        if timings {
            say(format_args!("{}{}", moved(&started, &model), waterfall::draw(&record).trim_end()));
        }
        outcome
    })
}

/// Makes the request of the arguments; also the model's name.
fn ask(arguments: Arguments, started: &Started, environment: &Environment) -> Result<(String, Asked), Failure> {
    let Arguments { prompt, model, system, stream, no_stream, sampling, image, tool, schema, json, request, .. } =
        arguments;
    if let Some(path) = request {
        return forwarded(&prompt::read_text(&path, "--request")?, model, (stream, no_stream), started, environment);
    }
    let model = match model {
        Some(model) => model,
        None => started.config.default_model(environment).map_err(Failure::usage)?,
    };
    let mut tools = Vec::new();
    for path in &tool {
        tools.extend(Tool::load(path)?);
    }
    let prompt = Prompt {
        model: model.clone(),
        system,
        text: prompt::text(prompt.unwrap_or_default())?,
        images: image.iter().map(|place| Image::load(place)).collect::<Result<_, _>>()?,
        tools,
        schema: schema.as_deref().map(Schema::load).transpose()?,
        sampling,
    };
    Ok((
        model,
        match json {
            true => Asked::Json(prompt.body(stream).to_string().into()),
            false => Asked::Typed { request: Box::new(prompt.request()), stream: !no_stream },
        },
    ))
}

/// A body that the user wrote. It goes out as it is, unless an option or a missing model says otherwise.
fn forwarded(
    text: &str,
    model: Option<String>,
    (stream, no_stream): (bool, bool),
    started: &Started,
    environment: &Environment,
) -> Result<(String, Asked), Failure> {
    let mut body: Value = serde_json::from_str(text)
        .map_err(|error| Failure::usage(format_args!("--request: it is no JSON: {error}")))?;
    let Some(fields) = body.as_object_mut() else {
        return Err(Failure::usage("--request: a chat-completions body is a JSON object"));
    };
    let written = fields.get("model").and_then(Value::as_str).map(str::to_owned);
    let named = match (model, &written) {
        (Some(model), _) => model,
        (None, Some(written)) => written.clone(),
        (None, None) => started.config.default_model(environment).map_err(Failure::usage)?,
    };
    if !stream && !no_stream && written.as_ref() == Some(&named) {
        return Ok((named, Asked::Json(text.to_owned().into())));
    }
    fields.insert("model".to_owned(), named.clone().into());
    if stream || no_stream {
        fields.insert("stream".to_owned(), stream.into());
    }
    Ok((named, Asked::Json(body.to_string().into())))
}

/// Where a variable moved the base URL of the model's provider: said, so that nobody wonders who answered.
fn moved(started: &Started, model: &str) -> String {
    let table = &started.config.table;
    let provider = match table.models.get(model) {
        Some(model) => model.provider.as_str(),
        None => model.split_once('/').map_or("", |(provider, _)| provider),
    };
    let moved = started.config.moved.iter().find(|moved| moved.provider == provider);
    moved.map_or_else(String::new, |moved| {
        format!("base URL of {provider}: {} (from {})\n", moved.base_url, moved.variable)
    })
}

/// Why there is no answer. What the component refused before anybody was asked, the command line or the file has to change.
fn refused(error: CallError, record: &CallRecord) -> Failure {
    match matches!(error, CallError::Guest(_)) && record.exchanges().is_empty() {
        true => Failure::usage(error),
        false => error.into(),
    }
}

async fn answer(runtime: &Runtime, asked: Asked, record: &CallRecord) -> Result<(), Failure> {
    match asked {
        Asked::Typed { request, stream: true } => text::streamed(runtime, *request, record).await,
        Asked::Typed { request, stream: false } => {
            let answer = runtime.complete(*request, record).await;
            text::whole(&answer.map_err(|error| refused(error, record))?)
        }
        Asked::Json(body) => json::run(runtime, body, record).await,
    }
}
