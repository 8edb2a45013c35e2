//! The command line: one file a command.
//!
//! Runs first in the binary, on what `main` read: the arguments and the environment. Stdout is data, stderr is talk; all
//! output can be read without colour. Invariant: whatever goes wrong is one line that says what and where, a `hint:` line
//! where something would change it, and a documented exit code.

mod complete;
mod serve;
mod prompt;
mod print;
mod models;
mod policy;
mod demo;
mod completions;
mod waterfall;

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use seaway_session::{Environment, Kind, Session};

use crate::config::Config;
use crate::runtime::{CallError, Limits, Runtime, Source, StartError};

/// LLM completions in a WebAssembly component, over an HTTP session that the host owns.
#[derive(Debug, Parser)]
#[command(name = "seaway", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  the completion failed: the provider, the network, the session's policy, or the component
  2  the command line, the file or the environment is wrong; nothing was sent

Log lines go to stderr; SEAWAY_LOG sets what is logged (warn by default; SEAWAY_LOG=seaway=debug says more).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make one completion and print its answer.
    Complete(Box<complete::Arguments>),
    /// Serve OpenAI's HTTP API.
    Serve(serve::Arguments),
    /// List the providers, whether their keys are set, and the models of the file. Nothing is sent.
    Models(models::Arguments),
    /// Write a policy file, or say what is wrong with one.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Show the main job without a key and without the network.
    Demo(demo::Arguments),
    /// Print a completion script for a shell.
    Completions(completions::Arguments),
}

/// Runs the command that `arguments` name, in the process's own `environment`.
#[must_use]
pub fn run(arguments: Arguments, environment: &Environment) -> ExitCode {
    let outcome = match arguments.command {
        Command::Complete(arguments) => complete::run(*arguments, environment),
        Command::Serve(arguments) => serve::run(arguments, environment),
        Command::Models(arguments) => models::run(&arguments, environment),
        Command::Policy(command) => policy::run(command, environment),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Why a command did not work: one line, perhaps a hint, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// The completion failed: exit code 1.
    fn failed(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, code: 1 }
    }

    /// The command line, the file or the environment is wrong: exit code 2.
    fn usage(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, code: 2 }
    }

    /// Nobody reads on: the command ends early and well.
    fn quiet() -> Self {
        Self { message: String::new(), hint: None, code: 0 }
    }

    fn with_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            say(format_args!("error: {}", self.message));
        }
        if let Some(hint) = &self.hint {
            say(format_args!("hint: {hint}"));
        }
        ExitCode::from(self.code)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        // A secret that is not there is the environment's or the file's.
        let is_ours = matches!(&error, CallError::Session(error) if error.kind() == Kind::SecretMissing);
        let failure = if is_ours { Self::usage(&error) } else { Self::failed(&error) };
        failure.with_hint(error.hint())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::usage(&error).with_hint(error.hint())
    }
}

impl From<seaway_session::policy::Error> for Failure {
    fn from(error: seaway_session::policy::Error) -> Self {
        Self::usage(error)
    }
}

/// Says something on stderr. It is talk: where nobody reads it, nothing is lost.
fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What a command needs to make completions.
struct Started {
    config: Config,
    runtime: Runtime,
}

/// Reads the file and starts a session and a runtime.
fn start(
    file: Option<&Path>,
    component: Option<PathBuf>,
    environment: &Environment,
    shrink: impl FnOnce(Limits) -> Limits,
) -> Result<Started, Failure> {
    begin(Config::load(file, environment)?, component, environment, shrink)
}

/// Starts a session and a runtime.
fn begin(
    config: Config,
    component: Option<PathBuf>,
    environment: &Environment,
    shrink: impl FnOnce(Limits) -> Limits,
) -> Result<Started, Failure> {
    for warning in &config.warnings {
        say(format_args!("warning: {warning}"));
    }
    let session = Session::new(config.policy.clone(), environment, config.destinations.clone())?;
    let source = component.map_or(Source::Embedded, Source::File);
    let runtime = Runtime::new(shrink(config.limits.clone()), &source, session, config.models())?;
    Ok(Started { config, runtime })
}
