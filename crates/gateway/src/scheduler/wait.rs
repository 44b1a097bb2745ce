//! What queued jobs wait for, and which of them are to be told.

use std::time::Instant;

use service::protocol::JobId;

use super::Scheduler;
use super::job::{Job, Phase};
use super::parkings::Limited;
use crate::job_ref::JobRef;

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The end of its pause; then it is tried again.
    Retry { at: Instant },
    /// Its agent's quota.
    Limit(Limited),
    /// The job that goes before it in its concurrency group.
    Group(JobId),
    /// One of so many running jobs of its token to end.
    Quota(usize),
    /// An idle worker.
    Worker,
}

/// What a job's followers were told that it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Retry,
    Limit {
        ends: Instant,
    },
    Group(JobId),
    Quota,
    Worker,
    /// Something, before a restart.
    Earlier,
}

/// Something that a job's followers have not been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) position: u64,
    pub(crate) wait: Wait,
    /// Whether they may have been told the same before a restart.
    pub(crate) may_be_known: bool,
}

impl Wait {
    pub(super) fn to_told(&self) -> Told {
        match self {
            Self::Retry { .. } => Told::Retry,
            Self::Limit(limited) => Told::Limit { ends: limited.ends },
            Self::Group(other) => Told::Group(*other),
            Self::Quota(_) => Told::Quota,
            Self::Worker => Told::Worker,
        }
    }
}

impl Scheduler {
    /// What the job waits for, if it waits.
    pub(crate) fn wait_of(&self, id: JobId) -> Option<Wait> {
        let job = self.jobs.get(&id)?;
        match job.phase {
            Phase::Paused { until } => return Some(Wait::Retry { at: until }),
            Phase::Queued => {}
            _ => return None,
        }
        let limit = || self.limited(&job.agent).map(Wait::Limit);
        let group = || Some(Wait::Group(self.groups.ahead_of(job.group.as_ref()?, id)?));
        let quota = || self.ready.all_that_may_run(&job.account).map(Wait::Quota);
        Some(limit().or_else(group).or_else(quota).unwrap_or(Wait::Worker))
    }

    /// What the job waits for, if its followers do not know; from now on they do.
    pub(crate) fn tell(&mut self, id: JobId) -> Option<News> {
        let wait = self.wait_of(id)?;
        let position = self.position(id);
        let job = self.jobs.get_mut(&id)?;
        let before = job.told.replace(wait.to_told());
        let may_be_known = before == Some(Told::Earlier);
        (before != job.told).then_some(News { position, wait, may_be_known })
    }

    /// Jobs that may have news for their followers; and, if an agent was parked, all that wait for
    /// it and have not been told, the oldest first.
    pub(crate) fn take_news(&mut self) -> (Vec<JobRef>, Option<Vec<JobRef>>) {
        let news = std::mem::take(&mut self.news);
        let known = |id| Some(JobRef { id, row: self.jobs.get(&id)?.rank.row });
        let news = news.into_iter().filter_map(known).collect();
        let parked = self.has_parked.then(|| self.untold_of_parked());
        self.has_parked = false;
        (news, parked)
    }

    /// Whether anybody may have to be told something.
    pub(crate) fn has_news(&self) -> bool {
        self.has_parked || !self.news.is_empty()
    }

    /// Looks at every job.
    fn untold_of_parked(&self) -> Vec<JobRef> {
        let is_untold = |job: &Job| {
            let ends = self.limited(&job.agent).map(|limited| limited.ends);
            job.phase == Phase::Queued
                && ends.is_some_and(|ends| job.told != Some(Told::Limit { ends }))
        };
        let untold = self.jobs.iter().filter(|(_, job)| is_untold(job));
        let mut untold: Vec<_> =
            untold.map(|(id, job)| JobRef { id: *id, row: job.rank.row }).collect();
        untold.sort_unstable_by_key(|job| job.row);
        untold
    }

    /// Notes a job that is first in its line and may have to be told why it goes on waiting.
    pub(super) fn note_news(&mut self, first: Option<JobId>) {
        if let Some(id) = first
            && let Some(wait) = self.wait_of(id)
            && self.jobs.get(&id).is_some_and(|job| job.told != Some(wait.to_told()))
        {
            self.news.push(id);
        }
    }
}
