//! Agents without quota: noted when an attempt ends at a limit, kept across restarts.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use service::protocol::{JobId, Outcome};

use crate::gateway::{Core, Gateway};
use crate::scheduler::RateLimit;
use crate::store::StoreError;

impl Core {
    /// Has the jobs of this job's agent wait, if its attempt ended at a limit. Returns what is to be
    /// remembered, if that is new.
    pub(crate) fn park(&mut self, id: JobId, outcome: &Outcome) -> Option<(Arc<str>, RateLimit)> {
        let now = Timestamp::now();
        let limit = RateLimit::of(outcome, now)?;
        let agent = self.scheduler.park(id, limit, Instant::now() + limit.left(now))?;
        tracing::warn!(job.id = %id, %agent, until = %limit.until, retry_at = %limit.retry_at,
            "an agent's credential is rate limited; its jobs wait");
        Some((agent, limit))
    }
}

impl Gateway {
    /// Remembers across a restart that an agent is parked. If that fails, a restart costs an attempt
    /// at the limit.
    pub(crate) async fn remember(&self, (agent, limit): (Arc<str>, RateLimit)) {
        self.pauses_changed.notify_one();
        if let Err(error) = self.store.park(agent, limit).await {
            tracing::error!(%error, "cannot note that an agent is rate limited");
        }
    }

    /// Goes on with what was parked in an earlier run.
    pub(crate) async fn recover_parkings(&self) -> Result<(), StoreError> {
        for (agent, limit) in self.store.parkings().await? {
            let now = (Instant::now(), Timestamp::now());
            self.core().scheduler.restore_parking(&agent, limit, now);
        }
        Ok(())
    }
}
