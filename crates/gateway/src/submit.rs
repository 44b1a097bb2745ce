//! How jobs come in and how they are called off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service::ApiError;
use service::protocol::request::{JobRequest, WorkflowRequest};
use service::protocol::{ErrorCode, JobId, Reason, RequestError};
use sha2::{Digest, Sha256};

use crate::follow::From;
use crate::gateway::{Core, Gateway};
use crate::job_ref::JobRef;
use crate::live::Subscription;
use crate::recovery::ORPHAN_GRACE;
use crate::scheduler::{
    Account, Admission, Agent, Cancel, GroupKey, NewJob, Refusal, cancellation,
};
use crate::store::{Change, Idempotency, NewRecord, StoreError, Transition, now};
use crate::tether::Tether;

/// When to try again after the queue was full; when it will have room cannot be known.
const QUEUE_PAUSE_SECONDS: u32 = 10;

/// How much of an agent's name that nobody knows is repeated.
const MAX_AGENT_CHARS: usize = 40;

/// What a caller wants done.
#[derive(Debug)]
pub(crate) struct Submission {
    /// The caller's name; empty when nobody needs a token.
    pub(crate) token: Arc<str>,
    pub(crate) request: WorkflowRequest,
    pub(crate) idempotency_key: Option<String>,
    /// Whether the job is to end when the caller goes away.
    pub(crate) ends_with_caller: bool,
}

/// What came of it: a new job, or the one that has the same idempotency key already.
pub(crate) struct Submitted {
    pub(crate) job: JobRef,
    /// Where its first event is to be found.
    pub(crate) from: From,
    pub(crate) followed: Subscription,
    /// Present if the job ends with its caller, who must keep it.
    pub(crate) tether: Option<Tether>,
}

impl Gateway {
    /// Accepts a job: once this returns, it is on disk.
    ///
    /// # Errors
    /// `conflict` when another job has its concurrency key and it does not want to wait,
    /// `idempotency_mismatch` when another request has its idempotency key, `quota_exceeded` when
    /// the caller has too many, `unavailable` when everybody together has.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        submission: Submission,
    ) -> Result<Submitted, ApiError> {
        if self.stop.is_cancelled() {
            let message = "the gateway is stopping";
            return Err(ApiError::new(ErrorCode::Unavailable, message).retry_after(1));
        }
        // In a task of its own: a caller that goes away must not leave a job half accepted.
        let gateway = Arc::clone(self);
        let accepting = self.tasks.spawn(async move { gateway.accept(submission).await });
        accepting.await.unwrap_or_else(|error| Err(ApiError::internal(&error)))
    }

    async fn accept(self: &Arc<Self>, submission: Submission) -> Result<Submitted, ApiError> {
        let Submission { token, request, idempotency_key, ends_with_caller } = submission;
        let tether = |job| ends_with_caller.then(|| Tether::new(self, job));
        let idempotency = idempotency_key.map(|key| {
            let body_hash = Sha256::digest(request.to_wire().to_string()).into();
            Idempotency { key, body_hash }
        });
        // Held until the job is committed, so that the same key is never looked up meanwhile.
        let _turn = match &idempotency {
            Some(idempotency) => Some(self.turns.take(&token, &idempotency.key).await),
            None => None,
        };
        if let Some(idempotency) = &idempotency
            && let Some(job) = self.known(&token, idempotency).await?
        {
            let (followed, tether) = (self.live.subscribe(job.id), tether(job));
            return Ok(Submitted { job, from: From::After(0), followed, tether });
        }
        let id = JobId::random();
        self.core().admit(id, &token, &request)?;
        let followed = self.live.subscribe(id);
        let token = token.to_string();
        let record = NewRecord { id, created_at: now(), token, request, idempotency };
        let row = self.store.insert(record).await.inspect_err(|_| {
            self.core().scheduler.withdraw(id);
        })?;
        let job = JobRef { id, row };
        tracing::info!(job.id = %id, "accepted a job");
        let admission = self.core().scheduler.committed(id, row);
        self.match_up();
        let gateway = Arc::clone(self);
        self.tasks.spawn(async move { gateway.follow_up(job, admission).await });
        Ok(Submitted { job, from: From::Start, followed, tether: tether(job) })
    }

    /// The job that has this key, if one has.
    async fn known(&self, token: &str, wanted: &Idempotency) -> Result<Option<JobRef>, ApiError> {
        match self.store.keyed(token.to_owned(), wanted.key.clone()).await? {
            Some((job, known)) if known == *wanted => Ok(Some(job)),
            Some((JobRef { id, .. }, _)) => {
                let message = format!("Idempotency-Key belongs to job {id}, whose body is another");
                Err(ApiError::new(ErrorCode::IdempotencyMismatch, message))
            }
            None => Ok(None),
        }
    }

    async fn follow_up(self: &Arc<Self>, job: JobRef, admission: Admission) {
        for (job, reason) in admission.end {
            // If the gateway stops before that, it is on disk with the new job.
            self.end(job, cancellation(reason)).await;
        }
        for job in admission.stop {
            if let Err(error) = self.stop_job(job, Reason::Superseded).await {
                tracing::error!(job.id = %job.id, %error, "cannot note that a job is superseded");
            }
        }
        self.announce_wait(job).await;
    }

    /// Asks for a job's end, or ends it at once if it is queued. Harmless when it has ended.
    ///
    /// # Errors
    /// `unavailable` when it cannot be stored now: the job is stopped all the same, unless the gateway
    /// itself ends before it can be.
    pub(crate) async fn cancel(
        self: &Arc<Self>,
        job: JobRef,
        reason: Reason,
    ) -> Result<(), ApiError> {
        let gateway = Arc::clone(self);
        let cancelling = self.tasks.spawn(async move {
            let decision = gateway.core().scheduler.cancel(job.id, reason);
            match decision {
                Cancel::End(reason) => gateway.end_now(job, cancellation(reason)).await,
                Cancel::Stop => gateway.stop_job(job, reason).await,
                Cancel::Unknown => Ok(()),
            }
            .map_err(not_stored)
        });
        cancelling.await.unwrap_or_else(|error| Err(ApiError::internal(&error)))
    }

    /// Has a running job ended by its worker.
    async fn stop_job(self: &Arc<Self>, job: JobRef, reason: Reason) -> Result<(), StoreError> {
        // On disk as well, or a restart would forget it.
        let noted = self.store.change(Change::new(job, Transition::Cancel(reason))).await;
        let is_orphan = {
            let core = self.core();
            if let Some(running) = core.runners.get(&job.id) {
                running.cancel.cancel();
            }
            core.scheduler.is_orphan(job.id)
        };
        if is_orphan {
            self.give_up_after(job, ORPHAN_GRACE);
        }
        noted.map(drop)
    }
}

impl Core {
    /// Lets a job in, if its submitter's quotas allow it.
    fn admit(&mut self, id: JobId, token: &str, request: &WorkflowRequest) -> Result<(), ApiError> {
        let now = Instant::now();
        self.check_agent(request, now)?;
        self.rates.check(token, now).map_err(too_fast)?;
        self.scheduler.admit(id, new_job(token, request)).map_err(refused)?;
        self.rates.spend(token, now);
        Ok(())
    }

    /// Refuses what no attached worker could do: it would only be found out after the pull.
    fn check_agent(&self, request: &WorkflowRequest, now: Instant) -> Result<(), RequestError> {
        let Some(known) = self.registry.agents(now) else { return Ok(()) };
        let agent = request.agent.as_deref().unwrap_or(self.scheduler.default_agent());
        if request.agent.is_some() && !known.contains(agent) {
            let agent: String = agent.chars().take(MAX_AGENT_CHARS).collect();
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            let message =
                format!("agent {agent:?} is not known to any attached worker; known: {known}");
            return Err(RequestError::field(ErrorCode::NotSupported, "agent", message));
        }
        request.limits.check_for(agent)
    }
}

/// The answer to a wish for a job's end that a restart would forget.
fn not_stored(error: StoreError) -> ApiError {
    tracing::error!(%error, "cannot store that a job is to end");
    let message = "the job is being stopped, but that cannot be stored for now and would be forgotten \
                   if the gateway ended; ask again";
    ApiError::new(ErrorCode::Unavailable, message).retry_after(1)
}

fn too_fast(wait: Duration) -> ApiError {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    let message = format!("this token has submitted as many jobs as it may; wait {seconds} s");
    ApiError::new(ErrorCode::QuotaExceeded, message).retry_after(seconds)
}

fn refused(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::Conflict { with } => {
            let message = format!("job {with} has the same concurrency key; this one is rejected");
            ApiError::new(ErrorCode::Conflict, message)
        }
        Refusal::QuotaExceeded { max } => {
            let message = format!("{max} jobs of this token wait already, as many as may");
            ApiError::new(ErrorCode::QuotaExceeded, message).retry_after(QUEUE_PAUSE_SECONDS)
        }
        Refusal::QueueFull { max } => {
            let message = format!("the queue is full: {max} jobs wait already; come back later");
            ApiError::new(ErrorCode::Unavailable, message).retry_after(QUEUE_PAUSE_SECONDS)
        }
    }
}

fn new_job(token: &str, request: &WorkflowRequest) -> NewJob {
    let concurrency = request.concurrency.as_ref();
    NewJob {
        account: Account::new(token, &request.repo_url.to_string()),
        agent: Agent::new(request.agent.as_deref()),
        priority: request.priority,
        retries: request.retries,
        group: concurrency.map(|concurrency| GroupKey::new(token, &concurrency.key)),
        on_conflict: concurrency.map(|concurrency| concurrency.on_conflict).unwrap_or_default(),
    }
}
