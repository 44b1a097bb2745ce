//! Runs a step on a thread that may block, and ends it when the job is stopped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service::one_shot::Job;
use service::protocol::event::{StepEvent, StepState};
use service::protocol::{Outcome, Payload, Reason, Step};
use service::workspace::Workspace;
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::progress::Progress;

/// How long a stopped step may take to notice; every wait looks several times a second.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How a step uses the job's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It changes what is there, which nobody else may do meanwhile.
    Alone,
    /// It only reads, if need be while somebody else still works there after this time.
    ToRead(Duration),
}

/// How a step came to its end.
pub(crate) enum Ended<T> {
    /// With a result, after so many milliseconds.
    Done(T, u64),
    /// With an outcome that ends the job.
    Early(Box<Outcome>),
}

/// Runs what `prepare` returns while nobody else works in the job's folder; the step's start and
/// its failure are told here, its completion by the caller.
pub(crate) async fn step<T, W>(
    (step, usage): (Step, Use),
    job: &Job,
    workspace: &Workspace,
    prepare: impl FnOnce(Job, Progress, CancellationToken) -> W,
) -> Ended<T>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Fault> + Send + 'static,
{
    let started = Instant::now();
    job.emit(Payload::Step(Box::new(StepEvent::new(step, StepState::Started))));
    let lock = match usage {
        Use::Alone => workspace.lock_job(job, step).await.map(Some),
        Use::ToRead(patience) => workspace.lock_job_to_read(job, step, patience).await,
    };
    let lock = match lock {
        Ok(lock) => lock,
        Err(outcome) => return Ended::Early(Box::new(failed(step, job, *outcome, started))),
    };
    let emitter = job.clone();
    let progress = Progress::new(Arc::new(move |payload| emitter.emit(payload)));
    let stop = CancellationToken::new();
    let work = prepare(job.clone(), progress, stop.clone());
    let mut work = tokio::task::spawn_blocking(move || {
        // Until the thread is out of the folder, even if nobody waits for it any more.
        let _lock = lock;
        work()
    });
    let result = tokio::select! {
        result = &mut work => result,
        reason = job.stopped() => {
            stop.cancel();
            // What it still finds out does not matter; that it is out of the folder does.
            let _ = tokio::time::timeout(STOP_GRACE, work).await;
            let outcome = reason.into_outcome();
            return Ended::Early(Box::new(failed(step, job, outcome, started)));
        }
    };
    match result {
        Ok(Ok(value)) => Ended::Done(value, milliseconds_since(started)),
        Ok(Err(fault)) => {
            tracing::info!(reason = ?fault.reason(), "{} failed: {fault}", step.name());
            Ended::Early(Box::new(failed(step, job, fault.outcome(), started)))
        }
        Err(error) => {
            tracing::error!("{} broke down: {error}", step.name());
            let message = "git-pull itself failed; its log says why";
            let outcome = Outcome::failed(Reason::InternalError, message);
            Ended::Early(Box::new(failed(step, job, outcome, started)))
        }
    }
}

fn failed(step: Step, job: &Job, mut outcome: Outcome, started: Instant) -> Outcome {
    let milliseconds = milliseconds_since(started);
    let mut event = StepEvent::new(step, StepState::Failed);
    event.reason = outcome.reason;
    event.message = Some(outcome.message.clone());
    event.duration_ms = Some(milliseconds);
    job.emit(Payload::Step(Box::new(event)));
    match step {
        Step::Deliver => outcome.durations.deliver_ms = Some(milliseconds),
        _ => outcome.durations.pull_ms = Some(milliseconds),
    }
    outcome
}

fn milliseconds_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
