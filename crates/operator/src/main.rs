//! Watches and changes the Docker Swarm that Oneshift runs on.
//!
//! It listens nowhere: it asks Docker, tells the gateway, and does what the gateway's answer says.
//! `snapshot` looks, `tally` counts, `problems` and `scaler` judge, `orders` and `spec` change, and
//! `operator` does all of it in turn.

mod config;
mod docker;
mod operator;
mod orders;
mod problems;
mod pulse;
mod report;
mod scaler;
mod snapshot;
mod spec;
mod tally;
#[cfg(test)]
mod testing;
mod text;
mod trouble;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service::signals::StopSignals;
use service::{Environment, hardening, telemetry};

use crate::config::Config;
use crate::operator::Operator;
use crate::pulse::Pulse;

/// Reports the cluster to the gateway, and changes it as the gateway says. Everything is set by
/// ONESHIFT_… variables and DOCKER_HOST.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Exit with 0 if the operator that runs here is alive: for health checks of containers.
    Health,
}

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] service::ConfigError),
    #[error("the operator does not show that it lives: {0}")]
    Unhealthy(std::io::Error),
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

fn main() -> ExitCode {
    let hardened = hardening::harden();
    match start(&Arguments::parse(), hardened) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

fn start(arguments: &Arguments, hardened: std::io::Result<()>) -> Result<(), Failure> {
    let pulse = Pulse::here();
    if let Some(Command::Health) = arguments.command {
        return pulse.check().map_err(Failure::Unhealthy);
    }
    let environment = Environment::from_process();
    telemetry::start(&environment)?;
    // bollard would write all that Docker answers, the services' environment too.
    log::set_max_level(log::LevelFilter::Info);
    if let Err(error) = hardened {
        tracing::warn!(%error, "this process may be read by others of the same user");
    }
    let config = Config::read(&environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = StopSignals::listen()?;
        tracing::info!("watching the stack {} at {}", config.stack, config.docker);
        tokio::select! {
            () = Operator::new(config, pulse).run() => {}
            () = signals.next() => tracing::info!("stopping"),
        }
        Ok(())
    })
}

/// Says on standard error why the operator cannot run; logging may not have begun yet.
#[allow(clippy::print_stderr, reason = "logging may not have begun yet")]
fn refuse(error: &Failure) -> ExitCode {
    eprintln!("operator: {error}");
    ExitCode::FAILURE
}
