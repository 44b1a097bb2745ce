//! The gateway's process.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gateway::{Config, StartError};
use service::hardening::Supervisor;
use service::one_shot::listen_address;
use service::signals::StopSignals;
use service::{Environment, hardening, health, telemetry};
use tokio::net::TcpListener;

/// Front door: accepts, remembers and matches jobs. Everything else is set by ONESHIFT_… variables.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Let everybody do everything, also from other machines.
    #[arg(long)]
    no_auth: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Exit with 0 if the gateway that runs here is live: for health checks of containers.
    Health,
}

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] service::ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: std::net::SocketAddr, cause: std::io::Error },
    #[error("the gateway does not answer: {0}")]
    Unhealthy(std::io::Error),
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

fn main() -> ExitCode {
    let hardened = hardening::harden();
    let arguments = Arguments::parse();
    match start(&arguments, hardened) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

fn start(arguments: &Arguments, hardened: std::io::Result<()>) -> Result<(), Failure> {
    let environment = Environment::from_process();
    if let Some(Command::Health) = arguments.command {
        let address = listen_address(&environment, gateway::DEFAULT_PORT)?;
        return health::probe(address).map_err(Failure::Unhealthy);
    }
    telemetry::start(&environment)?;
    if let Err(error) = hardened {
        tracing::warn!(%error, "this process may be read by others of the same user");
    }
    Supervisor::follow(&environment)?;
    let config = Config::read(&environment, arguments.no_auth)?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(config));
    // Nothing of consequence can be left: the store is closed.
    runtime.shutdown_background();
    result
}

/// Each follower is an open file, and the usual soft limit of 1,024 is for programs that use
/// `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn run(config: Config) -> Result<(), Failure> {
    let address = config.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|cause| Failure::Listen { address, cause })?;
    // Before anybody is told of the address: who knows it may send a signal.
    let mut signals = StopSignals::listen()?;
    tracing::info!("listening on {}", listener.local_addr()?);
    gateway::serve(config, listener, async move { signals.next().await }).await?;
    Ok(())
}

/// Says on standard error why the gateway cannot run; logging may not have begun yet.
#[allow(clippy::print_stderr, reason = "logging may not have begun yet")]
fn refuse(error: &Failure) -> ExitCode {
    eprintln!("gateway: {error}");
    ExitCode::FAILURE
}
