//! The job as the shift sees it.

use std::sync::{Arc, OnceLock};

use client::NamedJob;
use jiff::{Timestamp, Unit};
use protocol::job::JobState;
use protocol::sse::Frame;
use protocol::{Event, JobId, Outcome, Payload, Reason};
use tokio::sync::watch;

use super::log::EventLog;

/// A job in its worker: who it is, where its events go, and whether it must stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) shared: Arc<Shared>,
}

/// How much a job may say, in bytes of JSON: the gateway keeps less, a worker alone has only a disk.
const MAX_CHATTER_BYTES: u64 = 1024 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: JobId,
    pub(super) attempt: u32,
    pub(super) is_named: bool,
    pub(super) needs_confirmation: bool,
    pub(super) created_at: Timestamp,
    pub(super) log: Arc<EventLog>,
    pub(super) outcome: OnceLock<Outcome>,
    pub(super) stop: watch::Sender<Option<Stop>>,
}

/// Why a job must end before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The outcome's reason.
    pub reason: Reason,
    /// The outcome's sentence.
    pub message: String,
}

impl Stop {
    /// A stop for this reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A stop that somebody asked for who knows more of the job than its worker does.
    #[must_use]
    pub fn asked(reason: Reason) -> Self {
        let message = match reason {
            Reason::CancelRequested => "the caller cancelled the job",
            Reason::Superseded => "a newer job with the same concurrency key took its place",
            Reason::CallerLost => "the caller went away",
            Reason::WorkerStopped => "the worker that has the whole job was told to stop",
            Reason::WorkerLost => "the worker that had the whole job was taken for lost",
            _ => return Self::new(reason, format!("the job was asked to end: {reason}")),
        };
        Self::new(reason, message)
    }

    /// Whether somebody wished it, and nothing went wrong.
    #[must_use]
    pub fn is_cancellation(&self) -> bool {
        matches!(self.reason, Reason::CancelRequested | Reason::Superseded)
    }

    /// The outcome of a job that was stopped: cancelled if somebody wished it, failed otherwise.
    #[must_use]
    pub fn into_outcome(self) -> Outcome {
        match self.is_cancellation() {
            true => Outcome::cancelled(self.reason, self.message),
            false => Outcome::failed(self.reason, self.message),
        }
    }
}

impl Job {
    /// A job that nobody watches, for the tests of a shift's parts.
    #[must_use]
    pub fn detached() -> Self {
        Self::new(None)
    }

    /// The same with this id, as of a job whose folder another worker has made.
    #[must_use]
    pub fn detached_as(id: JobId) -> Self {
        Self::detached_in(id, 1)
    }

    /// The same in this attempt.
    #[must_use]
    pub fn detached_in(id: JobId, attempt: u32) -> Self {
        Self::new(Some(NamedJob { id, attempt, needs_confirmation: false }))
    }

    /// A job as its caller named it, or under a new id.
    pub(super) fn new(named: Option<NamedJob>) -> Self {
        let (stop, _) = watch::channel(None);
        let unnamed = || NamedJob { id: JobId::random(), attempt: 1, needs_confirmation: false };
        let NamedJob { id, attempt, needs_confirmation } = named.unwrap_or_else(unnamed);
        let shared = Shared {
            id,
            attempt,
            is_named: named.is_some(),
            needs_confirmation,
            created_at: now(),
            log: Arc::new(EventLog::new(id, MAX_CHATTER_BYTES)),
            outcome: OnceLock::new(),
            stop,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The job's id, the same at every hop.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.shared.id
    }

    /// Which attempt of the job this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.shared.attempt
    }

    /// Whether the caller named the job, and so may have worked in its folder before.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.shared.is_named
    }

    /// Appends an event to the job's log; never blocks.
    pub fn emit(&self, payload: Payload) {
        self.shared.log.append(&Event { payload, job_id: self.shared.id, at: now() });
    }

    /// Ends the job; later outcomes and events are dropped.
    pub(super) fn end(&self, outcome: Outcome) {
        if self.shared.outcome.set(outcome.clone()).is_ok() {
            self.emit(outcome.into_payload());
        }
    }

    /// The job as `GET /api/jobs/{id}` of a worker shows it.
    pub(super) fn view(&self) -> protocol::job::Job {
        let Shared { id, attempt, created_at, log, outcome, .. } = &*self.shared;
        let outcome = outcome.get().cloned();
        protocol::job::Job {
            id: *id,
            state: outcome.as_ref().map_or(JobState::Running, |outcome| outcome.state.into()),
            created_at: *created_at,
            started_at: Some(*created_at),
            finished_at: None,
            attempt: *attempt,
            submitted_by: None,
            request: serde_json::json!({}),
            queued: None,
            last_event: log.head().last,
            outcome,
        }
    }

    /// Appends events of the same job that another worker made; only their ids change.
    pub fn relay(&self, frames: &[Frame]) {
        self.shared.log.append_frames(frames);
    }

    /// Asks the job to end; only the first reason counts.
    pub fn request_stop(&self, stop: Stop) {
        self.shared.stop.send_if_modified(|current| {
            let is_first = current.is_none();
            if is_first {
                *current = Some(stop);
            }
            is_first
        });
    }

    /// Why the job must end, if it must.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        self.shared.stop.borrow().clone()
    }

    /// Waits until the job must end.
    pub async fn stopped(&self) -> Stop {
        let mut stop = self.shared.stop.subscribe();
        let stop = stop.wait_for(Option::is_some).await.expect("the job holds the sender");
        stop.clone().expect("it was just seen")
    }

    /// All events so far, for tests.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.shared.log.all_events()
    }
}

/// The time, to the millisecond: more digits would only make events longer.
pub(super) fn now() -> Timestamp {
    Timestamp::now().round(Unit::Millisecond).expect("the clock is within jiff's range")
}
