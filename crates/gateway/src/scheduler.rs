//! Which job runs next, and what becomes of it: pure decisions, no I/O.
//!
//! The shell around it tells what happened (a job was committed, a worker was lost) and does what
//! it answers (commit an end, ask a runner to stop). A decision that must reach the disk first puts
//! the job into a phase in which nothing else can happen to it until the shell reports back.

#[cfg(test)]
mod fairness;
mod groups;
mod job;
mod lanes;
mod limits;
#[cfg(test)]
mod model;
mod parkings;
mod pauses;
mod ready;
#[cfg(test)]
mod tests;
mod view;
mod wait;
mod waiting;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use service::protocol::request::OnConflict;
use service::protocol::{JobId, Outcome, Reason, WorkerId};

use crate::job_ref::JobRef;
pub(crate) use groups::GroupKey;
use groups::Groups;
use job::{Job, Phase};
pub(crate) use job::{NewJob, Rank, Restored, Verdict, cancellation};
pub(crate) use lanes::Agent;
use lanes::Gate;
pub(crate) use limits::{Limits, Refusal};
use parkings::Parkings;
pub(crate) use parkings::{Limited, RateLimit};
pub(crate) use pauses::LONGEST as LONGEST_PAUSE;
pub(crate) use ready::Account;
use ready::Ready;
use wait::Told;
pub(crate) use wait::{News, Wait};
use waiting::Waiting;

/// Everything that has been accepted and has not ended.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    jobs: HashMap<JobId, Job>,
    /// Those that could run now.
    ready: Ready,
    waiting: Waiting,
    groups: Groups,
    /// Those that pause before another attempt, by when that is over.
    pauses: BTreeSet<(Instant, JobId)>,
    parkings: Parkings,
    /// Jobs whose followers may have to be told what they wait for.
    news: Vec<JobId>,
    /// Whether an agent was parked since the news were last taken.
    has_parked: bool,
    /// Jobs from before a restart, by the worker that had them.
    orphans: HashMap<WorkerId, JobId>,
    limits: Limits,
}

/// A job that is to be given to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) job: JobRef,
    pub(crate) attempt: u32,
}

/// What an admitted job's commit leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Jobs to be ended now, with these reasons.
    pub(crate) end: Vec<(JobRef, Reason)>,
    /// Jobs whose runners are to be asked to end.
    pub(crate) stop: Vec<JobRef>,
}

/// What a wish to end a job leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// Nothing works on it: commit its end, then report [`Scheduler::ended`].
    End(Reason),
    /// Its runner must be asked; or its end follows as soon as what is under way is committed.
    Stop,
    /// It is not here: it has ended, or never was.
    Unknown,
}

/// What a job does that has gone back to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// It waits again.
    Queued,
    /// It was cancelled meanwhile: commit its end.
    End(Reason),
    /// It is not in a phase from which it could go back.
    Unknown,
}

impl Scheduler {
    /// Reserves a place for a job that is about to be committed.
    ///
    /// # Errors
    /// When too many jobs wait already, or it does not want to wait for the job that holds its
    /// concurrency key.
    pub(crate) fn admit(&mut self, id: JobId, mut new: NewJob) -> Result<(), Refusal> {
        self.check_limits(&new.account)?;
        if let (Some(group), OnConflict::Reject) = (&new.group, new.on_conflict)
            && let Some(with) = self.groups.any_member(group)
        {
            return Err(Refusal::Conflict { with });
        }
        if let Some(group) = &new.group {
            self.groups.join(group, id);
        }
        new.account = self.ready.shared(new.account);
        new.agent = self.waiting.shared(new.agent);
        self.ready.join(&new.account);
        self.jobs.insert(id, Job::admitted(new));
        Ok(())
    }

    /// Forgets a job that was admitted and could not be committed.
    pub(crate) fn withdraw(&mut self, id: JobId) {
        if self.jobs.get(&id).is_some_and(|job| job.phase == Phase::Admitted) {
            self.ended(id);
        }
    }

    /// The admitted job is on disk, in this row of the store, and may run.
    pub(crate) fn committed(&mut self, id: JobId, row: i64) -> Admission {
        let mut admission = Admission::default();
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.phase == Phase::Admitted) else {
            return admission;
        };
        job.rank.row = row;
        let replaces = job.on_conflict == OnConflict::Replace;
        if let Some(group) = job.group.clone() {
            if replaces {
                self.groups.supersede(&group, row);
                self.cancel_superseded(&group, &mut admission);
            }
            // Commits may become known in another order than they were made.
            if self.groups.is_superseded(&group, row) {
                self.cancel(id, Reason::Superseded);
            }
        }
        match self.enqueue(id) {
            Back::End(reason) => admission.end.push((JobRef { id, row }, reason)),
            Back::Queued | Back::Unknown => {}
        }
        admission
    }

    /// Cancels the committed members in whose place a newer one is.
    fn cancel_superseded(&mut self, group: &GroupKey, admission: &mut Admission) {
        for id in self.groups.members(group) {
            let Some(job) = self.jobs.get(&id) else { continue };
            let row = job.rank.row;
            let is_settled = job.phase == Phase::Admitted || job.cancel.is_some();
            if is_settled || !self.groups.is_superseded(group, row) {
                continue;
            }
            let job = JobRef { id, row };
            match self.cancel(id, Reason::Superseded) {
                Cancel::End(reason) => admission.end.push((job, reason)),
                Cancel::Stop => admission.stop.push(job),
                Cancel::Unknown => {}
            }
        }
    }

    /// Puts a job back that the store remembers from before a restart; `now` is when its pause goes
    /// on, if it has one.
    pub(crate) fn restore(&mut self, id: JobId, mut restored: Restored, now: Instant) -> Back {
        if let Some(group) = &restored.group {
            self.groups.join(group, id);
        }
        restored.account = self.ready.shared(restored.account);
        restored.agent = self.waiting.shared(restored.agent);
        self.ready.join(&restored.account);
        let Some(worker) = restored.running_on else {
            self.jobs.insert(id, Job::restored(restored));
            return self.go_back(id, now);
        };
        self.ready.occupy(&restored.account);
        self.orphans.insert(worker, id);
        let job = Job::restored(restored);
        if let Some(group) = &job.group {
            self.groups.hold(group, &job.entry(id), &mut self.ready);
        }
        self.jobs.insert(id, job);
        Back::Queued
    }

    /// Takes the best job that may run; it counts one attempt more.
    pub(crate) fn start_next(&mut self, now: Instant) -> Option<Start> {
        let id = self.ready.take_next()?;
        let job = self.jobs.get_mut(&id).expect("what is ready is known");
        job.phase = Phase::Running;
        job.is_served = true;
        job.attempt += 1;
        job.agent_started = false;
        job.told = None;
        let start = Start { job: JobRef { id, row: job.rank.row }, attempt: job.attempt };
        self.waiting.leave(&job.agent, job.rank.priority);
        let (entry, group) = (job.entry(id), job.group.clone());
        if let Some(group) = &group {
            self.groups.hold(group, &entry, &mut self.ready);
        }
        self.begin_trial(&entry.agent, now);
        self.note_news(self.ready.next_at_limit(&entry.account));
        self.note_news(group.and_then(|group| self.groups.first_queued(&group)));
        Some(start)
    }

    /// No worker took the job after all, so the attempt does not count.
    ///
    /// The caller commits this, then calls [`Scheduler::requeued`].
    /// Returns the attempts and retries that are used up.
    pub(crate) fn give_back(&mut self, id: JobId) -> Option<(u32, u32)> {
        let job = self.jobs.get_mut(&id)?;
        if !matches!(job.phase, Phase::Running | Phase::Orphaned { .. }) {
            return None;
        }
        if let Phase::Orphaned { worker } = job.phase {
            self.orphans.remove(&worker);
        }
        job.phase = Phase::Requeueing;
        job.pause = Duration::ZERO;
        job.attempt = job.attempt.saturating_sub(1);
        Some((job.attempt, job.retries_used))
    }

    /// The job's agent works: from here on a lost worker is a failed job.
    pub(crate) fn agent_started(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.agent_started = true;
        }
    }

    /// A worker came back with this attempt of a job: whether the job waits for exactly that.
    pub(crate) fn reattached(
        &mut self,
        id: JobId,
        attempt: u32,
        worker: WorkerId,
    ) -> Option<Start> {
        let job = self.jobs.get_mut(&id)?;
        if job.phase != (Phase::Orphaned { worker }) || job.attempt != attempt {
            return None;
        }
        self.take_over(id)
    }

    /// A job's worker has not come back: what it left is to be seen to, if nobody does so yet.
    pub(crate) fn take_over(&mut self, id: JobId) -> Option<Start> {
        let job = self.jobs.get_mut(&id)?;
        let Phase::Orphaned { worker } = job.phase else { return None };
        job.phase = Phase::Running;
        self.orphans.remove(&worker);
        Some(Start { job: JobRef { id, row: job.rank.row }, attempt: job.attempt })
    }

    /// What becomes of a job whose attempt ended like this.
    ///
    /// The caller commits the verdict, then calls [`Scheduler::ended`] or [`Scheduler::requeued`].
    pub(crate) fn attempt_ended(
        &mut self,
        id: JobId,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Verdict> {
        let is_limited = outcome.reason == Some(Reason::RateLimited);
        let agent = self.jobs.get(&id).filter(|_| is_limited).map(|job| &job.agent);
        let limited = agent.and_then(|agent| self.limited(agent));
        let job = self.jobs.get_mut(&id).filter(|job| job.phase == Phase::Running)?;
        let verdict = job.judge(id, outcome, limited.as_ref(), now);
        job.phase = match &verdict {
            Verdict::End(_) => Phase::Ending,
            Verdict::Requeue { retries_used, pause, .. } => {
                // The reason has said it.
                let limited = limited.filter(|_| pause.is_zero());
                job.told = limited.map(|limited| Told::Limit { ends: limited.ends });
                job.retries_used = *retries_used;
                job.pause = *pause;
                Phase::Requeueing
            }
        };
        Some(verdict)
    }

    /// The way back to the queue is on disk; `now` is when its pause begins, if it has one.
    pub(crate) fn requeued(&mut self, id: JobId, now: Instant) -> Back {
        let Some(job) = self.jobs.get(&id).filter(|job| job.phase == Phase::Requeueing) else {
            return Back::Unknown;
        };
        if let Some(group) = &job.group {
            self.groups.release(group, id, &mut self.ready);
        }
        let back = self.go_back(id, now);
        // Only now, so that its account does not look new.
        if let Some(job) = self.jobs.get_mut(&id)
            && std::mem::take(&mut job.is_served)
        {
            self.ready.vacate(&job.account);
        }
        back
    }

    /// Somebody wants the job to end; only the first reason counts.
    pub(crate) fn cancel(&mut self, id: JobId, reason: Reason) -> Cancel {
        let Some(job) = self.jobs.get_mut(&id) else { return Cancel::Unknown };
        let reason = *job.cancel.get_or_insert(reason);
        match job.phase {
            Phase::Queued | Phase::Paused { .. } => {
                self.begin_end(id);
                Cancel::End(reason)
            }
            _ => Cancel::Stop,
        }
    }

    /// The terminal event is on disk: the job is forgotten here.
    pub(crate) fn ended(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        if job.is_served {
            self.ready.vacate(&job.account);
        }
        self.ready.leave(&job.account);
        if let Some(group) = &job.group {
            self.groups.leave(group, id, &mut self.ready);
        }
    }

    /// Into the queue, or into a pause before that.
    fn go_back(&mut self, id: JobId, now: Instant) -> Back {
        let job = self.jobs.get_mut(&id).expect("the caller has just seen it");
        let pause = std::mem::take(&mut job.pause);
        if pause.is_zero() || job.cancel.is_some() {
            return self.enqueue(id);
        }
        self.pause(id, now + pause);
        Back::Queued
    }

    fn enqueue(&mut self, id: JobId) -> Back {
        let job = self.jobs.get_mut(&id).expect("the caller has just seen it");
        if let Some(reason) = job.cancel {
            job.phase = Phase::Ending;
            return Back::End(reason);
        }
        job.phase = Phase::Queued;
        self.waiting.join(&job.agent, job.rank.priority);
        let entry = job.entry(id);
        let is_parked = self.ready.gate(&entry.agent) == Gate::Closed;
        match &job.group {
            Some(group) => self.groups.enqueue(group, entry, &mut self.ready),
            None => self.ready.insert(&entry),
        }
        self.note_news(is_parked.then_some(id));
        Back::Queued
    }

    /// Takes a queued job out of the way of the others, for its end.
    fn begin_end(&mut self, id: JobId) {
        let was_paused = self.end_pause(id);
        let job = self.jobs.get_mut(&id).expect("the caller has just seen it");
        job.phase = Phase::Ending;
        if was_paused {
            return;
        }
        self.waiting.leave(&job.agent, job.rank.priority);
        match &job.group {
            Some(group) => self.groups.dequeue(group, &job.entry(id), &mut self.ready),
            None => self.ready.remove(&job.entry(id)),
        }
    }
}
