//! Limits in the model: until when no job of an agent may start.

use jiff::Timestamp;

use super::super::*;
use super::world::{Stored, World, Write};

/// How long the one that tries is alone.
const ALONE: Duration = Duration::from_secs(60);

pub(super) const HOUR: u64 = 3600;

impl World {
    fn time(&self) -> Timestamp {
        let passed = i64::try_from((self.now - self.epoch).as_millis()).unwrap();
        Timestamp::from_millisecond(passed).unwrap()
    }

    /// Whose credential a job uses.
    pub(super) fn agent_of(&self, id: JobId) -> &'static str {
        let stored = self.disk.values().find(|job| job.id == id).expect("the job is on disk");
        stored.agent.unwrap_or(self.default)
    }

    /// An attempt ends at a limit that holds for so many seconds more.
    pub(super) fn limited(&mut self, n: usize, seconds: u64) {
        let Some(id) = self.nth_read(n) else { return };
        let (agent, time) = (self.agent_of(id), self.time());
        let retry_at = Some(time + Duration::from_secs(seconds));
        let outcome = Outcome { retry_at, ..Outcome::failed(Reason::RateLimited, "limited") };
        if let Some(limit) = RateLimit::of(&outcome, time) {
            let ends = self.now + limit.left(time);
            if self.scheduler.park(id, limit, ends).is_some() {
                self.parked.insert(agent, (ends, limit.until < limit.retry_at));
                self.writes.push(Write::Park(agent, limit));
            }
            let (ends, _) = self.parked[agent];
            assert!(ends <= self.now + Duration::from_secs(6 * HOUR), "{agent} waits too long");
            assert!(!self.scheduler.has_ready() || self.other_can_run(agent), "{agent} goes on");
        }
        self.workers.remove(&id);
        self.judge(id, outcome);
    }

    /// Whether a job of another agent waits.
    fn other_can_run(&self, agent: &str) -> bool {
        let waits = |job: &Stored| self.scheduler.wait_of(job.id).is_some();
        self.disk.values().any(|job| waits(job) && self.agent_of(job.id) != agent)
    }

    /// A job that starts is of no agent that waits; if it tries a limit, it is alone for a while.
    pub(super) fn check_agent(&mut self, id: JobId) {
        let agent = self.agent_of(id);
        let Some((ends, is_tried)) = self.parked.get_mut(agent) else { return };
        assert!(*ends <= self.now, "{agent} is parked");
        if std::mem::take(is_tried) {
            *ends = self.now + ALONE;
        }
    }

    pub(super) fn restore_parkings(&mut self) {
        self.scheduler.set_default_agent(self.default);
        let time = self.time();
        self.parked.clear();
        for (agent, limit) in &self.parkings {
            self.scheduler.restore_parking(&(*agent).into(), *limit, (self.now, time));
            if limit.retry_at > time {
                let ends = self.now + limit.left(time);
                self.parked.insert(agent, (ends, limit.until < limit.retry_at));
            }
        }
    }
}
