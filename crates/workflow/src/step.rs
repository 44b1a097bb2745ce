//! One step of a job, done by another worker whose events are passed on.

use std::time::Duration;

use serde_json::Value;
use service::client::{ClientError, Endpoint, EventStream, NamedJob, Patience, Submission};
use service::one_shot::{Job, Stop};
use service::protocol::event::is_terminal;
use service::protocol::sse::Frame;
use service::protocol::{ErrorCode, Event, Outcome, Payload, Reason, WorkerKind, WorkspaceId};
use tokio::time::Instant;

use crate::workers::{Found, Workers};

/// A wait shorter than this is not worth telling anybody of.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// Workers of a kind that cannot be reached for so long will not come back by themselves.
const UNREACHABLE_LIMIT: Duration = Duration::from_secs(60);

/// How long a worker may take to end its job when told to; it has 5 s for it by contract.
const STOP_WAIT: Duration = Duration::from_secs(6);

/// What one step needs.
pub(crate) struct Step<'a> {
    pub(crate) job: &'a Job,
    pub(crate) workers: &'a Workers,
    pub(crate) kind: WorkerKind,
    pub(crate) path: &'static str,
    pub(crate) body: Value,
    pub(crate) workspace: Option<WorkspaceId>,
}

/// How a step ended.
pub(crate) struct StepEnd {
    pub(crate) outcome: Outcome,
    /// Where it was done.
    pub(crate) workspace: Option<WorkspaceId>,
    /// Since when its worker has known that the job must end, if it must.
    pub(crate) stopped_at: Option<Instant>,
}

impl StepEnd {
    fn unstopped(outcome: Outcome, workspace: Option<WorkspaceId>) -> Self {
        Self { outcome, workspace, stopped_at: None }
    }
}

impl Step<'_> {
    /// Does the step; if the job is stopped meanwhile, the worker is told and its salvage awaited.
    pub(crate) async fn run(self) -> StepEnd {
        let (mut events, workspace) = match self.start().await {
            Ok(started) => started,
            Err(outcome) => return StepEnd::unstopped(*outcome, self.workspace),
        };
        let outcome = tokio::select! {
            outcome = self.relay(&mut events) => Some(outcome),
            _ = self.job.stopped() => None,
        };
        match outcome {
            Some(outcome) => StepEnd { outcome, workspace, stopped_at: None },
            None => {
                let stopped_at = Some(Instant::now());
                StepEnd { outcome: self.stop(&mut events).await, workspace, stopped_at }
            }
        }
    }

    /// Does the step whether or not the job has been stopped.
    pub(crate) async fn run_to_its_end(self) -> StepEnd {
        match self.post().await {
            Ok((mut events, workspace)) => {
                StepEnd::unstopped(self.relay(&mut events).await, workspace)
            }
            Err(outcome) => StepEnd::unstopped(*outcome, self.workspace),
        }
    }

    async fn start(&self) -> Result<(EventStream, Option<WorkspaceId>), Box<Outcome>> {
        let waiting = async {
            tokio::time::sleep(SILENT_WAIT).await;
            let reason = format!("waits for an idle {}", self.kind);
            self.job.emit(Payload::Queued { position: 1, reason });
            std::future::pending::<()>().await;
        };
        tokio::select! {
            started = self.post() => started,
            stop = self.job.stopped() => Err(Box::new(stop.into_outcome())),
            () = waiting => unreachable!("waiting is pending at its end"),
        }
    }

    /// Posts the step to one worker after the other until one takes it.
    async fn post(&self) -> Result<(EventStream, Option<WorkspaceId>), Box<Outcome>> {
        let mut unreachable_since: Option<Instant> = None;
        loop {
            let found = self.find().await?;
            let submission = Submission {
                path: self.path,
                body: &self.body,
                job: Some(NamedJob {
                    id: self.job.id(),
                    attempt: self.job.attempt(),
                    needs_confirmation: false,
                }),
                idempotency_key: None,
            };
            let error = match found.endpoint.submit(submission, Patience::WORKER).await {
                Ok(events) => return Ok((events, found.workspace)),
                Err(error) => error,
            };
            if let Some(events) = self.taken_after_all(&found.endpoint, &error).await {
                return Ok((events, found.workspace));
            }
            let is_busy = matches!(error.code(), Some(ErrorCode::Busy | ErrorCode::Unavailable));
            if is_busy {
                unreachable_since = None;
            } else if error.is_unreachable() {
                let since = *unreachable_since.get_or_insert_with(Instant::now);
                if since.elapsed() > UNREACHABLE_LIMIT {
                    return Err(Box::new(lost(self.kind, &error)));
                }
            } else {
                return Err(Box::new(refused(self.kind, &error)));
            }
            self.workers.pause().await;
        }
    }

    /// The step's events at a worker whose answer got lost, if it took the step: a second worker must
    /// not be given the same step.
    async fn taken_after_all(&self, worker: &Endpoint, error: &ClientError) -> Option<EventStream> {
        if !matches!(error, ClientError::Unreachable { .. }) {
            return None;
        }
        let job = worker.job(self.job.id()).await.ok()?;
        let is_this_one = job.attempt == self.job.attempt();
        is_this_one.then(|| EventStream::new(worker.clone(), job.id, 0, Patience::WORKER))
    }

    async fn find(&self) -> Result<Found, Box<Outcome>> {
        let found = self.workers.find(self.kind, self.job.id(), self.workspace).await;
        found.map_err(|error| {
            tracing::error!(%error, kind = %self.kind, "the gateway gives no worker");
            let message = format!("the gateway gives no {}: {error}", self.kind);
            Box::new(Outcome::failed(Reason::InternalError, message))
        })
    }

    /// Passes events on until the terminal one, whose outcome it returns.
    async fn relay(&self, events: &mut EventStream) -> Outcome {
        loop {
            match events.next_batch().await {
                Ok(Some(mut frames)) => {
                    let terminal = frames.pop_if(|frame| is_terminal(&frame.event));
                    frames.retain(|frame| !matches!(frame.event.as_str(), "accepted" | "started"));
                    self.job.relay(&frames);
                    if let Some(terminal) = terminal {
                        return outcome_of(&terminal, self.kind);
                    }
                }
                Ok(None) => return lost(self.kind, &"its stream has no end"),
                Err(error) => return lost(self.kind, &error),
            }
        }
    }

    /// Tells the worker to end and passes on what it still has to say.
    async fn stop(&self, events: &mut EventStream) -> Outcome {
        let worker = events.endpoint().clone();
        let stop = self.job.stop().unwrap_or_else(|| Stop::asked(Reason::CancelRequested));
        let (told, relayed) = tokio::join!(
            worker.stop(self.job.id(), stop.reason),
            tokio::time::timeout(STOP_WAIT, self.relay(events)),
        );
        if let Err(error) = told {
            tracing::warn!(%error, kind = %self.kind, "cannot tell the worker to stop");
        }
        salvaged(stop, relayed.ok())
    }
}

/// The outcome of a stopped job: why it was stopped, with what its step had by then.
fn salvaged(stop: Stop, step: Option<Outcome>) -> Outcome {
    let stopped = stop.into_outcome();
    match step {
        Some(step) => Outcome {
            state: stopped.state,
            reason: stopped.reason,
            message: stopped.message,
            retryable: stopped.retryable,
            ..step
        },
        None => stopped,
    }
}

fn outcome_of(terminal: &Frame, kind: WorkerKind) -> Outcome {
    let event = serde_json::from_str::<Event>(&terminal.data);
    match event.ok().and_then(|event| event.payload.outcome().cloned()) {
        Some(outcome) => outcome,
        None => Outcome::failed(
            Reason::InternalError,
            format!("{kind} ended with an event that is not of this version's protocol"),
        ),
    }
}

fn lost(kind: WorkerKind, cause: &dyn std::fmt::Display) -> Outcome {
    tracing::warn!(%kind, %cause, "a worker was lost");
    Outcome::failed(Reason::WorkerLost, format!("the {kind} worker was lost: {cause}"))
}

fn refused(kind: WorkerKind, error: &ClientError) -> Outcome {
    let reason = match error.code() {
        Some(ErrorCode::NotAllowed | ErrorCode::NotSupported) => Reason::NotAllowed,
        _ => Reason::InternalError,
    };
    Outcome::failed(reason, format!("{kind} refuses the step: {error}"))
}
