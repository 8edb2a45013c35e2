//! `seaway demo`: the main job, without a key and without the network.
//!
//! Starts a provider on loopback, asks it several things at once through the component and a tuned session, prints the
//! answers, and then what the session did - with the same work without a pool beside it - and swaps the policy while
//! completions run. Nothing is pretended: the file below is read as any other, the TLS is real, and the figures are the
//! session's own.

mod provider;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use seaway_session::{Environment, Figures, Session, Stage};
use tokio::time::Instant;

use super::prompt::{Prompt, Sampling};
use super::waterfall::{self, milliseconds};
use super::{Failure, print};
use crate::config::Config;
use crate::reload::{Outcome, Reload};
use crate::runtime::{CallRecord, Event, Limits, Runtime, Source, types};
use provider::{KEY, Provider};

/// What is asked, and what the provider answers.
const DIALOGUE: [(&str, &str); 8] = [
    (
        "Why is the sea salt?",
        "Rain dissolves a little salt from every rock it touches, rivers carry it down, and the sun lifts only the water up again.",
    ),
    (
        "What makes the tides?",
        "The Moon pulls the near side of the sea more than the Earth beneath it, and the Earth more than the far side.",
    ),
    ("How deep is the sea?", "On average 3,700 metres; in the Challenger Deep almost eleven kilometres."),
    ("Why is the sea blue?", "Water swallows red light first, so what comes back from the deep is blue."),
    (
        "How fast is a wave?",
        "In deep water its speed grows with its length: 100 metres from crest to crest run at about 45 km/h.",
    ),
    (
        "Where does sand come from?",
        "From mountains, by way of rivers; on some beaches from shells, on some from volcanoes.",
    ),
    ("Do fish sleep?", "Most rest, still and with open eyes; some keep swimming while half of the brain rests."),
    ("What is a knot?", "One nautical mile an hour: one minute of latitude, which is 1,852 metres."),
];

/// Open sockets of either session: fewer than callers, so that they share.
const POOL_LIMIT: usize = 4;

/// The same, after the swap.
const SWAPPED_LIMIT: usize = 2;

/// How often everything is asked: what is kept from the first round serves the second.
const ROUNDS: usize = 2;

const ABOUT: &str = "\
The provider listens on loopback, with TLS and a certificate made on the spot; its OpenAI dialect streams. The component
asks it through the host's session. Nothing leaves this machine, and no key is needed.";

/// Arguments of `seaway demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Arguments {
    /// How many completions, all at once.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    calls: u16,
    /// A component to run instead of the one that is built in.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    executor.map_err(Failure::failed)?.block_on(show(arguments))
}

async fn show(arguments: &Arguments) -> Result<(), Failure> {
    let provider =
        Provider::start().await.map_err(|error| Failure::failed(format_args!("the demo's provider: {error}")))?;
    let files = Files::write(provider.authority())?;
    print::line(format_args!(
        "seaway demo: {} completions at once, and again, through the component and one session\n",
        arguments.calls
    ))?;
    row("provider", format_args!("{}  (loopback, TLS with a certificate made just now)", provider.base_url()))?;
    row(
        "session",
        format_args!("preset production, pool.limit = {POOL_LIMIT}, only the demo's own certificate authority"),
    )?;
    row("key", "the component writes `seaway-credential:demo`; the host puts the key in its place")?;
    print::line("")?;
    let tuned = format!("pool.limit = {POOL_LIMIT}\n");
    let unpooled = format!("pool = {{ limit = {POOL_LIMIT}, force_close = true }}\n");
    let pooled = work(arguments, &provider, &files, &tuned, true).await?;
    let single = work(arguments, &provider, &files, &unpooled, false).await?;
    if provider.refused() > 0 {
        return Err(Failure::failed(format_args!(
            "{} requests came to the provider without its key",
            provider.refused()
        )));
    }
    compare(&pooled, &single)?;
    swap(arguments, &provider, &files).await?;
    print::line("\nThe first exchange of each, as `seaway complete --timings` draws it:\n")?;
    print::write(format!("with the pool\n{}\nwithout\n{}", pooled.first, single.first).as_bytes())
}

/// What one run took.
struct Run {
    figures: Figures,
    reused_instances: usize,
    first: String,
}

/// Makes all completions under one session; prints them if `aloud`.
async fn work(
    arguments: &Arguments,
    provider: &Provider,
    files: &Files,
    pool: &str,
    aloud: bool,
) -> Result<Run, Failure> {
    files.policy(provider, pool)?;
    let (_, runtime) = begin(arguments, files)?;
    let began = Instant::now();
    let mut records = Vec::new();
    for round in 0..ROUNDS {
        let mut calls = all(arguments, &runtime, began);
        while let Some(answer) = calls.next().await {
            let Told { question, text, at, record } = answer?;
            if aloud && round == 0 {
                print::line(format_args!("  {:>8}  {question}\n            {text}", milliseconds(at)))?;
            }
            records.push(record);
        }
    }
    Ok(Run {
        figures: runtime.session().figures(),
        reused_instances: records.iter().filter(|record| record.reused()).count(),
        first: records.first().map(waterfall::draw).unwrap_or_default(),
    })
}

/// The variables of the demo's file.
fn environment() -> Environment {
    [("SEAWAY_DEMO_KEY".to_owned(), KEY.to_owned())].into_iter().collect()
}

/// A session and a runtime under the demo's file as it is.
fn begin(arguments: &Arguments, files: &Files) -> Result<(Config, Runtime), Failure> {
    let config = Config::load(Some(&files.policy), &environment())?;
    let session = Session::new(config.policy.clone(), &environment(), config.destinations.clone())?;
    let source = arguments.component.clone().map_or(Source::Embedded, Source::File);
    let limits = Limits { calls: usize::from(arguments.calls), ..config.limits };
    let runtime = Runtime::new(limits, &source, session, config.models())?;
    Ok((config, runtime))
}

/// As many completions as are wanted, all at once.
fn all(
    arguments: &Arguments,
    runtime: &Runtime,
    began: Instant,
) -> FuturesUnordered<impl Future<Output = Result<Told, Failure>>> {
    let dialogue = DIALOGUE.iter().cycle().take(usize::from(arguments.calls));
    dialogue.map(|(question, _)| ask(runtime, question, began)).collect()
}

/// Swaps the policy while completions run: the file changes, and is put in force as `seaway serve` would do it.
async fn swap(arguments: &Arguments, provider: &Provider, files: &Files) -> Result<(), Failure> {
    files.policy(provider, &format!("pool.limit = {POOL_LIMIT}\n"))?;
    let (config, runtime) = begin(arguments, files)?;
    let Some(mut reload) = Reload::new(&config, environment(), runtime.clone()) else { return Ok(()) };
    let mut calls = all(arguments, &runtime, Instant::now());
    let first = calls.next().await.transpose()?;
    let before = runtime.session().figures();
    files.policy(provider, &format!("pool.limit = {SWAPPED_LIMIT}\n"))?;
    let began = Instant::now();
    match tokio::task::block_in_place(|| reload.look()) {
        Outcome::Swapped(_) => {}
        Outcome::Unchanged => return Err(Failure::failed("the file was swapped, and nobody noticed")),
        Outcome::Refused(error) => return Err(error.into()),
    }
    let took = began.elapsed();
    let mut answers = usize::from(first.is_some());
    while let Some(answer) = calls.next().await {
        answer?;
        answers += 1;
    }
    let after = runtime.session().figures();
    print::line("\nThe policy swapped, while the completions ran")?;
    row("file", format_args!("pool.limit = {POOL_LIMIT} became pool.limit = {SWAPPED_LIMIT}, after the first answer"))?;
    row("in force", format_args!("{} later, without a restart", milliseconds(took)))?;
    row("answers", format_args!("{answers} of {}, none failed", arguments.calls))?;
    row("sockets", format_args!("{} open before, {} after", before.open, after.open))
}

/// One answer.
struct Told {
    question: &'static str,
    text: String,
    at: Duration,
    record: CallRecord,
}

async fn ask(runtime: &Runtime, question: &'static str, began: Instant) -> Result<Told, Failure> {
    let prompt = Prompt {
        model: "demo/tide-1".to_owned(),
        system: None,
        text: question.to_owned(),
        images: Vec::new(),
        tools: Vec::new(),
        schema: None,
        sampling: Sampling::default(),
    };
    let record = CallRecord::new();
    let mut deltas = runtime.stream(prompt.request(), &record).await?;
    let mut text = String::new();
    while let Some(event) = deltas.next().await {
        if let Event::Delta(types::Delta::Text(more)) = event? {
            text.push_str(&more.text);
        }
    }
    Ok(Told { question, text, at: began.elapsed(), record })
}

fn row(name: &str, value: impl Display) -> Result<(), Failure> {
    print::line(format_args!("  {name:<10} {value}"))
}

/// The two runs side by side.
fn compare(pooled: &Run, single: &Run) -> Result<(), Failure> {
    let row = |name: &str, one: &dyn Display, other: &dyn Display| {
        print::line(format_args!("  {name:<26} {:>14} {:>14}", one.to_string(), other.to_string()))
    };
    print::line("\nWhat the session did")?;
    row("", &"with the pool", &"without")?;
    row("completions", &pooled.figures.exchanges, &single.figures.exchanges)?;
    row("connections opened", &pooled.figures.opened, &single.figures.opened)?;
    row("connections reused", &pooled.figures.reused, &single.figures.reused)?;
    row("instances reused", &pooled.reused_instances, &single.reused_instances)?;
    let stages = [
        ("dns, each", Stage::Dns),
        ("tcp, each", Stage::Tcp),
        ("tls, each", Stage::Tls),
        ("first byte, each", Stage::Wire),
        ("body, each", Stage::Body),
    ];
    for (name, stage) in stages {
        let mean = |figures: &Figures| {
            let share = figures.stage(stage);
            match u32::try_from(share.runs).unwrap_or(u32::MAX) {
                0 => "-".to_owned(),
                runs => milliseconds(share.time / runs),
            }
        };
        row(name, &mean(&pooled.figures), &mean(&single.figures))?;
    }
    let opening =
        |figures: &Figures| milliseconds([Stage::Tcp, Stage::Tls].map(|stage| figures.stage(stage).time).iter().sum());
    row("opening connections, all", &opening(&pooled.figures), &opening(&single.figures))
}

/// The demo's policy file and the certificate authority that its `tls.ca` names; removed with it.
struct Files {
    policy: PathBuf,
    authority: PathBuf,
}

impl Files {
    fn write(authority: &str) -> Result<Self, Failure> {
        let path = |kind| std::env::temp_dir().join(format!("seaway-demo-{}.{kind}", process::id()));
        let files = Self { policy: path("toml"), authority: path("pem") };
        write(&files.authority, authority)?;
        Ok(files)
    }

    /// Writes the policy, as an operator would.
    fn policy(&self, provider: &Provider, pool: &str) -> Result<(), Failure> {
        let (base_url, authority) = (provider.base_url(), self.authority.display());
        let text = format!(
            "preset = \"production\"\n{pool}\
             proxy.mode = \"off\"\n\
             tls = {{ roots = \"none\", ca = ['{authority}'] }}\n\
             [credentials.demo]\nenv = \"SEAWAY_DEMO_KEY\"\n\
             [providers.demo]\ndialect = \"openai\"\nbase_url = \"{base_url}\"\n"
        );
        write(&self.policy, &text)
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::failed(format_args!("{} cannot be written: {error}", path.display())))
}

impl Drop for Files {
    fn drop(&mut self) {
        // Neither holds a secret, and both are in the folder for such things: one that stays harms nobody.
        let _ = (fs::remove_file(&self.policy), fs::remove_file(&self.authority));
    }
}
