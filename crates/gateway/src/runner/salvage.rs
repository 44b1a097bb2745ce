//! Ends an attempt whose `workflow` worker is lost: stops the steps that it left behind, and makes
//! a patch of what they have changed.

mod delivery;
mod findings;
mod orphans;

use std::sync::Arc;
use std::time::Duration;

use service::client::{ClientError, EventStream};
use service::protocol::event::AgentEvent;
use service::protocol::{Outcome, Payload};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::digest::Digest;
use super::intake::Intake;
use crate::gateway::{Gateway, Running};
use crate::job_ref::JobRef;
use crate::store::{Attempt, Change, Transition};
use findings::Findings;
use orphans::Orphans;

/// How long a salvage may take in all. It ends a job that has failed already: whoever waits for it
/// waits for the news.
const LIMIT: Duration = Duration::from_secs(30);

/// A cancelled job must have ended within 5 s, with what could be salvaged by then.
const CANCEL_LIMIT: Duration = Duration::from_millis(4500);

/// What the delivery gets of that at least, however long the agent took to end.
const DELIVERY_MIN: Duration = Duration::from_millis(1500);

/// How long a step's worker may say nothing before it is asked whether it lives, and how long it
/// may take to answer.
const SILENCE: Duration = Duration::from_secs(4);
const ANSWER: Duration = Duration::from_secs(2);

/// The end of one attempt whose worker is lost.
#[derive(Debug)]
pub(crate) struct Salvage {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) job: JobRef,
    pub(crate) attempt: u32,
    /// What happened, in a sentence.
    pub(crate) cause: String,
    /// Somebody wants the job to end.
    pub(crate) cancel: CancellationToken,
    /// Since when, if that was before now.
    pub(crate) cancelled_at: Option<Instant>,
}

impl Salvage {
    /// What others must know of it, as of a runner.
    pub(crate) fn running(&self) -> Running {
        let (cancel, line_broke) = (self.cancel.clone(), Arc::default());
        Running { worker: None, has_leased_agent: false, cancel, line_broke }
    }

    /// Sees the attempt to its end. If the gateway stops before that, the next one does it all
    /// again.
    pub(crate) async fn run(self) {
        let (orphans, limit) = (self.begin(), Instant::now() + LIMIT);
        let mut found = Findings::default();
        tokio::select! {
            biased;
            () = self.gateway.stop.cancelled() => return,
            () = self.gather(orphans, limit, &mut found) => {}
        }
        let mut change = Change::new(self.job, Transition::Stay);
        change.drops_pieces = !found.has_patch();
        for notice in found.notices() {
            change = change.event(Payload::Agent(notice));
        }
        let outcome = found.into_outcome(&self.cause);
        self.gateway.attempt_ended(change, outcome).await;
    }

    async fn gather(&self, orphans: Orphans, limit: Instant, found: &mut Findings) {
        if self.has_agent_started() {
            let message = format!("{}; what it left is being salvaged", self.cause);
            self.tell("worker_lost", message).await;
        }
        self.stop_all(orphans, found).await;
        if !self.has_agent_started() {
            return;
        }
        match self.gateway.store.attempt(self.job.row).await {
            Ok(attempt) => {
                self.deliver_in_time(&attempt, limit, found).await;
                found.told = attempt.told;
            }
            Err(error) => {
                tracing::error!(job.id = %self.job.id, %error, "cannot salvage a job");
                found.failure = Some("the gateway's store cannot be read".to_owned());
            }
        }
    }

    async fn deliver_in_time(&self, attempt: &Attempt, limit: Instant, found: &mut Findings) {
        let mut at = None;
        let delivered = tokio::select! {
            delivered = self.deliver(attempt, found.workspace, &mut at) => delivered,
            () = self.time_is_up(limit) => Err(match &at {
                Some(_) => "it took too long".to_owned(),
                None => "no git-pull worker of its workspace was idle in time".to_owned(),
            }),
        };
        match delivered {
            Ok(delivered) => found.delivered = delivered,
            Err(failure) => {
                found.failure = Some(failure);
                if let Some(endpoint) = at {
                    self.gateway.release_worker(endpoint, self.job.id);
                }
            }
        }
    }

    fn has_agent_started(&self) -> bool {
        self.gateway.core().scheduler.has_agent_started(self.job.id)
    }

    /// Resolves when the delivery has had its time; somebody may want the job to end meanwhile.
    async fn time_is_up(&self, limit: Instant) {
        let at_least = Instant::now() + DELIVERY_MIN;
        let cancelled = async {
            self.cancel.cancelled().await;
            let since = self.cancelled_at.unwrap_or_else(Instant::now);
            sleep_until(at_least.max(since + CANCEL_LIMIT)).await;
        };
        tokio::select! {
            () = cancelled => {}
            () = sleep_until(at_least.max(limit)) => {}
        }
    }

    /// Passes on what a step's worker says, and returns its outcome.
    async fn follow(&self, stream: EventStream, mut sieve: impl FnMut(&mut Digest)) -> Followed {
        let endpoint = stream.endpoint().clone();
        let mut intake = Intake::start(stream);
        loop {
            let frames = match timeout(SILENCE, intake.next()).await {
                Ok(frames) => frames?,
                Err(_) => match timeout(ANSWER, endpoint.status()).await {
                    Ok(Ok(_)) => continue,
                    Ok(Err(error)) => return Err(error),
                    Err(_) => return Err(silent(endpoint.base())),
                },
            };
            let Some(frames) = frames else { return Err(silent(endpoint.base())) };
            let mut digest = Digest::of(frames);
            sieve(&mut digest);
            let outcome = digest.outcome.take();
            let change = digest.into_change(self.job, Transition::Stay);
            self.gateway.commit(change).await;
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
    }

    async fn tell(&self, code: &str, message: String) {
        let notice = AgentEvent::Notice { code: code.to_owned(), message };
        let change = Change::new(self.job, Transition::Stay).event(Payload::Agent(notice));
        self.gateway.commit(change).await;
    }
}

/// What came of a step.
type Followed = Result<Outcome, ClientError>;

fn silent(url: &str) -> ClientError {
    ClientError::Unreachable { url: url.to_owned(), cause: "it does not answer".to_owned() }
}
