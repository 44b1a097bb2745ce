//! Jobs that are tried again, but not at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use service::protocol::JobId;

use super::Scheduler;
use super::job::Phase;

/// The pause before the first retry; doubled each time up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// How long a job pauses before its retry of this number, from 1. Up to a fifth less than the full
/// time, each job its own, so that jobs that failed together do not come back together.
pub(super) fn pause_before(id: JobId, retry: u32) -> Duration {
    let doublings = retry.saturating_sub(1).min(16);
    let full = (FIRST * (1 << doublings)).min(LONGEST);
    let mut hasher = DefaultHasher::new();
    (id, retry).hash(&mut hasher);
    let thousandths = u32::try_from(hasher.finish() % 1000).unwrap_or(0);
    full - full / 5 * thousandths / 1000
}

impl Scheduler {
    /// When the next pause of a job, or of all jobs of an agent, is over.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let pause = self.pauses.first().map(|(until, _)| *until);
        pause.into_iter().chain(self.next_parking_end()).min()
    }

    /// Puts the jobs back into the queue whose pauses are over.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.end_parkings(now);
        while let Some((_, id)) = self.pauses.first().copied().filter(|(until, _)| *until <= now) {
            self.end_pause(id);
            self.enqueue(id);
        }
    }

    /// Has a job wait until `until` before it waits for its turn.
    pub(super) fn pause(&mut self, id: JobId, until: Instant) {
        let job = self.jobs.get_mut(&id).expect("the caller has just seen it");
        job.phase = Phase::Paused { until };
        self.pauses.insert((until, id));
        self.waiting.join(&job.agent, job.rank.priority);
    }

    /// Takes a job out of its pause; says whether it was in one.
    pub(super) fn end_pause(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let Phase::Paused { until } = job.phase else { return false };
        self.pauses.remove(&(until, id));
        self.waiting.leave(&job.agent, job.rank.priority);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_retry_pauses_twice_as_long_up_to_a_minute_and_each_job_a_little_differently() {
        let ids = [(); 50].map(|()| JobId::random());
        for (retry, full) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (1000, 60)] {
            let full = Duration::from_secs(full);
            let pauses = ids.map(|id| pause_before(id, retry));
            assert!(pauses.iter().all(|pause| (full * 4 / 5..=full).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
        }
    }
}
