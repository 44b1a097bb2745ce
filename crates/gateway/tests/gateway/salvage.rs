//! What a lost `workflow` worker leaves behind: the steps that it had others do, and their work.

use std::time::Duration;

use serde_json::json;
use service::client::{EventStream, NamedJob, Patience, Submission};
use service::one_shot::Exit;
use service::protocol::event::{AgentEvent, StepState};
use service::protocol::job::JobState;
use service::protocol::sse::Frame;
use service::protocol::worker::LeaseRequest;
use service::protocol::{
    ErrorCode, JobId, Outcome, Payload, Reason, State, Step, WorkerKind, WorkspaceId,
};

use crate::support::{
    Gateway, Setup, assert_whole, attempts, event, follow, job, job_with, outcome, read_all,
    read_until,
};
use crate::worker::Worker;

const COMMIT: &str = "0123456789012345678901234567890123456789";

/// What a job does up to the point at which its worker will be lost.
fn agent_runs(more: &str) -> String {
    format!("pulled {COMMIT}\nagent\n{more}\nhold")
}

const GOOD: &str = "deliver started\npatch the patch\ndeliver completed";

/// Has a worker of this kind do a step of the job, as its workflow would.
async fn work_begins(gateway: &Gateway, job: JobId, kind: WorkerKind, prompt: &str) -> WorkspaceId {
    let request = LeaseRequest { kind, job, workspace: None };
    let lease = gateway.inside().lease(&request).await.unwrap();
    let (path, body) = match kind {
        WorkerKind::ClaudeExec => ("/api/execute", json!({ "prompt": prompt })),
        _ => ("/api/deliver", json!({ "repoUrl": "https://host.example/org/repo" })),
    };
    let named = NamedJob { id: job, attempt: 1, needs_confirmation: false };
    let submission = Submission { path, body: &body, job: Some(named), idempotency_key: None };
    let worker = gateway.inside().at(&lease.url);
    let mut stream = worker.submit(submission, Patience::WORKER).await.unwrap();
    read_until(&mut stream, "step").await;
    lease.workspace.unwrap()
}

/// A running job whose agent's worker has a workspace.
struct Running {
    workflow: Worker,
    agent: Worker,
    workspace: WorkspaceId,
    stream: EventStream,
    id: JobId,
}

async fn running(gateway: &Gateway, prompt: &str, extra: serde_json::Value) -> Running {
    let workspace = WorkspaceId::random();
    let agent = Worker::start(gateway, WorkerKind::ClaudeExec, Some(workspace)).await;
    let workflow = Worker::workflow(gateway).await;
    let stream = gateway.submit(job_with(&agent_runs(prompt), extra)).await;
    let id = stream.job();
    gateway.until(id, JobState::Running).await;
    assert_eq!(work_begins(gateway, id, WorkerKind::ClaudeExec, "x").await, workspace);
    Running { workflow, agent, workspace, stream, id }
}

async fn agent_began(stream: &mut EventStream) {
    while !read_until(stream, "step").await.iter().any(|frame| frame.data.contains("execute")) {}
}

fn notices(frames: &[Frame]) -> Vec<String> {
    let code = |frame| match event(frame).payload {
        Payload::Agent(AgentEvent::Notice { code, .. }) => Some(code),
        _ => None,
    };
    frames.iter().filter_map(code).collect()
}

fn deliveries(frames: &[Frame]) -> Vec<StepState> {
    let state = |frame| match event(frame).payload {
        Payload::Step(step) if step.step == Step::Deliver => Some(step.state),
        _ => None,
    };
    frames.iter().filter_map(state).collect()
}

/// The whole stream of a job that has ended, checked.
async fn whole(gateway: &Gateway, id: JobId) -> (Vec<Frame>, Outcome) {
    let frames = read_all(follow(gateway, id)).await;
    assert_whole(&frames);
    let outcome = outcome(&frames);
    assert_eq!(gateway.view(id).await.outcome.as_ref(), Some(&outcome));
    (frames, outcome)
}

/// Far longer than it should take, and shorter than a worker waits for another reader.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(15), what).await.expect("it does not take that long")
}

#[tokio::test]
async fn the_agent_is_stopped_and_its_work_its_costs_and_its_session_are_kept() {
    let gateway = Gateway::start().await;
    let elsewhere = Some(WorkspaceId::random());
    let _other = Worker::delivering(&gateway, elsewhere, "patch wrong\ndeliver completed").await;
    let mut job = running(&gateway, "used 5", json!({})).await;
    let script = format!("base {COMMIT}\n{GOOD}");
    let _git_pull = Worker::delivering(&gateway, Some(job.workspace), &script).await;
    agent_began(&mut job.stream).await;
    job.workflow.kill();
    soon(read_all(job.stream)).await;
    let (frames, outcome) = whole(&gateway, job.id).await;
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::WorkerLost)));
    assert!(outcome.retryable);
    assert!(outcome.message.contains("the workflow worker on node-1 was lost"), "{outcome:?}");
    let words = "what its agent had changed is in the patch: 1 file (+2 -3)";
    assert!(outcome.message.ends_with(words), "{}", outcome.message);
    assert_eq!(outcome.usage.map(|usage| usage.output_tokens), Some(77));
    assert_eq!((outcome.session_id.as_deref(), outcome.exit_code), (Some("a session"), Some(143)));
    assert_eq!(outcome.result.as_deref(), Some("not yet"));
    assert_eq!(
        (outcome.commit.as_deref(), outcome.branch.as_deref()),
        (Some(COMMIT), Some("main"))
    );
    let durations = outcome.durations;
    assert_eq!((durations.pull_ms, durations.execute_ms), (Some(11), Some(22)));
    assert_eq!((durations.check_ms, durations.deliver_ms), (None, Some(33)));
    assert_eq!(gateway.endpoint().patch(job.id).await.unwrap(), "the patch");
    assert!(frames.iter().any(|frame| frame.data.contains("last words")), "{frames:#?}");
    assert_eq!(notices(&frames), ["worker_lost"]);
    assert_eq!(soon(job.agent.exits()).await, Exit::Reported(State::Failed));
    gateway.workers("claude-exec", "busy", 0).await;
}

#[tokio::test]
async fn without_the_agents_worker_the_last_usage_that_was_heard_is_a_lower_bound() {
    let gateway = Gateway::start().await;
    let _git_pull = Worker::delivering(&gateway, None, GOOD).await;
    let workflow = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job(&agent_runs("used 5\nused 9"))).await;
    let id = stream.job();
    read_until(&mut stream, "agent").await;
    workflow.kill();
    soon(read_all(stream)).await;
    let (frames, outcome) = whole(&gateway, id).await;
    assert_eq!(outcome.usage.map(|usage| usage.output_tokens), Some(9));
    assert_eq!(notices(&frames), ["worker_lost", "usage_incomplete"]);
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "the patch");
}

#[tokio::test]
async fn a_delivery_whose_worker_is_lost_goes_to_another_and_leaves_nothing_in_the_patch() {
    let gateway = Gateway::start().await;
    let mut job = running(&gateway, "", json!({})).await;
    let workspace = Some(job.workspace);
    let half = Worker::delivering(&gateway, workspace, "deliver started\npatch half\nhold").await;
    agent_began(&mut job.stream).await;
    job.workflow.kill();
    read_until(&mut job.stream, "output").await;
    let _other = Worker::delivering(&gateway, workspace, GOOD).await;
    half.kill();
    soon(read_all(job.stream)).await;
    let (frames, outcome) = whole(&gateway, job.id).await;
    assert_eq!((outcome.reason, outcome.changes.is_some()), (Some(Reason::WorkerLost), true));
    let [started, completed] = [StepState::Started, StepState::Completed];
    assert_eq!(deliveries(&frames), [started, started, completed]);
    assert_eq!(notices(&frames), ["worker_lost", "delivery_repeated"]);
    assert_eq!(gateway.endpoint().patch(job.id).await.unwrap(), "the patch");
}

#[tokio::test]
async fn what_cannot_be_salvaged_is_told_and_half_a_patch_is_none() {
    let gateway = Gateway::start().await;
    let mut job = running(&gateway, "", json!({})).await;
    let script = "deliver started\npatch half\nfail";
    let _git_pull = Worker::delivering(&gateway, Some(job.workspace), script).await;
    agent_began(&mut job.stream).await;
    job.workflow.kill();
    soon(read_all(job.stream)).await;
    let (frames, outcome) = whole(&gateway, job.id).await;
    assert_eq!(outcome.reason, Some(Reason::WorkerLost));
    let words = "what its agent had changed could not be salvaged: the disk is full";
    assert!(outcome.message.ends_with(words), "{}", outcome.message);
    assert_eq!((outcome.patch, outcome.changes), (None, None));
    assert_eq!(outcome.usage.map(|usage| usage.output_tokens), Some(77));
    assert_eq!(notices(&frames), ["worker_lost", "salvage_failed"]);
    assert!(gateway.endpoint().patch(job.id).await.is_err());
}

#[tokio::test]
async fn a_job_that_is_to_deliver_nothing_is_only_stopped() {
    let gateway = Gateway::start().await;
    let extra = json!({ "deliver": { "mode": "none" } });
    let mut job = running(&gateway, "", extra).await;
    let _git_pull = Worker::delivering(&gateway, Some(job.workspace), GOOD).await;
    agent_began(&mut job.stream).await;
    job.workflow.kill();
    soon(read_all(job.stream)).await;
    let (frames, outcome) = whole(&gateway, job.id).await;
    assert_eq!((outcome.reason, outcome.patch), (Some(Reason::WorkerLost), None));
    assert_eq!((deliveries(&frames), notices(&frames)), (vec![], vec!["worker_lost".to_owned()]));
}

#[tokio::test]
async fn a_patch_that_was_whole_before_the_loss_is_kept_as_it_is() {
    let gateway = Gateway::start().await;
    let workflow = Worker::workflow(&gateway).await;
    let script = agent_runs("deliver started\npatch whole\ndeliver completed\nsay done");
    let mut stream = gateway.submit(job(&script)).await;
    let id = stream.job();
    read_until(&mut stream, "agent").await;
    workflow.kill();
    soon(read_all(stream)).await;
    let (frames, outcome) = whole(&gateway, id).await;
    assert_eq!((outcome.reason, outcome.changes.is_some()), (Some(Reason::WorkerLost), true));
    assert_eq!(deliveries(&frames), [StepState::Started, StepState::Completed]);
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "whole");
}

#[tokio::test]
async fn half_a_patch_is_none_even_if_the_worker_itself_ends_the_job() {
    let gateway = Gateway::start().await;
    let _workflow = Worker::workflow(&gateway).await;
    let stream = gateway.submit(job("agent\ndeliver started\npatch half\nfail timeout")).await;
    let id = stream.job();
    read_all(stream).await;
    let (_, outcome) = whole(&gateway, id).await;
    assert_eq!((outcome.reason, outcome.patch), (Some(Reason::Timeout), None));
}

#[tokio::test]
async fn a_lost_job_that_will_be_retried_is_salvaged_so_that_a_cancel_in_the_pause_has_its_patch() {
    let gateway = Gateway::start().await;
    let mut job = running(&gateway, "", json!({ "retries": 1 })).await;
    let _git_pull = Worker::delivering(&gateway, Some(job.workspace), GOOD).await;
    agent_began(&mut job.stream).await;
    job.workflow.kill();
    let frames = soon(read_until(&mut job.stream, "queued")).await;
    assert!(frames.last().unwrap().data.contains("retry 1 of 1"), "{frames:#?}");
    // A restart in the pause forgets none of it.
    let gateway = gateway.restart().await;
    gateway.until(job.id, JobState::Queued).await;
    gateway.endpoint().cancel(job.id).await.unwrap();
    let (_, outcome) = whole(&gateway, job.id).await;
    assert_eq!((outcome.state, outcome.retryable), (State::Cancelled, false));
    assert_eq!(outcome.reason, Some(Reason::CancelRequested));
    assert_eq!(outcome.message, "the job was cancelled");
    assert_eq!(outcome.changes.map(|changes| changes.files), Some(1));
    assert_eq!(outcome.usage.map(|usage| usage.output_tokens), Some(77));
    assert_eq!(gateway.endpoint().patch(job.id).await.unwrap(), "the patch");
}

#[tokio::test]
async fn the_next_attempt_begins_without_the_patch_of_the_one_before() {
    let gateway = Gateway::start().await;
    let mut job = running(&gateway, "", json!({ "retries": 1 })).await;
    let _git_pull = Worker::delivering(&gateway, Some(job.workspace), GOOD).await;
    agent_began(&mut job.stream).await;
    job.workflow.kill();
    soon(read_until(&mut job.stream, "queued")).await;
    let second = Worker::workflow(&gateway).await;
    let frames = soon(read_until(&mut job.stream, "started")).await;
    assert_eq!(attempts(&frames), [2]);
    second.go_on();
    soon(read_all(job.stream)).await;
    let (_, outcome) = whole(&gateway, job.id).await;
    assert_eq!((outcome.state, outcome.patch), (State::Completed, None));
}

#[tokio::test]
async fn what_was_salvaged_outlives_an_attempt_that_leased_an_agent_and_never_ran_it() {
    let gateway = Gateway::start().await;
    let workspace = Some(WorkspaceId::random());
    let _agent = Worker::start(&gateway, WorkerKind::ClaudeExec, workspace).await;
    let _git_pull = Worker::delivering(&gateway, workspace, GOOD).await;
    let first = Worker::workflow(&gateway).await;
    let prompt = format!("pulled {COMMIT}\nholdonce\nhold");
    let mut stream = gateway.submit(job_with(&prompt, json!({ "retries": 1 }))).await;
    let id = stream.job();
    read_until(&mut stream, "step").await;
    work_begins(&gateway, id, WorkerKind::ClaudeExec, "x").await;
    first.kill();
    soon(read_until(&mut stream, "queued")).await;
    let _unused = Worker::start(&gateway, WorkerKind::ClaudeExec, workspace).await;
    let second = Worker::workflow(&gateway).await;
    let frames = soon(read_until(&mut stream, "step")).await;
    assert_eq!(attempts(&frames), [2]);
    let request = LeaseRequest { kind: WorkerKind::ClaudeExec, job: id, workspace: None };
    gateway.inside().lease(&request).await.unwrap();
    second.kill();
    soon(read_until(&mut stream, "queued")).await;
    gateway.endpoint().cancel(id).await.unwrap();
    let (_, outcome) = whole(&gateway, id).await;
    assert_eq!(outcome.reason, Some(Reason::CancelRequested));
    assert_eq!(outcome.changes.map(|changes| changes.files), Some(1));
    assert_eq!(outcome.usage.map(|usage| usage.output_tokens), Some(77));
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "the patch");
}

#[tokio::test]
async fn a_salvage_that_the_gateways_end_broke_off_is_done_again_and_makes_one_patch() {
    let gateway = Gateway::start().await;
    let mut job = running(&gateway, "", json!({})).await;
    let script = "deliver started\npatch half\nhold";
    let mut half = Worker::delivering(&gateway, Some(job.workspace), script).await;
    agent_began(&mut job.stream).await;
    job.workflow.kill();
    read_until(&mut job.stream, "output").await;
    let reattach = Some(Duration::from_secs(2));
    let gateway = gateway.restart_with(Setup { reattach, ..Setup::default() }).await;
    let other = Worker::delivering(&gateway, Some(job.workspace), GOOD).await;
    soon(read_all(job.stream)).await;
    let (frames, outcome) = whole(&gateway, job.id).await;
    assert_eq!((outcome.reason, outcome.changes.is_some()), (Some(Reason::WorkerLost), true));
    assert!(outcome.message.contains("the gateway was restarted"), "{}", outcome.message);
    assert_eq!(outcome.commit.as_deref(), Some(COMMIT));
    assert_eq!(gateway.endpoint().patch(job.id).await.unwrap(), "the patch");
    assert_eq!(attempts(&frames), [1]);
    // The first salvage's worker came back with a job that nobody wants any more.
    soon(half.exits()).await;
    drop(other);
}

#[tokio::test]
async fn a_job_whose_worker_does_not_come_back_after_a_restart_is_salvaged() {
    let gateway = Gateway::start().await;
    let mut job = running(&gateway, "used 5", json!({})).await;
    let _git_pull = Worker::delivering(&gateway, Some(job.workspace), GOOD).await;
    read_until(&mut job.stream, "agent").await;
    let (address, data) = gateway.stop().await;
    job.workflow.kill();
    let (data, address, reattach) = (Some(data), Some(address), Some(Duration::from_secs(2)));
    let gateway = Gateway::with(Setup { data, address, reattach, ..Setup::default() }).await;
    soon(read_all(job.stream)).await;
    let (_, outcome) = whole(&gateway, job.id).await;
    assert_eq!((outcome.reason, outcome.changes.is_some()), (Some(Reason::WorkerLost), true));
    // Its worker came back, and could say what it knew.
    assert_eq!(outcome.usage.map(|usage| usage.output_tokens), Some(77));
    assert_eq!(gateway.endpoint().patch(job.id).await.unwrap(), "the patch");
    soon(job.agent.exits()).await;
}

#[tokio::test]
async fn a_cancel_in_the_midst_of_a_salvage_ends_it_soon() {
    let gateway = Gateway::start().await;
    let mut job = running(&gateway, "", json!({})).await;
    let script = "deliver started\npatch half\nhold";
    let mut git_pull = Worker::delivering(&gateway, Some(job.workspace), script).await;
    agent_began(&mut job.stream).await;
    job.workflow.kill();
    read_until(&mut job.stream, "output").await;
    gateway.endpoint().cancel(job.id).await.unwrap();
    soon(read_all(job.stream)).await;
    let (frames, outcome) = whole(&gateway, job.id).await;
    assert_eq!(outcome.reason, Some(Reason::CancelRequested));
    assert_eq!((outcome.patch, outcome.changes), (None, None));
    assert_eq!(notices(&frames), ["worker_lost", "salvage_failed"]);
    assert_eq!(soon(git_pull.exits()).await, Exit::Reported(State::Cancelled));
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_its_worker_does_not_listen_keeps_its_patch() {
    let gateway = Gateway::start().await;
    let mut job = running(&gateway, "", json!({})).await;
    let _git_pull = Worker::delivering(&gateway, Some(job.workspace), GOOD).await;
    agent_began(&mut job.stream).await;
    let frozen = job.workflow.freeze();
    gateway.endpoint().cancel(job.id).await.unwrap();
    soon(read_all(job.stream)).await;
    let (_, outcome) = whole(&gateway, job.id).await;
    assert_eq!(outcome.reason, Some(Reason::CancelRequested));
    assert_eq!(outcome.changes.map(|changes| changes.files), Some(1));
    assert_eq!(gateway.endpoint().patch(job.id).await.unwrap(), "the patch");
    // It comes back to a gateway that has no use for it.
    drop(frozen);
    soon(job.workflow.exits()).await;
}

#[tokio::test]
async fn a_lost_worker_gets_no_more_workers_for_its_job() {
    let gateway = Gateway::start().await;
    let mut job = running(&gateway, "", json!({})).await;
    let script = "deliver started\npatch half\nhold\ndeliver completed";
    let git_pull = Worker::delivering(&gateway, Some(job.workspace), script).await;
    agent_began(&mut job.stream).await;
    job.workflow.kill();
    read_until(&mut job.stream, "output").await;
    let request = LeaseRequest { kind: WorkerKind::GitPull, job: job.id, workspace: None };
    let refused = gateway.inside().lease(&request).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Conflict));
    git_pull.go_on();
    soon(read_all(job.stream)).await;
    assert_eq!(gateway.endpoint().patch(job.id).await.unwrap(), "half");
}

#[tokio::test]
async fn a_job_lost_before_its_agent_began_waits_for_no_step_of_the_lost_attempt() {
    let gateway = Gateway::start().await;
    let workspace = WorkspaceId::random();
    let workflow = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job(&format!("pulled {COMMIT}\nholdonce\nhello"))).await;
    let id = stream.job();
    let mut orphan = Worker::delivering(&gateway, Some(workspace), "deliver started\nhold").await;
    work_begins(&gateway, id, WorkerKind::GitPull, "").await;
    read_until(&mut stream, "step").await;
    workflow.kill();
    soon(read_until(&mut stream, "queued")).await;
    // It has been stopped and read by now; nobody waits for it for half a minute.
    assert_eq!(soon(orphan.exits()).await, Exit::Reported(State::Failed));
    let _second = Worker::workflow(&gateway).await;
    soon(read_all(stream)).await;
    let (frames, outcome) = whole(&gateway, id).await;
    assert_eq!((attempts(&frames), outcome.state), (vec![1, 2], State::Completed));
}

#[tokio::test]
async fn an_agent_that_began_unheard_is_not_run_again() {
    let gateway = Gateway::start().await;
    let workspace = WorkspaceId::random();
    let mut agent = Worker::start(&gateway, WorkerKind::ClaudeExec, Some(workspace)).await;
    let _git_pull = Worker::delivering(&gateway, Some(workspace), GOOD).await;
    let workflow = Worker::workflow(&gateway).await;
    // The workflow is lost before it has passed on that its agent has begun.
    let mut stream = gateway.submit(job(&format!("pulled {COMMIT}\nhold"))).await;
    let id = stream.job();
    read_until(&mut stream, "step").await;
    work_begins(&gateway, id, WorkerKind::ClaudeExec, "x").await;
    workflow.kill();
    soon(read_all(stream)).await;
    let (frames, outcome) = whole(&gateway, id).await;
    assert_eq!((attempts(&frames), outcome.reason), (vec![1], Some(Reason::WorkerLost)));
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "the patch");
    soon(agent.exits()).await;
}

#[tokio::test]
async fn an_agent_that_may_have_begun_before_all_its_workers_died_is_not_run_again() {
    let gateway = Gateway::start().await;
    let workspace = WorkspaceId::random();
    let agent = Worker::start(&gateway, WorkerKind::ClaudeExec, Some(workspace)).await;
    let _git_pull = Worker::delivering(&gateway, Some(workspace), GOOD).await;
    let workflow = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job(&format!("pulled {COMMIT}\nhold"))).await;
    let id = stream.job();
    read_until(&mut stream, "step").await;
    work_begins(&gateway, id, WorkerKind::ClaudeExec, "x").await;
    agent.kill();
    gateway.workers("claude-exec", "leased", 0).await;
    workflow.kill();
    soon(read_all(stream)).await;
    let (frames, outcome) = whole(&gateway, id).await;
    assert_eq!((attempts(&frames), outcome.reason), (vec![1], Some(Reason::WorkerLost)));
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "the patch");
}

#[tokio::test]
async fn an_agents_worker_that_does_not_end_holds_nothing_up_for_ever() {
    let gateway = Gateway::start().await;
    let workspace = WorkspaceId::random();
    let _agent = Worker::start(&gateway, WorkerKind::ClaudeExec, Some(workspace)).await;
    let _git_pull = Worker::delivering(&gateway, Some(workspace), GOOD).await;
    let workflow = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job(&agent_runs("used 5"))).await;
    let id = stream.job();
    read_until(&mut stream, "agent").await;
    work_begins(&gateway, id, WorkerKind::ClaudeExec, "deaf").await;
    workflow.kill();
    soon(read_all(stream)).await;
    let (_, outcome) = whole(&gateway, id).await;
    assert_eq!(outcome.reason, Some(Reason::WorkerLost));
    assert_eq!(outcome.usage.map(|usage| usage.output_tokens), Some(5));
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "the patch");
}
