//! The order of a job's steps.

use std::time::Duration;

use service::one_shot::{Job, Shift};
use service::protocol::event::{AgentEvent, StepEvent, StepState};
use service::protocol::request::{
    DeliverMode, DeliverRequest, ExecuteRequest, JobRequest, PullRequest, WorkflowRequest,
};
use service::protocol::{Outcome, Payload, Reason, State, Step as StepName, WorkerKind};

use crate::step::{Step, StepEnd, stopped};
use crate::verdict;
use crate::workers::{Place, Workers};

/// A stopped job must have ended within 5 s, with what could be salvaged by then.
const STOP_LIMIT: Duration = Duration::from_millis(4500);

/// What salvage gets of it at least, however long the agent took to end.
const SALVAGE_MIN: Duration = Duration::from_millis(1500);

/// How often a delivery is tried whose worker is lost. To make a patch changes nothing, so it may
/// be made again; who loses three workers has another problem.
const DELIVERIES: usize = 3;

/// `POST /api/workflow`.
pub(crate) struct Workflow {
    workers: Workers,
}

impl Workflow {
    pub(crate) fn new(workers: Workers) -> Self {
        Self { workers }
    }
}

impl Shift for Workflow {
    type Request = WorkflowRequest;
    const ROUTE: &'static str = "workflow";

    async fn run(&self, request: WorkflowRequest, job: Job) -> Outcome {
        let flow = Flow { workers: &self.workers, request: &request, job: &job };
        let pulled = flow.pull().await;
        if pulled.outcome.state != State::Completed {
            return pulled.outcome;
        }
        let executed = flow.execute(pulled.place.clone()).await;
        let delivered = flow.deliver(&pulled, &executed).await;
        verdict::of(&pulled.outcome, executed.outcome, delivered)
    }
}

/// One job's way through its steps.
struct Flow<'a> {
    workers: &'a Workers,
    request: &'a WorkflowRequest,
    job: &'a Job,
}

impl Flow<'_> {
    async fn pull(&self) -> StepEnd {
        let body = PullRequest {
            repo_url: self.request.repo_url.clone(),
            branch: self.request.branch.clone(),
            directory: self.request.directory.clone(),
        };
        self.step(WorkerKind::GitPull, "/api/pull", &body, None).run().await
    }

    async fn execute(&self, place: Option<Place>) -> StepEnd {
        let body = ExecuteRequest {
            prompt: self.request.prompt.clone(),
            directory: self.request.directory.clone(),
            agent: self.request.agent.clone(),
            model: self.request.model.clone(),
            limits: self.request.limits.clone(),
            check: self.request.check.clone(),
            trust_repository: self.request.trust_repository,
        };
        self.step(WorkerKind::ClaudeExec, "/api/execute", &body, place).run().await
    }

    /// Makes what the caller asked for of what is in the checkout, however the agent ended.
    async fn deliver(&self, pulled: &StepEnd, executed: &StepEnd) -> Option<Outcome> {
        if self.request.deliver.mode == DeliverMode::None {
            let skipped = StepEvent::new(StepName::Deliver, StepState::Skipped);
            self.job.emit(Payload::Step(Box::new(skipped)));
            return None;
        }
        let spent = executed.stopped_at.map(|at| at.elapsed()).unwrap_or_default();
        let grace = Some(STOP_LIMIT.saturating_sub(spent).max(SALVAGE_MIN));
        let mut body = DeliverRequest {
            repo_url: self.request.repo_url.clone(),
            base: pulled.outcome.commit.clone(),
            deliver: self.request.deliver.clone(),
            salvage: executed.stopped_at.is_some(),
        };
        let mut tries = 1;
        let delivered = loop {
            let place = executed.place.clone();
            let step = self.step(WorkerKind::GitPull, "/api/deliver", &body, place);
            let delivered = Step { grace, ..step }.run().await;
            if !is_cut_short(&delivered) || tries == DELIVERIES {
                break delivered;
            }
            tries += 1;
            // Whoever has the folder now only reads there.
            body.salvage = true;
            let message = format!(
                "{}; the delivery begins anew, and what has come of its patch does not count",
                delivered.outcome.message
            );
            self.notice("delivery_repeated", message);
        };
        Some(self.in_time(delivered))
    }

    /// The end of a delivery, however much time there was for it.
    fn in_time(&self, delivered: StepEnd) -> Outcome {
        let delivered = delivered.outcome;
        let Some(stop) = self.job.stop() else { return delivered };
        if delivered.changes.is_none() {
            let why = match delivered.reason == Some(stop.reason) {
                true => "there was no time left for it",
                false => delivered.message.as_str(),
            };
            let message = format!("what was changed could not be salvaged: {why}");
            self.notice("salvage_failed", message);
        }
        // Who cancels a job does not want it to be a success.
        if stop.is_cancellation() { stopped(stop, delivered) } else { delivered }
    }

    fn notice(&self, code: &str, message: String) {
        let code = code.to_owned();
        self.job.emit(Payload::Agent(AgentEvent::Notice { code, message }));
    }

    fn step(
        &self,
        kind: WorkerKind,
        path: &'static str,
        body: &impl JobRequest,
        place: Option<Place>,
    ) -> Step<'_> {
        let (job, workers, body) = (self.job, self.workers, body.to_wire());
        Step { job, workers, kind, path, body, place, grace: None }
    }
}

/// Whether a delivery's worker went away in the midst of it, and not because the job must end.
fn is_cut_short(delivered: &StepEnd) -> bool {
    let was_told_to_stop = delivered.outcome.reason == Some(Reason::WorkerStopped);
    (delivered.is_lost || was_told_to_stop) && delivered.stopped_at.is_none()
}
