//! Workers that are told to stop while their workspace is in use.

use std::time::Duration;

use service::client::EventStream;
use service::one_shot::Exit;
use service::protocol::worker::{Attach, Cause, LeaseRequest};
use service::protocol::{JobId, WorkerId, WorkerKind, WorkspaceId};
use tokio::time::timeout;

use crate::support::{Gateway, job, read_all, read_until};
use crate::worker::Worker;

/// Long enough for whoever leaves at once.
const MOMENT: Duration = Duration::from_secs(1);

/// A job that runs, and whose repository a git-pull that is gone has pulled into this workspace.
async fn pulled(gateway: &Gateway, workspace: WorkspaceId) -> EventStream {
    let mut stream = gateway.submit(job("hello\nhold")).await;
    read_until(&mut stream, "agent").await;
    let first = Worker::start(gateway, WorkerKind::GitPull, Some(workspace)).await;
    assert_eq!(lease(gateway, stream.job(), None).await, Some(workspace));
    first.kill();
    stream
}

/// The workspace of the git-pull that a job gets.
async fn lease(
    gateway: &Gateway,
    job: JobId,
    workspace: Option<WorkspaceId>,
) -> Option<WorkspaceId> {
    let request = LeaseRequest { kind: WorkerKind::GitPull, job, workspace };
    gateway.inside().lease(&request).await.unwrap().workspace
}

#[tokio::test]
async fn the_last_worker_of_a_workspace_stays_until_no_job_has_its_files_there() {
    let gateway = Gateway::start().await;
    let workflow = Worker::workflow(&gateway).await;
    let workspace = WorkspaceId::random();
    let stream = pulled(&gateway, workspace).await;
    let mut last = Worker::start(&gateway, WorkerKind::GitPull, Some(workspace)).await;
    gateway.workers("git-pull", "idle", 1).await;
    last.tell_to_stop().await;
    assert!(timeout(MOMENT, last.exits()).await.is_err());
    workflow.go_on();
    read_all(stream).await;
    assert_eq!(last.exits().await, Exit::Idle);
}

#[tokio::test]
async fn a_worker_that_is_to_go_does_what_its_workspace_needs_and_nothing_new() {
    let gateway = Gateway::start().await;
    let _workflows = (Worker::workflow(&gateway).await, Worker::workflow(&gateway).await);
    let (here, elsewhere) = (WorkspaceId::random(), WorkspaceId::random());
    let stream = pulled(&gateway, here).await;
    let mut last = Worker::start(&gateway, WorkerKind::GitPull, Some(here)).await;
    gateway.workers("git-pull", "idle", 1).await;
    last.tell_to_stop().await;
    assert!(timeout(MOMENT, last.exits()).await.is_err());
    // It has been idle for longer than the one that is given this job.
    let _second = pulled(&gateway, elsewhere).await;
    assert_eq!(lease(&gateway, stream.job(), Some(here)).await, Some(here));
}

#[tokio::test]
async fn a_worker_that_asks_before_it_is_attached_is_no_stranger() {
    let gateway = Gateway::start().await;
    let workflow = Worker::workflow(&gateway).await;
    let workspace = WorkspaceId::random();
    let stream = pulled(&gateway, workspace).await;
    let id = WorkerId::random();
    let (inside, asks) = (gateway.inside(), gateway.inside());
    let mut leave = tokio::spawn(async move { asks.depart(id, Cause::ToldToStop).await });
    assert!(timeout(MOMENT, &mut leave).await.is_err(), "it may be about to attach");
    let attach = Attach {
        id,
        kind: WorkerKind::GitPull,
        port: 1,
        workspace: Some(workspace),
        node: "node-1".to_owned(),
        version: "1".to_owned(),
        agents: Vec::new(),
        job: None,
        is_leaving: true,
        succeeds: None,
    };
    let _line = inside.attach(&attach).await.unwrap();
    assert!(timeout(MOMENT, &mut leave).await.is_err(), "the job has its files there");
    workflow.go_on();
    read_all(stream).await;
    assert!(leave.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_worker_that_nobody_needs_goes_at_once() {
    let gateway = Gateway::start().await;
    let _workflow = Worker::workflow(&gateway).await;
    let workspace = WorkspaceId::random();
    let start = || Worker::start(&gateway, WorkerKind::GitPull, Some(workspace));
    let mut idle = start().await;
    gateway.workers("git-pull", "idle", 1).await;
    idle.tell_to_stop().await;
    assert_eq!(timeout(MOMENT, idle.exits()).await.unwrap(), Exit::Idle);
    // Also while a job is there, if somebody else stays.
    let _stream = pulled(&gateway, workspace).await;
    let (mut first, _second) = (start().await, start().await);
    gateway.workers("git-pull", "idle", 2).await;
    first.tell_to_stop().await;
    assert_eq!(first.exits().await, Exit::Idle);
}
