//! The steps that a lost worker left behind.

use std::time::Duration;

use futures_util::future::join_all;
use service::client::{ClientError, EventStream, Patience};
use service::protocol::worker::Lease;
use service::protocol::{Outcome, Reason, WorkerKind};
use tokio::time::timeout;

use super::Salvage;
use super::findings::Findings;
use crate::attachments::STOP_ANSWER;
use crate::runner::digest::{Beginning, Digest};
use crate::store::Change;

/// How long a step may take to end when told to; it has 5 s for it by contract.
const END: Duration = Duration::from_secs(6);

/// The steps that go on without anybody.
pub(super) struct Orphans {
    workers: Vec<Orphan>,
    /// Whether the agent's worker is gone as well, which may or may not have had its step.
    is_agent_gone: bool,
}

/// A worker that does a step of the job, or was about to.
struct Orphan {
    kind: WorkerKind,
    lease: Lease,
}

/// What an orphan did.
enum End {
    /// Nothing: it never had the step.
    Unused,
    /// It may have the step, and does not say what came of it.
    Unknown,
    /// The step, with this outcome.
    Ended(Box<Outcome>),
}

impl Salvage {
    /// Takes the job away from its lost worker: from here on it gets no more workers for steps.
    pub(super) fn begin(&self) -> Orphans {
        let mut core = self.gateway.core();
        let mut is_agent_gone = false;
        if let Some(running) = core.runners.get_mut(&self.job.id) {
            running.worker = None;
            is_agent_gone = running.has_leased_agent;
        }
        let workers = core.registry.working_for(self.job.id);
        let workers = workers.into_iter().map(|(kind, lease)| Orphan { kind, lease });
        let workers: Vec<Orphan> = workers.collect();
        is_agent_gone &= workers.iter().all(|orphan| orphan.kind != WorkerKind::ClaudeExec);
        Orphans { workers, is_agent_gone }
    }

    /// Ends the steps that go on without anybody.
    pub(super) async fn stop_all(&self, orphans: Orphans, found: &mut Findings) {
        let Orphans { workers: orphans, is_agent_gone } = orphans;
        if is_agent_gone {
            self.note_agent(Beginning::Possible, found).await;
        }
        let reason = self.gateway.core().scheduler.cancel_reason(self.job.id);
        let reason = reason.unwrap_or(Reason::WorkerLost);
        let ends = join_all(orphans.iter().map(|orphan| self.stop(orphan, reason))).await;
        for (orphan, end) in orphans.iter().zip(ends) {
            found.workspace = found.workspace.or(orphan.lease.workspace);
            if orphan.kind != WorkerKind::ClaudeExec {
                continue;
            }
            match end {
                End::Unused => {}
                End::Unknown => self.note_agent(Beginning::Possible, found).await,
                End::Ended(outcome) => {
                    if outcome.durations.execute_ms.is_some() {
                        self.note_agent(Beginning::Certain, found).await;
                    }
                    found.agent = Some(outcome);
                }
            }
        }
    }

    /// The agent has begun, or may have, even if the lost worker had no time to say so.
    async fn note_agent(&self, beginning: Beginning, found: &Findings) {
        if beginning == Beginning::Possible && self.has_agent_started() {
            return;
        }
        self.gateway.core().scheduler.agent_started(self.job.id);
        let transition = beginning.into_transition(found.workspace);
        self.gateway.commit(Change::new(self.job, transition)).await;
    }

    async fn stop(&self, orphan: &Orphan, reason: Reason) -> End {
        let endpoint = self.gateway.workers.at(&orphan.lease.url);
        let job = self.job.id;
        let job = match timeout(STOP_ANSWER, endpoint.stop(job, reason)).await {
            Ok(Ok(job)) => job,
            Ok(Err(ClientError::Rejected { status: 404, .. })) => {
                self.gateway.find_out(orphan.lease.worker).await;
                return End::Unused;
            }
            Ok(Err(error)) => {
                tracing::debug!(%job, %error, "a step cannot be stopped");
                return End::Unknown;
            }
            Err(_) => {
                tracing::warn!(%job, kind = %orphan.kind, "a step's worker hangs");
                return End::Unknown;
            }
        };
        // A patch that the lost worker asked for has its beginning in events that nobody has.
        let sieve = |digest: &mut Digest| match orphan.kind {
            WorkerKind::ClaudeExec => digest.pieces.clear(),
            _ => *digest = Digest { outcome: digest.outcome.take(), ..Digest::default() },
        };
        let ended = match job.outcome {
            Some(outcome) => {
                // It waits for a reader of its end.
                let _ = endpoint.confirm(job.id, job.last_event).await;
                Ok(outcome)
            }
            None => {
                let rest = EventStream::new(endpoint, job.id, job.last_event, Patience::WORKER);
                match timeout(END, self.follow(rest, sieve)).await {
                    Ok(followed) => followed,
                    Err(_) => return End::Unknown,
                }
            }
        };
        match ended {
            Ok(outcome) if job.attempt == self.attempt => End::Ended(Box::new(outcome)),
            Ok(_) => End::Unused,
            Err(_) => End::Unknown,
        }
    }
}
