//! One step of a job, done by another worker whose events are passed on.

use std::time::Duration;

use serde_json::Value;
use service::client::{ClientError, Endpoint, EventStream, NamedJob, Patience, Submission};
use service::one_shot::{Job, Stop};
use service::protocol::event::is_terminal;
use service::protocol::sse::Frame;
use service::protocol::{ErrorCode, Event, Outcome, Payload, Reason, WorkerKind};
use tokio::time::{Instant, sleep, timeout};

use crate::heard::Heard;
use crate::workers::{Found, Place, Workers};

/// A wait shorter than this is not worth telling anybody of.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// Workers of a kind that cannot be reached for so long will not come back by themselves.
const UNREACHABLE_LIMIT: Duration = Duration::from_secs(60);

/// How long a worker may take to end its job when told to; it has 5 s for it by contract.
const STOP_WAIT: Duration = Duration::from_secs(6);

/// How long a step may take to end that has had its time already.
const CUT_WAIT: Duration = Duration::from_millis(300);

/// How long a worker may take to say that it ends its job: it says so at once, unless it hangs.
const STOP_ANSWER: Duration = Duration::from_millis(1500);

/// What one step needs.
pub(crate) struct Step<'a> {
    pub(crate) job: &'a Job,
    pub(crate) workers: &'a Workers,
    pub(crate) kind: WorkerKind,
    pub(crate) path: &'static str,
    pub(crate) body: Value,
    /// Where it must be done, if a step has been done somewhere already.
    pub(crate) place: Option<Place>,
    /// How long it goes on once the job must end; without it, its worker is told at once, and
    /// salvages by itself.
    pub(crate) grace: Option<Duration>,
}

/// How a step ended.
pub(crate) struct StepEnd {
    pub(crate) outcome: Outcome,
    /// Where it was done.
    pub(crate) place: Option<Place>,
    /// Since when its worker has known that the job must end, if it must.
    pub(crate) stopped_at: Option<Instant>,
    /// Whether its worker was lost in the midst of it.
    pub(crate) is_lost: bool,
}

impl StepEnd {
    fn without_worker(outcome: Outcome, place: Option<Place>) -> Self {
        Self { outcome, place, stopped_at: None, is_lost: false }
    }
}

/// Whether a worker has a step.
enum Taken {
    /// These are its events.
    Yes(Box<EventStream>),
    /// Nobody can tell: it may have died with the step.
    Perhaps,
    No,
}

/// What was read of a step's stream.
enum Read {
    /// All of it.
    Ended(Outcome),
    /// As much as there was: its worker is lost.
    Lost(Outcome),
}

impl Step<'_> {
    /// Does the step, or as much of it as there is time for when the job must end.
    pub(crate) async fn run(self) -> StepEnd {
        let (mut events, place) = match self.start().await {
            Ok(started) => started,
            Err(outcome) => return StepEnd::without_worker(*outcome, self.place),
        };
        let mut heard = Heard::of_worker_at(self.kind, place.as_ref());
        let read = tokio::select! {
            read = self.relay(&mut events, &mut heard) => Ok(read),
            stop = self.must_end() => Err(stop),
        };
        let (read, stopped_at) = match read {
            Ok(read) => (read, None),
            Err(stop) => {
                let stopped_at = Instant::now();
                (self.stop(stop, &mut events, &mut heard).await, Some(stopped_at))
            }
        };
        let is_lost = matches!(read, Read::Lost(_));
        let (Read::Ended(outcome) | Read::Lost(outcome)) = read;
        StepEnd { outcome, place, stopped_at, is_lost }
    }

    /// Resolves when the job must end and the step has had its time.
    async fn must_end(&self) -> Stop {
        let stop = self.job.stopped().await;
        if let Some(grace) = self.grace {
            sleep(grace).await;
        }
        stop
    }

    async fn start(&self) -> Result<(EventStream, Option<Place>), Box<Outcome>> {
        let waiting = async {
            sleep(SILENT_WAIT).await;
            let reason = format!("waits for an idle {}", self.kind);
            self.job.emit(Payload::Queued { position: 1, reason });
            std::future::pending::<()>().await;
        };
        tokio::select! {
            started = self.post() => started,
            stop = self.must_end() => Err(Box::new(stop.into_outcome())),
            () = waiting => unreachable!("waiting is pending at its end"),
        }
    }

    /// Posts the step to one worker after the other until one takes it.
    async fn post(&self) -> Result<(EventStream, Option<Place>), Box<Outcome>> {
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
                Ok(events) => return Ok((events, found.place)),
                Err(error) => error,
            };
            match self.whether_taken(&found, &error).await {
                Taken::Yes(events) => return Ok((*events, found.place)),
                Taken::Perhaps if self.kind == WorkerKind::ClaudeExec => {
                    let heard = &mut Heard::of_worker_at(self.kind, found.place.as_ref());
                    return Err(Box::new(self.broken_off(&found.endpoint, heard, &error)));
                }
                // To pull or to deliver a second time does no harm.
                Taken::Perhaps | Taken::No => {}
            }
            let is_busy = matches!(error.code(), Some(ErrorCode::Busy | ErrorCode::Unavailable));
            if is_busy {
                unreachable_since = None;
            } else if error.is_unreachable() {
                let since = *unreachable_since.get_or_insert_with(Instant::now);
                if since.elapsed() > UNREACHABLE_LIMIT {
                    return Err(Box::new(lost(self.kind, found.node(), &error)));
                }
            } else {
                return Err(Box::new(refused(self.kind, &error)));
            }
            self.workers.pause().await;
        }
    }

    /// Asks a worker whose answer got lost whether it has the step.
    async fn whether_taken(&self, found: &Found, error: &ClientError) -> Taken {
        if !matches!(error, ClientError::Unreachable { .. } | ClientError::Protocol { .. }) {
            return Taken::No;
        }
        let worker = &found.endpoint;
        match worker.job(self.job.id()).await {
            Ok(job) if job.attempt == self.job.attempt() => {
                let events = EventStream::new(worker.clone(), job.id, 0, Patience::WORKER);
                Taken::Yes(Box::new(events))
            }
            Ok(_) => Taken::No,
            // Behind a fixed address another process may answer already.
            Err(ClientError::Rejected { status: 404, .. }) if found.place.is_some() => Taken::No,
            Err(_) => Taken::Perhaps,
        }
    }

    async fn find(&self) -> Result<Found, Box<Outcome>> {
        let found = self.workers.find(self.kind, self.job.id(), self.place.as_ref()).await;
        found.map_err(|error| {
            tracing::error!(%error, kind = %self.kind, "the gateway gives no worker");
            let message = format!("the gateway gives no {}: {error}", self.kind);
            Box::new(match (error.code(), &self.place) {
                (Some(ErrorCode::NotFound), Some(place)) => {
                    let message = format!("{message}; the job's checkout is on {}", place.node);
                    Outcome::failed(Reason::WorkerLost, message)
                }
                _ => Outcome::failed(Reason::InternalError, message),
            })
        })
    }

    /// Passes events on until the terminal one, whose outcome it returns.
    async fn relay(&self, events: &mut EventStream, heard: &mut Heard) -> Read {
        loop {
            match events.next_batch().await {
                Ok(Some(mut frames)) => {
                    let terminal = frames.pop_if(|frame| is_terminal(&frame.event));
                    frames.retain(|frame| !matches!(frame.event.as_str(), "accepted" | "started"));
                    heard.hear(&frames);
                    self.job.relay(&frames);
                    if let Some(terminal) = terminal {
                        return Read::Ended(outcome_of(&terminal, self.kind));
                    }
                }
                Ok(None) => return self.lost(events, heard, &"its stream has no end"),
                Err(error) => return self.lost(events, heard, &error),
            }
        }
    }

    /// Tells the worker to end and passes on what it still has to say.
    async fn stop(&self, stop: Stop, events: &mut EventStream, heard: &mut Heard) -> Read {
        let worker = events.endpoint().clone();
        let hangs = async {
            let told = worker.stop(self.job.id(), stop.reason);
            if timeout(STOP_ANSWER, told).await.is_ok() {
                // Whatever it said, its stream will tell.
                std::future::pending::<()>().await;
            }
        };
        let wait = if self.grace.is_some() { CUT_WAIT } else { STOP_WAIT };
        let read = tokio::select! {
            read = timeout(wait, self.relay(events, heard)) => read.ok(),
            () = hangs => None,
        };
        let cause = "it did not end when it was told to";
        match read.unwrap_or_else(|| self.lost(events, heard, &cause)) {
            Read::Ended(step) => Read::Ended(stopped(stop, step)),
            Read::Lost(step) => Read::Lost(stopped(stop, step)),
        }
    }

    /// The end of a step that its worker cannot tell any more.
    fn lost(&self, events: &EventStream, heard: &mut Heard, cause: &dyn std::fmt::Display) -> Read {
        Read::Lost(self.broken_off(events.endpoint(), heard, cause))
    }

    fn broken_off(
        &self,
        worker: &Endpoint,
        heard: &mut Heard,
        cause: &dyn std::fmt::Display,
    ) -> Outcome {
        tracing::warn!(kind = %self.kind, worker = worker.base(), %cause, "a worker was lost");
        let mut outcome = lost(self.kind, heard.node(), cause);
        for payload in heard.break_off(&mut outcome) {
            self.job.emit(payload);
        }
        outcome
    }
}

/// The outcome of a stopped job: why it was stopped, with what its step had by then.
pub(crate) fn stopped(stop: Stop, step: Outcome) -> Outcome {
    let Outcome { state, reason, message, retryable, .. } = stop.into_outcome();
    Outcome { state, reason, message, retryable, ..step }
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

fn lost(kind: WorkerKind, node: Option<&str>, cause: &dyn std::fmt::Display) -> Outcome {
    let on = node.map(|node| format!(" on {node}")).unwrap_or_default();
    Outcome::failed(Reason::WorkerLost, format!("the {kind} worker{on} was lost: {cause}"))
}

fn refused(kind: WorkerKind, error: &ClientError) -> Outcome {
    let reason = match error.code() {
        Some(ErrorCode::NotAllowed | ErrorCode::NotSupported) => Reason::NotAllowed,
        _ => Reason::InternalError,
    };
    Outcome::failed(reason, format!("{kind} refuses the step: {error}"))
}
