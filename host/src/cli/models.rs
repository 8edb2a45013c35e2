//! `seaway models`: who can be asked, and whether their keys are there.
//!
//! Invariant: nothing is sent, no command is run, and no secret is shown.

use std::path::PathBuf;

use seaway_session::Environment;

use super::{Failure, print, say};
use crate::config::{Config, Entry, Key, KeySource, Listing, Provider};

const EXAMPLES: &str = "\
Examples:
  seaway models
  seaway models --provider openai
  seaway models --json | jq -r '.providers[] | select(.key.set) | .name'";

/// Arguments of `seaway models`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print JSON: `file`, `providers` and `models`.
    #[arg(long)]
    json: bool,
    /// Only this provider and its models.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The file. By default SEAWAY_CONFIG, else ./seaway.toml, else built-in defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment) -> Result<(), Failure> {
    let Arguments { json, provider, config } = arguments;
    let config = Config::load(config.as_deref(), environment)?;
    for warning in &config.warnings {
        say(format_args!("warning: {warning}"));
    }
    let mut listing = config.listing(environment)?;
    if let Some(name) = provider {
        if listing.providers.iter().all(|provider| provider.name != *name) {
            return Err(Failure::usage(format_args!("--provider: there is no provider `{}`", plain(name)))
                .with_hint(Some("`seaway models` lists them all")));
        }
        listing.providers.retain(|provider| provider.name == *name);
        listing.models.retain(|model| model.provider == *name);
    }
    if *json {
        let json = serde_json::to_string_pretty(&listing).expect("names and strings always serialise");
        return print::line(json);
    }
    let file = listing.file.as_ref().map(|file| file.display().to_string());
    say(format_args!("file: {}", file.as_deref().unwrap_or("none; the built-in defaults hold")));
    print::write(draw(&listing).as_bytes())
}

/// Two tables for people.
fn draw(Listing { file: _, providers, models }: &Listing) -> String {
    let mut drawn = String::new();
    let row = |provider: &Provider| {
        let dialect = provider.dialect.clone().unwrap_or_else(|| "none".to_owned());
        [provider.name.clone(), dialect, key(provider.key.as_ref()), place(provider)]
    };
    table(&mut drawn, ["provider", "dialect", "key", "base URL"], providers.iter().map(row).collect());
    if !models.is_empty() {
        drawn.push('\n');
        let row = |Entry { name, provider, model, base_url, credential: _ }: &Entry| {
            [name.clone(), provider.clone(), model.clone(), base_url.clone().unwrap_or_default()]
        };
        table(
            &mut drawn,
            ["model", "provider", "its name there", "base URL of its own"],
            models.iter().map(row).collect(),
        );
    }
    drawn
}

fn key(key: Option<&Key>) -> String {
    let Some(Key { credential, source, name, file, set }) = key else { return "none needed".to_owned() };
    let name = name.as_deref().unwrap_or_default();
    let state = |yes: &'static str, no: &'static str| if *set == Some(false) { no } else { yes };
    match source {
        KeySource::Variable => format!("{name}: {}", state("set", "not set")),
        KeySource::File => {
            let file = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            format!("file {file}: {}", state("there", "not there"))
        }
        KeySource::Value => "in the policy file".to_owned(),
        KeySource::Command => format!("command {name}"),
        KeySource::Profile => format!("AWS profile {name}: {}", state("there", "not there")),
        KeySource::None => format!("[credentials.{credential}]: not there"),
    }
}

fn place(Provider { base_url, moved_by, missing, local, .. }: &Provider) -> String {
    let mut place = match (base_url, missing) {
        (Some(base_url), _) => base_url.clone(),
        (None, missing) => format!("none: set {}", missing.as_deref().unwrap_or("base_url")),
    };
    if let Some(variable) = moved_by {
        place.push_str(&format!(" (from {variable})"));
    }
    if *local {
        place.push_str(" (local)");
    }
    place
}

/// Columns two spaces apart, the last one as long as it is.
fn table(drawn: &mut String, heads: [&str; 4], rows: Vec<[String; 4]>) {
    let rows: Vec<[String; 4]> = rows.into_iter().map(|row| row.map(|cell| plain(&cell))).collect();
    let mut widths = heads.map(|head| head.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let heads = heads.map(str::to_owned);
    for row in [&heads].into_iter().chain(&rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        drawn.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        drawn.push('\n');
    }
}

/// What a file or a variable says may be repeated, but a terminal that shows it must not obey it.
fn plain(text: &str) -> String {
    text.chars().fold(String::new(), |shown, letter| match letter.is_control() {
        true => shown + &letter.escape_default().to_string(),
        false => shown + letter.encode_utf8(&mut [0; 4]),
    })
}
