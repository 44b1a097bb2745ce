//! The command line of Oneshift.
#![allow(clippy::print_stderr, reason = "a command line talks to people")]

mod bench;
mod cli;
mod commands;
mod config;
mod failure;
mod supervisor;
mod view;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::config::Config;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    let config = Config::from_process();
    view::color::choose(cli.color, &config);
    // One thread, so that the children's parent-death signal is bound to the thread that lives as
    // long as this process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli, config)),
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the runtime")),
    };
    result.unwrap_or_else(|error| failure::report(&error))
}
