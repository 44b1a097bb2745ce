//! One job's way from its acceptance to its end.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use service::protocol::request::OnConflict;
use service::protocol::{JobId, Outcome, Reason, State, WorkerId};

use super::groups::GroupKey;
use super::lanes::Agent;
use super::parkings::Limited;
use super::pauses::pause_before;
use super::ready::{Account, Entry};
use super::wait::Told;

/// How often a job is given to a worker that is lost before the agent has begun.
const MAX_LOST_ATTEMPTS: u32 = 3;

/// A place among the jobs of one account or one concurrency key: higher priority first, then the
/// older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    pub(crate) priority: i32,
    /// The job's row in the store, which grows with each job.
    pub(crate) row: i64,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        other.priority.cmp(&self.priority).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What the scheduler must know of a job that asks to be admitted.
#[derive(Clone, Debug)]
pub(crate) struct NewJob {
    pub(crate) account: Account,
    pub(crate) agent: Agent,
    pub(crate) priority: i32,
    pub(crate) retries: u32,
    pub(crate) group: Option<GroupKey>,
    pub(crate) on_conflict: OnConflict,
}

/// What the scheduler must know of a job from before a restart.
#[derive(Clone, Debug)]
pub(crate) struct Restored {
    pub(crate) account: Account,
    pub(crate) agent: Agent,
    pub(crate) rank: Rank,
    pub(crate) retries: u32,
    pub(crate) retries_used: u32,
    pub(crate) attempt: u32,
    pub(crate) agent_started: bool,
    pub(crate) cancel: Option<Reason>,
    /// What is left of its pause before the next attempt.
    pub(crate) pause: Duration,
    pub(crate) group: Option<GroupKey>,
    /// The worker that had it.
    pub(crate) running_on: Option<WorkerId>,
}

/// What becomes of a job after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It ends with this outcome.
    End(Box<Outcome>),
    /// It goes back to the queue.
    Requeue {
        /// Why, in words.
        reason: String,
        /// How many of its retries are used up now.
        retries_used: u32,
        /// How long to wait before it may be started.
        pause: Duration,
    },
}

/// What can happen to a job now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is about to be committed.
    Admitted,
    /// It waits.
    Queued,
    /// It waits until it may wait in the queue again.
    Paused { until: Instant },
    /// A runner sees to it.
    Running,
    /// It was running before a restart, and its worker may come back.
    Orphaned { worker: WorkerId },
    /// Its way back to the queue is about to be committed.
    Requeueing,
    /// Its terminal event is about to be committed.
    Ending,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) phase: Phase,
    pub(super) account: Account,
    pub(super) agent: Agent,
    /// Whether it counts as running on its account.
    pub(super) is_served: bool,
    pub(super) rank: Rank,
    pub(super) group: Option<GroupKey>,
    pub(super) on_conflict: OnConflict,
    pub(super) attempt: u32,
    pub(super) retries: u32,
    pub(super) retries_used: u32,
    pub(super) agent_started: bool,
    pub(super) cancel: Option<Reason>,
    /// How long to wait before it goes back into the queue.
    pub(super) pause: Duration,
    /// What its followers have been told that it waits for, since it last began to wait.
    pub(super) told: Option<Told>,
}

impl Job {
    pub(super) fn admitted(new: NewJob) -> Self {
        Self {
            phase: Phase::Admitted,
            account: new.account,
            agent: new.agent,
            is_served: false,
            rank: Rank { priority: new.priority, row: 0 },
            group: new.group,
            on_conflict: new.on_conflict,
            attempt: 0,
            retries: new.retries,
            retries_used: 0,
            agent_started: false,
            cancel: None,
            pause: Duration::ZERO,
            told: None,
        }
    }

    pub(super) fn restored(restored: Restored) -> Self {
        let orphaned = |worker| Phase::Orphaned { worker };
        Self {
            phase: restored.running_on.map_or(Phase::Queued, orphaned),
            account: restored.account,
            agent: restored.agent,
            is_served: restored.running_on.is_some(),
            rank: restored.rank,
            group: restored.group,
            on_conflict: OnConflict::Queue,
            attempt: restored.attempt,
            retries: restored.retries,
            retries_used: restored.retries_used,
            agent_started: restored.agent_started,
            cancel: restored.cancel,
            pause: restored.pause,
            told: Some(Told::Earlier),
        }
    }

    pub(super) fn entry(&self, id: JobId) -> Entry {
        let (account, agent) = (self.account.clone(), self.agent.clone());
        Entry { id, rank: self.rank, account, agent }
    }

    /// Decides between the end and another attempt; `limited` is what it would wait for with the other
    /// jobs of its agent.
    pub(super) fn judge(
        &self,
        id: JobId,
        outcome: Outcome,
        limited: Option<&Limited>,
        now: Instant,
    ) -> Verdict {
        if let Some(reason) = self.cancel {
            return Verdict::End(Box::new(cancelled(outcome, reason)));
        }
        let is_lost = matches!(
            outcome.reason,
            Some(Reason::WorkerLost | Reason::WorkerStopped | Reason::CallerLost)
        );
        if is_lost && !self.agent_started && self.attempt < MAX_LOST_ATTEMPTS {
            let message = outcome.message;
            let reason = format!("attempt {} failed: {message}; trying again", self.attempt);
            let (retries_used, pause) = (self.retries_used, Duration::ZERO);
            return Verdict::Requeue { reason, retries_used, pause };
        }
        if outcome.retryable && self.retries_used < self.retries {
            let retries_used = self.retries_used + 1;
            let pause = pause_before(id, retries_used);
            let (retries, message) = (self.retries, outcome.message);
            let retry = format!("retry {retries_used} of {retries}");
            if let Some(limited) = limited
                && limited.ends > now + pause
            {
                // It keeps its place among them.
                let reason = format!("{limited}; {retry} follows then: {message}");
                return Verdict::Requeue { reason, retries_used, pause: Duration::ZERO };
            }
            let seconds = pause.as_secs_f64().ceil();
            let reason = format!("{retry} in {seconds} s: {message}");
            return Verdict::Requeue { reason, retries_used, pause };
        }
        Verdict::End(Box::new(outcome))
    }
}

/// The outcome of a job that was asked to end. What it reached before that stands.
fn cancelled(mut outcome: Outcome, reason: Reason) -> Outcome {
    if outcome.state == State::Completed {
        return outcome;
    }
    let wanted = cancellation(reason);
    outcome.state = wanted.state;
    outcome.reason = wanted.reason;
    outcome.message = wanted.message;
    outcome.retryable = false;
    outcome.retry_at = None;
    outcome
}

/// The outcome of a job that was cancelled before it had any other.
pub(crate) fn cancellation(reason: Reason) -> Outcome {
    let message = match reason {
        Reason::Superseded => "a newer job with the same concurrency key took its place",
        Reason::CallerLost => "the caller went away, and had asked for the job's end then",
        _ => "the job was cancelled",
    };
    Outcome::cancelled(reason, message)
}
