//! What queued jobs wait for, in words, and how their followers hear of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use service::protocol::job::{Job, Queued};
use service::protocol::{Payload, WorkerKind};

use crate::gateway::{Core, Gateway};
use crate::job_ref::JobRef;
use crate::scheduler::{News, Wait};
use crate::store::{Change, Transition};

impl Core {
    fn in_words(&self, wait: &Wait) -> String {
        match wait {
            Wait::Retry { at } => {
                let left = at.saturating_duration_since(Instant::now());
                format!("its next attempt begins in {} s", left.as_secs_f64().ceil())
            }
            Wait::Limit(limited) => limited.to_string(),
            Wait::Group(other) => format!("waits for job {other} with the same concurrency key"),
            Wait::Quota(running) => {
                let jobs = if *running == 1 { "job" } else { "jobs" };
                format!("its token has {running} running {jobs}, as many as its quota allows")
            }
            Wait::Worker if self.registry.has(WorkerKind::Workflow) => {
                "no workflow worker is idle".to_owned()
            }
            Wait::Worker => "no workflow worker is attached".to_owned(),
        }
    }
}

impl Gateway {
    /// Says of a job that waits at which place it does, and what for.
    pub(crate) fn with_wait(&self, job: Job) -> Job {
        let core = self.core();
        let queued = core.scheduler.wait_of(job.id).map(|wait| Queued {
            position: core.scheduler.position(job.id),
            reason: core.in_words(&wait),
        });
        Job { queued, ..job }
    }

    /// Tells a job's followers what it waits for, if it waits and they do not know.
    pub(crate) async fn announce_wait(&self, job: JobRef) {
        let (news, reason) = {
            let mut core = self.core();
            let Some(news) = core.scheduler.tell(job.id) else { return };
            let reason = core.in_words(&news.wait);
            (news, reason)
        };
        let News { position, may_be_known, .. } = news;
        if may_be_known && self.was_told(job, &reason).await {
            return;
        }
        let payload = Payload::Queued { position, reason };
        self.commit(Change::new(job, Transition::Wait).event(payload)).await;
    }

    /// Whether this was the last that a job's followers were told, before a restart.
    async fn was_told(&self, job: JobRef, reason: &str) -> bool {
        let quoted = serde_json::Value::from(reason).to_string();
        let last = self.store.last_events(job.row).await.unwrap_or_default();
        last.is_some_and(|events| String::from_utf8_lossy(&events).contains(&quoted))
    }

    /// Tells the followers of jobs whose wait has changed, of one job after the other, until the
    /// gateway stops. When an agent is parked these may be very many, and they are not urgent.
    pub(crate) async fn tell_the_waiting(self: Arc<Self>) {
        let mut backlog = VecDeque::new();
        while !self.stop.is_cancelled() {
            let (news, parked) = self.core().scheduler.take_news();
            if let Some(parked) = parked {
                backlog = parked.into();
            }
            let is_idle = news.is_empty() && backlog.is_empty();
            for job in news.into_iter().chain(backlog.pop_front()) {
                self.announce_wait(job).await;
            }
            if is_idle {
                tokio::select! {
                    () = self.news.notified() => {}
                    () = self.stop.cancelled() => {}
                }
            }
        }
    }
}
