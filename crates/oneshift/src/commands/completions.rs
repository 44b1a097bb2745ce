//! `oneshift completions`: what a shell needs to complete our arguments.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::view::out;

/// Prints a shell's completions.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "oneshift", &mut script);
    out::bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
