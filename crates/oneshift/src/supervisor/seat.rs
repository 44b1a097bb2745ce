//! One place for a process, which is never empty for long.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::backoff::{Backoff, Ending};
use super::binaries::Binaries;
use super::environment::Surroundings;
use super::log_lines;
use super::service::Service;

/// How to start a service.
pub(crate) struct Launch {
    pub(super) service: Service,
    program: std::path::PathBuf,
    environment: std::collections::BTreeMap<std::ffi::OsString, std::ffi::OsString>,
}

impl Launch {
    pub(crate) fn new(binaries: &Binaries, surroundings: &Surroundings, service: Service) -> Self {
        let program = binaries.of(service).to_owned();
        Self { service, program, environment: surroundings.of(service) }
    }

    /// Starts a process, which ends with what is returned; what it writes to its standard error is
    /// printed.
    pub(crate) fn start(&self) -> std::io::Result<Child> {
        let mut child = Command::new(&self.program)
            .env_clear()
            .envs(&self.environment)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            // A Ctrl-C is for the supervisor, which tells its children in good order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(lines) = child.stderr.take() {
            // Ends with the pipe, which closes when the last process that holds it ends.
            tokio::spawn(log_lines::pass_on(self.service, lines));
        }
        Ok(child)
    }
}

/// What all seats of a group are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Keep a process running.
    Run,
    /// Ask the process to end, and start no other.
    Finish,
    /// End it at once.
    Kill,
}

/// Who is in a seat.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Occupant {
    /// The process; none between two.
    pub(crate) pid: Option<u32>,
    /// When the process before it was seen to have ended.
    pub(crate) predecessor_ended: Option<Instant>,
    /// How many processes in a row have ended badly.
    pub(crate) bad_endings: u32,
}

/// Keeps a process running until it is told otherwise.
pub(super) async fn keep(
    launch: Arc<Launch>,
    mut orders: watch::Receiver<Order>,
    occupant: watch::Sender<Occupant>,
) {
    let mut backoff = Backoff::default();
    while *orders.borrow() == Order::Run {
        let start = Instant::now();
        let ended = live(&launch, &mut orders, &occupant).await;
        let lived = start.elapsed();
        let is_well = ended.as_ref().is_ok_and(ExitStatus::success);
        occupant.send_modify(|occupant| {
            occupant.pid = None;
            occupant.predecessor_ended = Some(Instant::now());
            occupant.bad_endings = if is_well { 0 } else { occupant.bad_endings + 1 };
        });
        if *orders.borrow() != Order::Run {
            return;
        }
        let ending = if is_well { Ending::Well } else { Ending::Badly };
        let pause = backoff.after(ending, lived);
        if !pause.is_zero() {
            log_lines::print(launch.service, &complaint(&ended, lived, pause));
            let _ =
                tokio::time::timeout(pause, orders.wait_for(|order| *order != Order::Run)).await;
        }
    }
}

/// Starts a process and waits for its end, which orders may bring about.
async fn live(
    launch: &Launch,
    orders: &mut watch::Receiver<Order>,
    occupant: &watch::Sender<Occupant>,
) -> std::io::Result<ExitStatus> {
    let mut child = launch.start()?;
    occupant.send_modify(|occupant| occupant.pid = child.id());
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            changed = orders.changed() => {
                // Without anybody to give orders the time is over as well.
                let order = if changed.is_ok() { *orders.borrow_and_update() } else { Order::Kill };
                obey(order, &mut child);
                if changed.is_err() {
                    return child.wait().await;
                }
            }
        }
    }
}

fn obey(order: Order, child: &mut Child) {
    match order {
        Order::Run => {}
        Order::Finish => {
            let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            if let Some(pid) = pid {
                // Fails only if the process has ended, which `wait` is about to say.
                let _ = rustix::process::kill_process(pid, Signal::TERM);
            }
        }
        Order::Kill => {
            let _ = child.start_kill();
        }
    }
}

fn complaint(ended: &std::io::Result<ExitStatus>, lived: Duration, pause: Duration) -> String {
    let how = match ended {
        Ok(status) => format!("ended after {} ms with {status}", lived.as_millis()),
        Err(error) => format!("cannot be started: {error}"),
    };
    format!("{how}; starting it again in {} ms", pause.as_millis())
}
