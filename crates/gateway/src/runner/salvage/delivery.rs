//! The patch of what a lost worker's agent has changed.

use std::time::Duration;

use service::client::{ClientError, Endpoint, NamedJob, Patience, Submission};
use service::protocol::request::{Deliver, DeliverMode, DeliverRequest, JobRequest};
use service::protocol::worker::Lease;
use service::protocol::{Outcome, WorkerKind, WorkspaceId};
use tokio::time::{sleep, timeout};

use super::{ANSWER, Followed, Salvage, silent};
use crate::registry::Wish;
use crate::store::Attempt;

/// Pause before another worker is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// What came of the delivery.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Delivered {
    /// There was none.
    #[default]
    Not,
    /// The caller wants none.
    Unwanted,
    /// It had been done before the worker was lost.
    Before,
    /// It was done now.
    Now(Box<Outcome>),
}

impl Salvage {
    /// Has a patch made; a salvage never pushes. `at` tells who is at it.
    pub(super) async fn deliver(
        &self,
        attempt: &Attempt,
        workspace: Option<WorkspaceId>,
        at: &mut Option<Endpoint>,
    ) -> Result<Delivered, String> {
        if attempt.request.deliver.mode == DeliverMode::None {
            return Ok(Delivered::Unwanted);
        }
        if attempt.told.changes.is_some() {
            return Ok(Delivered::Before);
        }
        let deliver = Deliver { mode: DeliverMode::Patch, ..Deliver::default() };
        let (repo_url, base) = (attempt.request.repo_url.clone(), attempt.told.commit.clone());
        let body = DeliverRequest { repo_url, base, deliver, salvage: true }.to_wire();
        let workspace = attempt.workspace.or(workspace);
        let wish = Wish { kind: WorkerKind::GitPull, workspace };
        loop {
            let lease = self.gateway.lease_first(wish, self.job.id).await;
            let lease = lease.ok_or_else(|| "the gateway stops".to_owned())?;
            let why = match self.deliver_at(&lease, &body, at).await {
                Ok(outcome) if outcome.changes.is_some() => {
                    return Ok(Delivered::Now(Box::new(outcome)));
                }
                // It was only that worker which had to end.
                Ok(outcome) if outcome.retryable => outcome.message,
                Ok(outcome) => return Err(outcome.message),
                Err(ClientError::Rejected { status: 400..=499, body, .. }) => {
                    return Err(format!("git-pull refuses: {}", body.error.message));
                }
                Err(error) => error.to_string(),
            };
            *at = None;
            let message = format!(
                "a git-pull did not deliver: {why}; the delivery begins anew, and what has come of \
                 its patch does not count"
            );
            self.tell("delivery_repeated", message).await;
            sleep(PAUSE).await;
        }
    }

    async fn deliver_at(
        &self,
        lease: &Lease,
        body: &serde_json::Value,
        at: &mut Option<Endpoint>,
    ) -> Followed {
        let endpoint = self.gateway.workers.at(&lease.url);
        let named = NamedJob { id: self.job.id, attempt: self.attempt, needs_confirmation: false };
        let path = "/api/deliver";
        let submission = Submission { path, body, job: Some(named), idempotency_key: None };
        *at = Some(endpoint.clone());
        let submitted = timeout(ANSWER, endpoint.submit(submission, Patience::WORKER)).await;
        let submitted = submitted.unwrap_or_else(|_| Err(silent(&lease.url)));
        let followed = match submitted {
            Ok(stream) => self.follow(stream, |_| {}).await,
            Err(error) => Err(error),
        };
        match &followed {
            Err(ClientError::Rejected { .. }) => self.gateway.look_after(lease.worker),
            Err(_) => self.gateway.drop_worker(lease.worker),
            Ok(_) => {}
        }
        followed
    }
}
