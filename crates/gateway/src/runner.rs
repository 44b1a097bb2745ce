//! Sees one attempt of one job through: gives it to a worker, relays the worker's events into the
//! store, and reports how the attempt ended.

mod digest;
mod intake;
mod pulse;
mod relay;
mod salvage;

use std::sync::Arc;

pub(crate) use salvage::Salvage;
use service::client::{ClientError, Endpoint, EventStream, NamedJob, Patience, Submission};
use service::protocol::worker::Lease;
use service::protocol::{Outcome, Payload, Reason};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::attachments::STOP_ANSWER;
use crate::gateway::{Gateway, Running};
use crate::job_ref::JobRef;
use crate::scheduler::{Start, cancellation};
use crate::store::{Change, Transition};

/// One attempt of one job at one worker.
#[derive(Debug)]
pub(crate) struct Runner {
    gateway: Arc<Gateway>,
    job: JobRef,
    attempt: u32,
    worker: Lease,
    endpoint: Endpoint,
    cancel: CancellationToken,
    line_broke: Arc<Notify>,
}

/// What came of the attempt to hand the job over.
enum Handover {
    /// The worker has it; this is its stream.
    Taken(Box<EventStream>),
    /// It may have it: the line broke before the answer.
    Unclear,
    /// It does not have it.
    Refused,
    /// It will never take it.
    Impossible(String),
}

impl Runner {
    pub(crate) fn new(gateway: Arc<Gateway>, start: Start, worker: Lease) -> Self {
        let endpoint = gateway.workers.at(&worker.url);
        Self {
            gateway,
            job: start.job,
            attempt: start.attempt,
            worker,
            endpoint,
            cancel: CancellationToken::new(),
            line_broke: Arc::default(),
        }
    }

    /// What others must know of this runner.
    pub(crate) fn running(&self) -> Running {
        let line_broke = Arc::clone(&self.line_broke);
        let (worker, cancel) = (Some(self.worker.worker), self.cancel.clone());
        Running { worker, has_leased_agent: false, cancel, line_broke }
    }

    /// Gives the job to the worker and sees the attempt through.
    ///
    /// That the worker is about to have it is on disk first: whoever finds the store after a crash
    /// knows whom to wait for, and gives the job to nobody else meanwhile.
    pub(crate) async fn dispatch(self) {
        let take = Transition::Take { attempt: self.attempt, worker: self.worker.worker };
        let Some(taken) = self.gateway.commit(Change::new(self.job, take)).await else { return };
        let Some(request) = taken.request else {
            tracing::error!(job.id = %self.job.id, "a job that has ended was about to be started");
            return;
        };
        let cancelled = self.gateway.core().scheduler.cancel_reason(self.job.id);
        if let Some(reason) = cancelled {
            self.gateway.core().registry.set_idle(self.worker.worker);
            return self.end_attempt(cancellation(reason)).await;
        }
        match self.hand_over(&request).await {
            Handover::Taken(stream) => self.see_through(*stream, Known::Taken).await,
            Handover::Unclear => {
                let stream = self.stream(0);
                self.see_through(stream, Known::Unclear).await;
            }
            Handover::Refused => self.gateway.give_back(self.job).await,
            Handover::Impossible(message) => {
                self.gateway.core().registry.set_idle(self.worker.worker);
                self.end_attempt(Outcome::failed(Reason::InternalError, message)).await;
            }
        }
    }

    /// Goes on with an attempt whose worker came back after a restart of the gateway.
    pub(crate) async fn resume(self) {
        if self.gateway.core().scheduler.cancel_reason(self.job.id).is_some() {
            self.cancel.cancel();
        }
        let mark = match self.gateway.store.mark(self.job.row).await {
            Ok(mark) => mark,
            Err(error) => {
                tracing::error!(job.id = %self.job.id, %error, "cannot go on with a job");
                let cause = self.lost(&error);
                return self.salvage(cause, None).await;
            }
        };
        tracing::info!(job.id = %self.job.id, after = mark.upstream, "the job's worker came back");
        let known = if mark.has_started { Known::Started } else { Known::Taken };
        let stream = self.stream(mark.upstream);
        self.see_through(stream, known).await;
    }

    fn stream(&self, after: u64) -> EventStream {
        EventStream::new(self.endpoint.clone(), self.job.id, after, Patience::WORKER)
    }

    async fn hand_over(&self, request: &serde_json::Value) -> Handover {
        let submission = Submission {
            path: "/api/workflow",
            body: request,
            job: Some(NamedJob {
                id: self.job.id,
                attempt: self.attempt,
                needs_confirmation: true,
            }),
            idempotency_key: None,
        };
        let cancelled = async {
            self.cancel.cancelled().await;
            // A worker that is well has answered by then.
            sleep(STOP_ANSWER).await;
        };
        let posted = tokio::select! {
            posted = self.endpoint.submit(submission, Patience::WORKER) => posted,
            () = cancelled => return Handover::Unclear,
        };
        let error = match posted {
            Ok(stream) => return Handover::Taken(Box::new(stream)),
            Err(error) => error,
        };
        tracing::warn!(job.id = %self.job.id, worker = %self.worker.worker, %error,
            "a worker did not take a job");
        match &error {
            ClientError::Unreachable { .. } | ClientError::Protocol { .. } => Handover::Unclear,
            ClientError::Rejected { status: 400 | 413 | 422, .. } => {
                Handover::Impossible(format!("the worker refused the job: {error}"))
            }
            ClientError::Rejected { .. } => {
                self.gateway.look_after(self.worker.worker);
                Handover::Refused
            }
            ClientError::Refused { .. } | ClientError::BadAddress(_) => {
                self.gateway.drop_worker(self.worker.worker);
                Handover::Refused
            }
        }
    }

    /// Tells the followers who has the job.
    async fn announce_start(&self) -> Option<()> {
        let started = Payload::Started {
            attempt: self.attempt,
            worker: Some(self.worker.worker.to_string()),
            node: Some(self.worker.node.clone()),
        };
        let change = Change::new(self.job, Transition::Start).event(started);
        self.gateway.commit(change).await.map(drop)
    }

    async fn end_attempt(&self, outcome: Outcome) {
        let change = Change::new(self.job, Transition::Stay);
        self.gateway.attempt_ended(change, outcome).await;
    }

    fn lost(&self, cause: &dyn std::fmt::Display) -> String {
        format!("the workflow worker on {} was lost: {cause}", self.worker.node)
    }

    /// Ends the attempt without its worker.
    async fn salvage(&self, cause: String, cancelled_at: Option<Instant>) {
        self.gateway.drop_worker(self.worker.worker);
        // It may only have been out of reach.
        drop(self.gateway.stop_worker(&self.endpoint, self.job.id, Reason::WorkerLost));
        let (gateway, cancel) = (Arc::clone(&self.gateway), self.cancel.clone());
        let (job, attempt) = (self.job, self.attempt);
        Salvage { gateway, job, attempt, cause, cancel, cancelled_at }.run().await;
    }
}

/// What is known of an attempt when its stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The worker may not even have the job.
    Unclear,
    /// The worker has it, and the followers do not know yet.
    Taken,
    /// The followers know.
    Started,
}
