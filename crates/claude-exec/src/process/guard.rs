//! The worker's side of a guard process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use super::{AFTER_INTERRUPT, AFTER_TERMINATE, Cause, Ending, Program};
use crate::reaper::{INPUT_OPTION, Order, Report, SUBCOMMAND, hand_over, kill_all_below};

/// How the program is asked to end, and how long each way has. The guard itself gives up on
/// processes that resist SIGKILL after 1 s.
pub(super) const STOP_ORDERS: [(Order, Duration); 3] = [
    (Order::Interrupt, AFTER_INTERRUPT),
    (Order::Terminate, AFTER_TERMINATE),
    (Order::Kill, Duration::from_millis(1200)),
];

/// How long the worker itself sweeps when the guard did not; with the orders this stays below 5 s.
const SWEEP_PATIENCE: Duration = Duration::from_millis(300);

/// How long the report of a guard that has ended may take; it is in the socket's buffer by then.
const REPORT_PATIENCE: Duration = Duration::from_millis(100);

/// A running guard.
#[derive(Debug)]
pub(super) struct Guard {
    process: Child,
    control: UnixStream,
    status: Option<ExitStatus>,
}

/// The program's two outputs.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Guard {
    /// Starts `shim` as the guard of a program.
    pub(super) fn start(shim: &Path, program: Program<'_>) -> io::Result<(Self, Output)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        hand_over(&ours, program.lock.as_fd())?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(shim);
        command.arg(SUBCOMMAND);
        if let Some(input) = &program.input {
            command.arg(INPUT_OPTION).arg(input);
        }
        command.args(program.walls.to_options());
        command.arg("--").args(program.argv).current_dir(program.directory);
        command.env_clear().envs(program.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        // The command still holds the guard's end of the socket.
        drop(command);
        let stdout = process.stdout.take().expect("it was asked for above");
        let stderr = process.stderr.take().expect("it was asked for above");
        widen(&stdout);
        let guard = Self { process, control: UnixStream::from_std(ours)?, status: None };
        Ok((guard, Output { stdout, stderr }))
    }

    /// Gives an order; a guard that is gone needs none.
    pub(super) fn order(&mut self, order: Order) {
        let _ = self.control.try_write(&[order.to_byte()]);
    }

    /// Waits until the guard, and so all that was below it, has ended. May be called again.
    pub(super) async fn ended(&mut self) {
        if self.status.is_none() {
            self.status = self.process.wait().await.ok();
        }
    }

    /// Makes sure that the guard and all below it is gone, and says what it reported.
    pub(super) async fn bury(mut self) -> Burial {
        if self.status.is_none() && timeout(Duration::ZERO, self.ended()).await.is_err() {
            // Stopped by the agent, or stuck: the worker does its work.
            let _ = self.process.start_kill();
            let _ = timeout(REPORT_PATIENCE, self.ended()).await;
        }
        let report = self.report().await;
        if report.is_none() {
            sweep().await;
        }
        Burial { report }
    }

    async fn report(&mut self) -> Option<Report> {
        let mut text = String::new();
        // The program has no hold of the socket, so its end comes with the guard's.
        let _ = timeout(REPORT_PATIENCE, self.control.read_to_string(&mut text)).await;
        Report::parse(&text)
    }
}

/// What was found when the guard had ended.
#[derive(Debug)]
pub(super) struct Burial {
    report: Option<Report>,
}

impl Burial {
    /// How the program ended, if `cause` is why it was stopped.
    pub(super) fn into_ending(self, cause: Cause) -> Ending {
        let (found, exit_code, leftovers) = match self.report {
            Some(Report::Ended { exit_code, leftovers }) => {
                (Cause::Exited, Some(exit_code), leftovers)
            }
            Some(Report::NotStarted(error)) => {
                (Cause::NotStarted(io::Error::from_raw_os_error(error).to_string()), None, 0)
            }
            None => (Cause::GuardLost, None, 0),
        };
        let cause = if cause == Cause::Exited { found } else { cause };
        Ending { cause, exit_code, leftovers }
    }
}

/// Kills what a lost guard left to the worker. Only where the worker is a subreaper: elsewhere, as
/// in tests, it would find children that are none of its business.
async fn sweep() {
    if !rustix::process::child_subreaper().is_ok_and(|reaper| reaper.is_some()) {
        return;
    }
    let this: Pid = rustix::process::getpid();
    let killed =
        tokio::task::spawn_blocking(move || kill_all_below(this, SWEEP_PATIENCE)).await.ok();
    tracing::warn!(?killed, "the agent's guard was lost; swept up what it left");
}

/// A bigger pipe means fewer switches between the program and its reader.
fn widen(pipe: &ChildStdout) {
    const PIPE_BYTES: usize = 256 * 1024;
    // Refused when the user's quota of pipe memory is used up; then it stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
}
