//! `seaway serve`: the component as a gateway for OpenAI's clients.
//!
//! Stdout is the access log; where it listens, and what becomes of the file while it runs, is talk. Invariant: whatever is
//! wrong at the start ends it before it listens.

use std::path::PathBuf;

use seaway_session::Environment;
use seaway_session::policy::Preset;

use super::{Failure, Started, begin, say};
use crate::config::Config;
use crate::reload::{Reload, Swapper};
use crate::serve::{Address, Ended, Server, Stop};

const ABOUT: &str = "\
Clients speak OpenAI's API to it: POST /v1/chat/completions, GET /v1/models; POST /chat takes a prompt and gives a text.
GET /healthz says whether it lives, GET /readyz whether it takes calls.

SIGTERM and SIGINT: it takes no further call, and ends once those under way have, or `drain.grace` is over; a second
signal ends it at once. SIGHUP, or a change of the file, puts the file in force as it is now.

Traces go to the collector that `[serve.otel] endpoint` or OTEL_EXPORTER_OTLP_ENDPOINT names, as the other OTEL_* variables
say, in a build with the cargo feature `otel`.

Examples:
  seaway serve
  seaway serve --listen unix:/run/seaway.sock
  SEAWAY_LOG=info seaway serve --config /etc/seaway/seaway.toml

Exit codes: 0 it ended with no answer cut, 1 answers were cut, 2 the command line, the file or the environment is wrong.";

/// Arguments of `seaway serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = ABOUT)]
pub(super) struct Arguments {
    /// Where to listen: an address with a port, or `unix:PATH`. By default `[serve] listen`, else 127.0.0.1:4000.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Address>,
    /// The file. By default SEAWAY_CONFIG, else ./seaway.toml, else built-in defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A component to run instead of the one that is built in.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments, environment: &Environment) -> Result<(), Failure> {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let executor = executor.map_err(|error| Failure::failed(format_args!("the executor does not start: {error}")))?;
    executor.block_on(serve(arguments, environment))
}

async fn serve(arguments: Arguments, environment: &Environment) -> Result<(), Failure> {
    let Arguments { listen, config, component } = arguments;
    // Before anything else: a signal that comes while the component is compiled is not lost.
    let signals = |error| Failure::failed(format_args!("the process cannot listen to signals: {error}"));
    let stop = Stop::at_signals().map_err(signals)?;
    let mut config = Config::load_under(Preset::Production, config.as_deref(), environment)?;
    if let Some(listen) = listen {
        (config.serve.listen, config.serve.given) = (listen, true);
    }
    let Started { config, runtime } = begin(config, component, environment, |limits| limits)?;
    let server = Server::bind(&config, environment, runtime.clone()).await?;
    say(format_args!("listening on {}", server.address()));
    if let Some(admin) = server.admin() {
        say(format_args!("administered on {admin}"));
    }
    let swapper = Swapper::new(&config, environment.clone(), runtime);
    let reload = Reload::watching(&config, swapper.clone());
    let server = server.follow(swapper);
    let watch = async {
        match reload {
            Some(reload) => reload.run().await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = server.run(stop) => ended,
        Err(error) = watch => return Err(signals(error)),
    };
    match ended {
        Ended { cut: 0, .. } => Ok(()),
        Ended { cut, at_once: false } => {
            Err(Failure::failed(format_args!("{cut} answers were cut at the end of the grace (`drain.grace`)")))
        }
        Ended { cut, at_once: true } => {
            Err(Failure::failed(format_args!("{cut} answers were cut at the second signal")))
        }
    }
}
