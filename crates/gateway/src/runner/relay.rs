//! From a worker's events to the job's.

use std::time::Duration;

use service::client::{ClientError, EventStream};
use service::protocol::Reason;
use service::protocol::event::StepState;
use service::protocol::sse::Frame;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::digest::Digest;
use super::intake::Intake;
use super::{Known, Runner};
use crate::store::Transition;

/// How long a worker may take to end a job that was cancelled, once it has said that it will: its
/// agent may take 5 s, and what it delivers then a moment more.
const CANCEL_GRACE: Duration = Duration::from_secs(7);

/// Longer than any job: a deadline that does not come.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The wish to end a job, on its way to the worker.
struct Wish {
    since: Instant,
    /// Resolves when the worker has been told, to whether it hangs; absent after that.
    told: Option<JoinHandle<bool>>,
}

impl Runner {
    /// Relays the worker's events until the attempt is over or the gateway stops.
    pub(super) async fn see_through(self, stream: EventStream, mut known: Known) {
        if known == Known::Taken {
            known = Known::Started;
            if self.announce_start().await.is_none() {
                return;
            }
        }
        let mut intake = Intake::start(stream);
        let (heard, listening) = watch::channel(());
        let mut pulse_ends = std::pin::pin!(self.pulse_ends(listening, known));
        let mut deadline = Instant::now() + NEVER;
        let mut wish: Option<Wish> = None;
        let mut delivery = None;
        loop {
            let batch = tokio::select! {
                () = self.gateway.stop.cancelled() => return,
                () = self.cancel.cancelled(), if wish.is_none() => {
                    wish = Some(self.wish_for_the_end());
                    deadline = Instant::now() + CANCEL_GRACE;
                    continue;
                }
                hangs = told(&mut wish) => match hangs {
                    true => return self.end_without_worker(wish).await,
                    false => continue,
                },
                () = sleep_until(deadline) => return self.end_without_worker(wish).await,
                batch = intake.next() => batch,
                error = &mut pulse_ends => Err(error),
            };
            heard.send_replace(());
            match batch {
                Ok(Some(frames)) => {
                    if known == Known::Unclear {
                        known = Known::Started;
                        if self.announce_start().await.is_none() {
                            return;
                        }
                    }
                    if self.relay(frames, &mut delivery).await.is_none() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return self.worker_lost(&error, known, wish).await,
            }
        }
    }

    /// Commits a batch; `None` when there is nothing left to do.
    async fn relay(&self, frames: Vec<Frame>, delivery: &mut Option<StepState>) -> Option<()> {
        let mut digest = Digest::of(frames);
        *delivery = digest.delivery.or(*delivery);
        let (upstream, outcome) = (digest.upstream, digest.outcome.take());
        if outcome.is_some() && *delivery == Some(StepState::Started) {
            // Half a patch is none.
            digest.drop_pieces();
        }
        let mut transition = Transition::Stay;
        if let Some(beginning) = digest.agent {
            let mut core = self.gateway.core();
            core.scheduler.agent_started(self.job.id);
            let workspace = core.registry.workspace_of(self.job.id);
            transition = beginning.into_transition(workspace);
        }
        let mut change = digest.into_change(self.job, transition);
        change.upstream = Some(upstream);
        match outcome {
            Some(outcome) => {
                if self.gateway.attempt_ended(change, outcome).await.is_some() {
                    self.confirm(upstream).await;
                }
                None
            }
            None => self.gateway.commit(change).await.filter(|changed| changed.was_open).map(drop),
        }
    }

    /// Lets the worker go: its job's end is on disk. One that does not hear of it waits in vain for
    /// half a minute, and exits as well.
    async fn confirm(&self, last: u64) {
        if let Err(error) = self.endpoint.confirm(self.job.id, last).await {
            tracing::debug!(job.id = %self.job.id, %error, "cannot let a worker go");
        }
    }

    fn wish_for_the_end(&self) -> Wish {
        let reason = self.gateway.core().scheduler.cancel_reason(self.job.id);
        let reason = reason.unwrap_or(Reason::CancelRequested);
        let told = self.gateway.stop_worker(&self.endpoint, self.job.id, reason);
        Wish { since: Instant::now(), told: Some(told) }
    }

    async fn worker_lost(&self, error: &ClientError, known: Known, wish: Option<Wish>) {
        let never_took_it = matches!(error, ClientError::Rejected { status: 404, .. });
        if known == Known::Unclear && never_took_it {
            self.gateway.look_after(self.worker.worker);
            return self.gateway.give_back(self.job).await;
        }
        tracing::warn!(job.id = %self.job.id, worker = %self.worker.worker, %error,
            "a worker was lost");
        let cause = self.lost(error);
        self.salvage(cause, wish.map(|wish| wish.since)).await;
    }

    /// The worker has been asked to end the job and does not.
    async fn end_without_worker(&self, wish: Option<Wish>) {
        tracing::warn!(job.id = %self.job.id, worker = %self.worker.worker,
            "a worker did not end a cancelled job");
        let cause = self.lost(&"it did not end the job when it was asked to");
        self.salvage(cause, wish.map(|wish| wish.since)).await;
    }
}

/// Resolves once, when the worker has been told that it is to end the job, to whether it hangs.
async fn told(wish: &mut Option<Wish>) -> bool {
    let Some(wish) = wish else { return std::future::pending().await };
    let Some(told) = &mut wish.told else { return std::future::pending().await };
    let hangs = told.await.unwrap_or(false);
    wish.told = None;
    hangs
}
