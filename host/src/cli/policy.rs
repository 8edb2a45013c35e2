//! `seaway policy`: write a policy file, or say what is wrong with one.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use clap::Subcommand;
use seaway_session::policy::{self, Preset};
use seaway_session::{Environment, Session};

use super::{Failure, print, say};
use crate::config::{Config, FILE};
use crate::serve;

/// The commands of `seaway policy`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a file with every key, its meaning and its value.
    #[command(after_help = "Examples:\n  seaway policy init --preset production\n  seaway policy init - | less")]
    Init {
        /// The preset whose values are written: development, default, production or high-throughput.
        #[arg(long, value_name = "PRESET", default_value = "default", value_parser = preset)]
        preset: Preset,
        /// Replace a file that is there already.
        #[arg(long)]
        force: bool,
        /// Where to write; `-` is stdout.
        #[arg(value_name = "FILE", default_value = FILE)]
        file: PathBuf,
    },
    /// Read a file as every command would, and say what is wrong with it. Nothing is sent.
    #[command(after_help = "Examples:\n  seaway policy check\n  seaway policy check /etc/seaway/seaway.toml")]
    Check {
        /// The file. By default what every command would read: SEAWAY_CONFIG, else ./seaway.toml.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

fn preset(word: &str) -> Result<Preset, String> {
    Preset::parse(word).ok_or_else(|| {
        let known = Preset::ALL.map(Preset::word).join(", ");
        format!("there is no such preset; known: {known}")
    })
}

pub(super) fn run(command: Command, environment: &Environment) -> Result<(), Failure> {
    match command {
        Command::Init { preset, force, file } => init(preset, force, &file),
        Command::Check { file } => check(file, environment),
    }
}

fn init(preset: Preset, force: bool, file: &PathBuf) -> Result<(), Failure> {
    let text = policy::reference(preset);
    if file.as_os_str() == "-" {
        return print::write(text.as_bytes());
    }
    let written = match force {
        true => fs::write(file, &text),
        false => OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(file)
            .and_then(|mut new| new.write_all(text.as_bytes())),
    };
    match written {
        Ok(()) => {
            say(format_args!("wrote {}: check it with `seaway policy check {0}`", file.display()));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::usage(format_args!("{} is there already", file.display()))
                .with_hint(Some("--force replaces it")))
        }
        Err(error) => Err(Failure::usage(format_args!("{} cannot be written: {error}", file.display()))),
    }
}

fn check(file: Option<PathBuf>, environment: &Environment) -> Result<(), Failure> {
    let config = Config::load(file.as_deref(), environment)?;
    for warning in &config.warnings {
        say(format_args!("warning: {warning}"));
    }
    // Building the session finds what the text alone does not show: a certificate that cannot be read, an unusable proxy.
    Session::new(config.policy.clone(), environment, config.destinations.clone())?;
    serve::check(&config)?;
    if let Err(error) = config.serve.keys(environment) {
        say(format_args!("warning: `seaway serve` would not start here: {error}"));
    }
    let checked =
        config.path.as_ref().map_or_else(|| "the built-in defaults".to_owned(), |path| path.display().to_string());
    let Config { policy, table, .. } = &config;
    print::line(format_args!(
        "{checked}: fine; preset {}, {} providers, {} models",
        policy.preset,
        table.providers.len(),
        table.models.len()
    ))
}
