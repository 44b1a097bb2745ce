//! Workers that come, go, vanish and are leased.

use std::time::Duration;

use serde_json::json;
use service::client::Submission;
use service::protocol::job::JobState;
use service::protocol::request::JobRequest;
use service::protocol::worker::LeaseRequest;
use service::protocol::{ErrorCode, JobId, Reason, State, WorkerKind, WorkspaceId};

use crate::support::{
    Gateway, assert_whole, attempts, cancel, job, job_with, names, outcome, read_all, read_until,
};
use crate::worker::Worker;

#[tokio::test]
async fn a_worker_that_is_lost_before_the_agent_starts_is_replaced() {
    let gateway = Gateway::start().await;
    let first = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("patchonce old\nholdonce\nhello\npatch new")).await;
    let id = stream.job();
    read_until(&mut stream, "output").await;
    first.kill();
    let requeued = read_until(&mut stream, "queued").await;
    assert!(requeued.last().unwrap().data.contains("attempt 1 failed"), "{requeued:?}");
    let _second = Worker::workflow(&gateway).await;
    read_all(stream).await;
    let frames = read_all(crate::support::follow(&gateway, id)).await;
    assert_whole(&frames);
    assert_eq!(attempts(&frames), [1, 2]);
    assert_eq!(outcome(&frames).state, State::Completed);
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "new");
}

#[tokio::test]
async fn a_worker_that_is_lost_while_the_agent_runs_fails_the_job() {
    let gateway = Gateway::start().await;
    let worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("agent\nhold")).await;
    read_until(&mut stream, "step").await;
    worker.kill();
    let outcome = outcome(&read_all(stream).await);
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::WorkerLost)));
    assert!(outcome.retryable);
}

#[tokio::test]
async fn a_worker_that_is_lost_while_the_agent_runs_is_replaced_if_the_job_says_so() {
    let gateway = Gateway::start().await;
    let first = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job_with("agent\nholdonce", json!({ "retries": 1 }))).await;
    read_until(&mut stream, "step").await;
    first.kill();
    let _second = Worker::workflow(&gateway).await;
    let frames = read_all(stream).await;
    assert_eq!((attempts(&frames), outcome(&frames).state), (vec![2], State::Completed));
}

#[tokio::test]
async fn a_retryable_end_is_retried_as_often_as_the_job_says() {
    let gateway = Gateway::start().await;
    let _workers = (Worker::workflow(&gateway).await, Worker::workflow(&gateway).await);
    let frames =
        read_all(gateway.submit(job_with("failonce", json!({ "retries": 1 }))).await).await;
    assert_whole(&frames);
    assert_eq!(attempts(&frames), [1, 2]);
    assert_eq!(outcome(&frames).state, State::Completed);
    let _workers = (Worker::workflow(&gateway).await, Worker::workflow(&gateway).await);
    let body = job_with("agent\nfail rate_limited", json!({ "retries": 1 }));
    let frames = read_all(gateway.submit(body).await).await;
    assert_eq!(
        (attempts(&frames), outcome(&frames).reason),
        (vec![1, 2], Some(Reason::RateLimited))
    );
}

#[tokio::test]
async fn a_busy_worker_costs_no_attempt() {
    let gateway = Gateway::start().await;
    let taken = Worker::workflow(&gateway).await;
    gateway.workers("workflow", "idle", 1).await;
    let request: service::protocol::request::WorkflowRequest =
        serde_json::from_value(job("hold")).unwrap();
    let body = request.to_wire();
    let direct =
        Submission { path: "/api/workflow", body: &body, job: None, idempotency_key: None };
    gateway.inside().at(&taken.url).submit_async(direct).await.unwrap();
    let mut stream = gateway.submit(job("hello")).await;
    let before = read_until(&mut stream, "queued").await;
    assert_eq!(names(&before), ["accepted", "queued"]);
    let _free = Worker::workflow(&gateway).await;
    let frames = read_all(stream).await;
    assert_eq!((attempts(&frames), outcome(&frames).state), (vec![1], State::Completed));
}

#[tokio::test]
async fn a_worker_that_does_not_end_a_cancelled_job_does_not_hold_it_up_for_ever() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("hello\ndeaf")).await;
    read_until(&mut stream, "agent").await;
    let told = "the job is being stopped; its last event tells its end";
    assert_eq!(cancel(&gateway, stream.job()).await, (202, told.to_owned()));
    let again = "the job was being stopped already; its last event tells its end";
    assert_eq!(cancel(&gateway, stream.job()).await, (202, again.to_owned()));
    let frames = read_all(stream).await;
    assert_eq!(outcome(&frames).state, State::Cancelled);
}

fn lease(kind: WorkerKind, job: JobId, workspace: Option<WorkspaceId>) -> LeaseRequest {
    LeaseRequest { kind, job, workspace }
}

#[tokio::test]
async fn a_running_job_leases_workers_of_its_workspace() {
    let gateway = Gateway::start().await;
    let _workflow = Worker::workflow(&gateway).await;
    let stream = gateway.submit(job("hold")).await;
    let job = stream.job();
    gateway.until(job, JobState::Running).await;
    let [here, elsewhere] = [(); 2].map(|()| WorkspaceId::random());
    let pull = Worker::start(&gateway, WorkerKind::GitPull, Some(here)).await;
    let inside = gateway.inside();
    let leased = inside.lease(&lease(WorkerKind::GitPull, job, None)).await.unwrap();
    assert_eq!((leased.worker, leased.workspace), (pull.id, Some(here)));
    assert_eq!((leased.url, leased.node.as_str()), (pull.url.clone(), "node-1"));
    let _far = Worker::start(&gateway, WorkerKind::ClaudeExec, Some(elsewhere)).await;
    gateway.workers("claude-exec", "idle", 1).await;
    let waiting = tokio::spawn({
        let inside = inside.clone();
        async move { inside.lease(&lease(WorkerKind::ClaudeExec, job, Some(here))).await }
    });
    let near = Worker::start(&gateway, WorkerKind::ClaudeExec, Some(here)).await;
    assert_eq!(waiting.await.unwrap().unwrap().worker, near.id);
}

#[tokio::test]
async fn a_lease_needs_a_running_job_and_a_kind_that_is_leased() {
    let gateway = Gateway::start().await;
    let queued = gateway.submit(job("hello")).await.job();
    for job in [queued, JobId::random()] {
        let error = gateway.inside().lease(&lease(WorkerKind::GitPull, job, None)).await;
        assert_eq!(error.unwrap_err().code(), Some(ErrorCode::Conflict));
    }
    let error = gateway.inside().lease(&lease(WorkerKind::Workflow, queued, None)).await;
    assert_eq!(error.unwrap_err().code(), Some(ErrorCode::NotAllowed));
}

#[tokio::test]
async fn a_lease_that_is_not_used_comes_back_and_one_whose_worker_is_gone_does_not() {
    let gateway = Gateway::start().await;
    let _workflow = Worker::workflow(&gateway).await;
    let stream = gateway.submit(job("hold")).await;
    let job = stream.job();
    gateway.until(job, JobState::Running).await;
    let pull = Worker::start(&gateway, WorkerKind::GitPull, None).await;
    let request = lease(WorkerKind::GitPull, job, None);
    gateway.inside().lease(&request).await.unwrap();
    gateway.workers("git-pull", "leased", 1).await;
    let again = gateway.inside().lease(&request).await.unwrap();
    assert_eq!(again.worker, pull.id);
    pull.kill();
    gateway.workers("git-pull", "leased", 0).await;
    gateway.workers("git-pull", "idle", 0).await;
}

#[tokio::test]
async fn whoever_gives_up_waiting_for_a_worker_does_not_take_one_away() {
    let gateway = Gateway::start().await;
    let _workflow = Worker::workflow(&gateway).await;
    let stream = gateway.submit(job("hold")).await;
    let job = stream.job();
    gateway.until(job, JobState::Running).await;
    let inside = gateway.inside();
    let request = lease(WorkerKind::GitPull, job, None);
    let gone = tokio::time::timeout(Duration::from_millis(100), inside.lease(&request)).await;
    assert!(gone.is_err());
    let pull = Worker::start(&gateway, WorkerKind::GitPull, None).await;
    assert_eq!(inside.lease(&request).await.unwrap().worker, pull.id);
}
