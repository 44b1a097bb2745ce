//! What can be asked of the scheduler.

use std::collections::HashSet;

use service::protocol::{JobId, Reason, WorkerId};

use super::Scheduler;
use super::job::{Job, Phase};
use crate::job_ref::JobRef;

impl Scheduler {
    /// Whether a job could be started now.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many jobs could be started now, counted up to `most`.
    pub(crate) fn ready_up_to(&self, most: usize) -> usize {
        self.ready.count_up_to(most)
    }

    /// How many jobs run.
    pub(crate) fn running(&self) -> usize {
        self.ready.running()
    }

    /// A job's name and place in the store.
    pub(crate) fn job_ref(&self, id: JobId) -> Option<JobRef> {
        Some(JobRef { id, row: self.jobs.get(&id)?.rank.row })
    }

    /// The job that waits for this worker to come back.
    pub(crate) fn orphan_of(&self, worker: WorkerId) -> Option<JobRef> {
        let id = *self.orphans.get(&worker)?;
        Some(JobRef { id, row: self.jobs.get(&id)?.rank.row })
    }

    /// All jobs that still wait for their workers to come back; looks at every job.
    pub(crate) fn orphans(&self) -> Vec<JobRef> {
        let orphaned = |job: &Job| matches!(job.phase, Phase::Orphaned { .. });
        let orphans = self.jobs.iter().filter(|(_, job)| orphaned(job));
        orphans.map(|(id, job)| JobRef { id: *id, row: job.rank.row }).collect()
    }

    /// Why the job is to be cancelled, if it is.
    pub(crate) fn cancel_reason(&self, id: JobId) -> Option<Reason> {
        self.jobs.get(&id)?.cancel
    }

    /// Whether a worker has the job, so that it may lease others.
    pub(crate) fn is_running(&self, id: JobId) -> bool {
        let has_worker = |job: &Job| matches!(job.phase, Phase::Running | Phase::Orphaned { .. });
        self.jobs.get(&id).is_some_and(has_worker)
    }

    /// Whether the agent of the job's current attempt has begun.
    pub(crate) fn has_agent_started(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|job| job.agent_started)
    }

    /// How many attempts the job has had, with the one that runs.
    pub(crate) fn attempt(&self, id: JobId) -> u32 {
        self.jobs.get(&id).map_or(0, |job| job.attempt)
    }

    /// Whether the job waits for its worker to come back.
    pub(crate) fn is_orphan(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|job| matches!(job.phase, Phase::Orphaned { .. }))
    }

    /// The job's place in the queue, from 1: how many go before it, as far as can be told cheaply.
    pub(crate) fn position(&self, id: JobId) -> u64 {
        let Some(job) = self.jobs.get(&id) else { return 1 };
        // One that cannot run now has all before it; one that can has only those that can.
        let all = HashSet::new();
        let closed = self.ready.closed();
        let passed_over = if closed.contains(&job.agent) { &all } else { closed };
        let (better, same) = self.waiting.before(job.rank.priority, passed_over);
        // A job that was just accepted is the last of its priority; one that comes back is old.
        let ahead = if job.attempt == 0 { same.saturating_sub(1) } else { 0 };
        (better + ahead) as u64 + 1
    }

    /// How many jobs wait, and how many have a worker or are between two phases.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let queued = self.waiting.count();
        (queued, self.jobs.len() - queued)
    }
}
