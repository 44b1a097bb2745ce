//! A worker's whole `main`.

use std::process::ExitCode;

use protocol::WorkerKind;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::{ConfigError, Environment};
use crate::hardening::Supervisor;
use crate::one_shot::{self, Exit, OneShot, OneShotConfig};
use crate::signals::StopSignals;
use crate::succession::{self, Predecessor, StopOrders};
use crate::{hardening, health, telemetry};

/// Runs a worker: reads the environment, binds, attaches, does its one job and returns the exit
/// code. `setup` turns the configuration that all workers share into the worker itself.
pub fn worker_main(
    kind: WorkerKind,
    setup: impl FnOnce(&Environment, OneShotConfig) -> Result<OneShot, ConfigError>,
) -> ExitCode {
    let hardened = hardening::harden();
    let environment = Environment::from_process();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let succession = match arguments.first().map(String::as_str) {
        None => None,
        Some("--version") => return print_version(kind),
        Some("health") => return tell_health(kind, &environment),
        Some(word) => match succession::read(&arguments) {
            Some(succession) => Some(succession),
            None => return refuse(kind, &unknown_argument(word)),
        },
    };
    let started = telemetry::start(&environment).and_then(|()| {
        if let Err(error) = hardened {
            tracing::warn!(%error, "this process may be read by others of the same user");
        }
        let supervisor = Supervisor::follow(&environment)?;
        let mut config = OneShotConfig::read(&environment, kind)?;
        if let Some((predecessor, is_leaving)) = succession {
            (config.succeeds, config.is_leaving) = (Some(predecessor), is_leaving);
        }
        Ok((setup(&environment, config)?.kept_by(supervisor), supervisor))
    });
    let lived = match started {
        Ok((worker, supervisor)) => live(worker, supervisor),
        Err(error) => return refuse(kind, &error),
    };
    lived.unwrap_or_else(|error| refuse(kind, &error))
}

/// The worker's life, and what comes after it.
fn live(worker: OneShot, supervisor: Option<Supervisor>) -> std::io::Result<ExitCode> {
    let with_job = worker.config().exit_with_job;
    let predecessor = Predecessor::of(&worker);
    let orders = StopOrders::default();
    if worker.config().is_leaving {
        orders.note();
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(run(worker, orders.clone()));
    // A blocking call that is still under way must not hold up the next worker.
    runtime.shutdown_background();
    let (exit, must_stay) = ended?;
    let is_forsaken = supervisor.is_some_and(Supervisor::is_gone);
    if let Some(predecessor) = predecessor.filter(|_| exit != Exit::Idle && !is_forsaken) {
        predecessor.begin_anew(&orders, must_stay);
    }
    Ok(exit.code(with_job))
}

async fn run(worker: OneShot, orders: StopOrders) -> std::io::Result<(Exit, bool)> {
    let address = worker.config().listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    // Before anybody is told of the address: who knows it may send a signal.
    let mut signals = StopSignals::listen()?;
    tracing::info!("listening on {}", listener.local_addr()?);
    if worker.config().cluster_token.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            "ONESHIFT_CLUSTER_TOKEN is not set: whoever can reach {address} may give this worker a job"
        );
    }
    let (stop, stops) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            signals.next().await;
            orders.note();
            // After the job's end it counts all the same: nobody is to begin anew then.
            let _ = stop.send(()).await;
        }
    });
    worker.run_and_retire(listener, stops).await
}

#[allow(clippy::print_stdout, reason = "the answer to --version")]
fn print_version(kind: WorkerKind) -> ExitCode {
    println!("{kind} {}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}

/// For health checks of containers: exit code 0 if the worker that runs here is live.
fn tell_health(kind: WorkerKind, environment: &Environment) -> ExitCode {
    let listen = match one_shot::listen(environment, kind) {
        Ok(address) => address,
        Err(error) => return refuse(kind, &error),
    };
    match health::probe(listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(kind, &error),
    }
}

fn unknown_argument(argument: &str) -> std::io::Error {
    let message = format!(
        "there is no argument {argument:?}; use --version, health (is the one that runs here \
         live?), or none. All settings are ONESHIFT_… variables"
    );
    std::io::Error::other(message)
}

/// Says on standard error why the worker cannot start; logging may not have begun yet.
#[allow(clippy::print_stderr, reason = "logging may not have begun yet")]
fn refuse(kind: WorkerKind, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{kind}: {error}");
    ExitCode::FAILURE
}
