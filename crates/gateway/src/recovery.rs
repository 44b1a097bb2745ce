//! What happens to the jobs of an earlier run of the gateway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::job_ref::JobRef;
use crate::runner::Salvage;
use crate::scheduler::{
    Account, Agent, Back, GroupKey, LONGEST_PAUSE, Rank, Restored, Start, cancellation,
};
use crate::store::{OpenJob, StoreError};

/// How long a cancelled job's worker may take to come back after a restart; one that lives tries
/// every second.
pub(crate) const ORPHAN_GRACE: Duration = Duration::from_secs(2);

impl Gateway {
    /// Queues what was queued, and gives the workers of what was running `wait` to come back.
    pub(crate) async fn recover(self: &Arc<Self>, wait: Duration) -> Result<(), StoreError> {
        let mut cancelled = Vec::new();
        let mut running = 0;
        for open in self.store.open_jobs().await? {
            running += usize::from(open.worker.is_some());
            let job = open.job;
            let back = self.core().scheduler.restore(job.id, restored(open), Instant::now());
            if let Back::End(reason) = back {
                cancelled.push((job, reason));
            }
        }
        let (queued, _) = self.core().scheduler.counts();
        if queued + running > 0 {
            tracing::info!(queued, running, "found jobs of an earlier run");
        }
        for (job, reason) in cancelled {
            // What is on disk of it is found again by the next one.
            self.end(job, cancellation(reason)).await;
        }
        let orphans = self.core().scheduler.orphans();
        for orphan in orphans {
            let is_cancelled = self.core().scheduler.cancel_reason(orphan.id).is_some();
            self.give_up_after(orphan, if is_cancelled { ORPHAN_GRACE.min(wait) } else { wait });
        }
        Ok(())
    }

    /// After a while, takes a job's worker for lost unless it has come back.
    pub(crate) fn give_up_after(self: &Arc<Self>, job: JobRef, wait: Duration) {
        let gateway = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = gateway.stop.cancelled() => return,
            }
            if let Some(salvage) = gateway.give_up(job, wait) {
                salvage.run().await;
            }
        });
    }

    fn give_up(self: &Arc<Self>, job: JobRef, waited: Duration) -> Option<Salvage> {
        let mut core = self.core();
        let Start { job, attempt } = core.scheduler.take_over(job.id)?;
        let cause = format!(
            "the gateway was restarted, and the job's worker did not come back within {} s",
            waited.as_secs()
        );
        let cancel = CancellationToken::new();
        let mut cancelled_at = None;
        if core.scheduler.cancel_reason(job.id).is_some() {
            cancel.cancel();
            cancelled_at = tokio::time::Instant::now().checked_sub(ORPHAN_GRACE);
        }
        let gateway = Arc::clone(self);
        let salvage = Salvage { gateway, job, attempt, cause, cancel, cancelled_at };
        core.runners.insert(job.id, salvage.running());
        tracing::warn!(job.id = %job.id, "a job's worker did not come back");
        Some(salvage)
    }
}

/// A clock that was set anew meanwhile makes no pause longer than the longest.
fn what_is_left(not_before: Timestamp) -> Duration {
    let left = not_before.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or_default().min(LONGEST_PAUSE)
}

fn restored(open: OpenJob) -> Restored {
    let group = open.concurrency_key.map(|key| GroupKey::new(&open.token, &key));
    Restored {
        account: Account::new(&open.token, &open.repo),
        agent: Agent::new(open.agent.as_deref()),
        rank: Rank { priority: open.priority, row: open.job.row },
        retries: open.retries,
        retries_used: open.retries_used,
        attempt: open.attempt,
        agent_started: open.agent_started,
        cancel: open.cancel,
        pause: open.not_before.map(what_is_left).unwrap_or_default(),
        group,
        running_on: open.worker,
    }
}
