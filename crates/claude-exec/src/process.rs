//! One guarded program: started, listened to, stopped at a limit, and gone with all it started.

mod guard;
mod listening;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use service::one_shot::{Job, Stop};
use service::workspace::JobLock;
use tokio::time::Instant;

use crate::confinement::Walls;
use crate::lines::Piece;
use guard::Guard;
use listening::{Heard, Listening};

/// What to run, and where.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// The program and its arguments.
    pub(crate) argv: Vec<OsString>,
    /// Its working directory.
    pub(crate) directory: &'a Path,
    /// Its whole environment.
    pub(crate) environment: &'a [(String, String)],
    /// The file that is its standard input; none for an empty one.
    pub(crate) input: Option<PathBuf>,
    /// What it cannot reach.
    pub(crate) walls: &'a Walls,
    /// What its guard holds until the program, and all that it started, is gone.
    pub(crate) lock: &'a JobLock,
}

/// What ends a program early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// When its time is over.
    pub(crate) end: Instant,
    /// How long it may be silent.
    pub(crate) silence: Duration,
}

/// Who hears what a program says.
pub(crate) trait Audience: Send {
    /// Longest line of standard output that is wanted in one piece, in bytes.
    fn longest_line(&self) -> usize;

    /// Hears a line of standard output.
    fn stdout(&mut self, piece: Piece<'_>) -> Reaction;

    /// Hears a line of standard error.
    fn stderr(&mut self, piece: Piece<'_>);
}

/// What follows from a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nothing.
    Listen,
    /// The program has said its last word, and should end by itself soon.
    ExpectEnd,
    /// There is no sense in letting the program go on.
    GiveUp,
}

/// Why a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// By itself.
    Exited,
    /// It never began; the system's error.
    NotStarted(String),
    /// It killed its guard, or the guard failed.
    GuardLost,
    /// The job was stopped.
    Stopped(Stop),
    /// Its time was over.
    TimedOut,
    /// It was silent for too long.
    Stalled,
    /// It was stopped some time after its last word.
    Lingered,
    /// It was stopped because its audience gave up on it.
    GivenUp,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Why.
    pub(crate) cause: Cause,
    /// Its exit code, 128 + n for signal n; none if it never began or cannot be known.
    pub(crate) exit_code: Option<i32>,
    /// How many processes it left behind, which were killed.
    pub(crate) leftovers: u32,
}

/// How long a program may take to end after its last word.
const LINGER: Duration = Duration::from_secs(10);

/// How long SIGINT has to work; the claude CLI writes its last record within that time.
const AFTER_INTERRUPT: Duration = Duration::from_secs(2);

/// How long SIGTERM has to work.
const AFTER_TERMINATE: Duration = Duration::from_secs(1);

/// Runs a program under a guard until it and all it started is gone.
///
/// # Errors
/// When the guard cannot be started.
pub(crate) async fn run(
    shim: &Path,
    program: Program<'_>,
    deadlines: Deadlines,
    job: &Job,
    audience: &mut dyn Audience,
) -> io::Result<Ending> {
    let (mut guard, output) = Guard::start(shim, program)?;
    let mut listening = Listening::new(output, audience);
    let cause = until_over(&mut guard, &mut listening, deadlines, job).await;
    if !matches!(cause, Cause::Exited) {
        stop(&mut guard, &mut listening).await;
    }
    let report = guard.bury().await;
    listening.drain().await;
    Ok(report.into_ending(cause))
}

/// Listens until the program ends by itself or must be stopped.
async fn until_over(
    guard: &mut Guard,
    listening: &mut Listening<'_>,
    deadlines: Deadlines,
    job: &Job,
) -> Cause {
    let mut linger_end = None;
    loop {
        let silent_at = listening.last_heard() + deadlines.silence;
        tokio::select! {
            heard = listening.next() => match heard {
                Heard::Said(Reaction::Listen) | Heard::End => {}
                Heard::Said(Reaction::ExpectEnd) => {
                    linger_end.get_or_insert_with(|| Instant::now() + LINGER);
                }
                Heard::Said(Reaction::GiveUp) => return Cause::GivenUp,
            },
            () = guard.ended() => return Cause::Exited,
            stop = job.stopped() => return Cause::Stopped(stop),
            () = tokio::time::sleep_until(linger_end.unwrap_or(deadlines.end)) => {
                return if linger_end.is_some() { Cause::Lingered } else { Cause::TimedOut };
            }
            () = tokio::time::sleep_until(silent_at), if linger_end.is_none() => {
                return Cause::Stalled;
            }
        }
    }
}

/// Asks the program to end, ever less kindly; it is listened to meanwhile.
async fn stop(guard: &mut Guard, listening: &mut Listening<'_>) {
    for (order, patience) in guard::STOP_ORDERS {
        guard.order(order);
        let until = Instant::now() + patience;
        loop {
            tokio::select! {
                _ = listening.next() => {}
                () = guard.ended() => return,
                () = tokio::time::sleep_until(until) => break,
            }
        }
    }
}
