//! The order of a job's steps.

use std::time::Duration;

use service::one_shot::{Job, Shift};
use service::protocol::event::{AgentEvent, StepEvent, StepState};
use service::protocol::request::{
    DeliverMode, DeliverRequest, ExecuteRequest, JobRequest, PullRequest, WorkflowRequest,
};
use service::protocol::{Outcome, Payload, State, Step as StepName, WorkerKind, WorkspaceId};

use crate::step::{Step, StepEnd};
use crate::verdict;
use crate::workers::Workers;

/// A stopped job must have ended within 5 s, with what could be salvaged by then.
const STOP_LIMIT: Duration = Duration::from_millis(4500);

/// What salvage gets of it at least, however long the agent took to end.
const SALVAGE_MIN: Duration = Duration::from_millis(1500);

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
        let executed = flow.execute(pulled.workspace).await;
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

    async fn execute(&self, workspace: Option<WorkspaceId>) -> StepEnd {
        let body = ExecuteRequest {
            prompt: self.request.prompt.clone(),
            directory: self.request.directory.clone(),
            agent: self.request.agent.clone(),
            model: self.request.model.clone(),
            limits: self.request.limits.clone(),
            check: self.request.check.clone(),
            trust_repository: self.request.trust_repository,
        };
        self.step(WorkerKind::ClaudeExec, "/api/execute", &body, workspace).run().await
    }

    /// Makes what the caller asked for of what is in the checkout, however the agent ended.
    async fn deliver(&self, pulled: &StepEnd, executed: &StepEnd) -> Option<Outcome> {
        if self.request.deliver.mode == DeliverMode::None {
            let skipped = StepEvent::new(StepName::Deliver, StepState::Skipped);
            self.job.emit(Payload::Step(Box::new(skipped)));
            return None;
        }
        let body = DeliverRequest {
            repo_url: self.request.repo_url.clone(),
            base: pulled.outcome.commit.clone(),
            deliver: self.request.deliver.clone(),
            salvage: false,
        };
        let step = self.step(WorkerKind::GitPull, "/api/deliver", &body, executed.workspace);
        if self.job.stop().is_none() {
            return Some(step.run().await.outcome);
        }
        let spent = executed.stopped_at.map(|at| at.elapsed()).unwrap_or_default();
        let limit = STOP_LIMIT.saturating_sub(spent).max(SALVAGE_MIN);
        let salvage = tokio::time::timeout(limit, step.run_to_its_end()).await;
        if salvage.is_err() {
            let code = "salvage_failed".to_owned();
            let message = "the changes could not be salvaged in time".to_owned();
            self.job.emit(Payload::Agent(AgentEvent::Notice { code, message }));
        }
        Some(salvage.ok()?.outcome)
    }

    fn step(
        &self,
        kind: WorkerKind,
        path: &'static str,
        body: &impl JobRequest,
        workspace: Option<WorkspaceId>,
    ) -> Step<'_> {
        Step { job: self.job, workers: self.workers, kind, path, body: body.to_wire(), workspace }
    }
}
