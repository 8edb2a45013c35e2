//! `seaway completions`: the shell's own help with our commands.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Failure;

/// Arguments of `seaway completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  seaway completions bash > ~/.local/share/bash-completion/completions/seaway")]
pub(super) struct Arguments {
    /// Which shell.
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "seaway", &mut script);
    super::print::write(&script)
}
