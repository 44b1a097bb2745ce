//! What is told of the stack.

use serde_json::{Value, json};
use service::protocol::WorkerKind;
use service::protocol::cluster::{Autoscale, Restarts};

use crate::docker::Docker;
use crate::gateway::{problem, service, usual};

#[tokio::test]
async fn the_stack_is_reported_without_anything_of_its_environment() {
    let docker = Docker::new();
    docker.end_task("noimage", "r", "rejected", "No such image: oneshift-nope:1");
    let (gateway, operator) = usual(&docker, &[("ONESHIFT_AUTOSCALE", "git-pull=1..9")]).await;
    let report = gateway.next().await;
    assert_eq!(report.nodes.len(), 1);
    assert!(report.at.is_some());
    let flash = service(&report, "flash");
    assert_eq!((flash.kind, flash.replicas), (Some(WorkerKind::GitPull), Some(3)));
    assert_eq!(flash.autoscale, Some(Autoscale { min: 1, max: 9 }));
    assert!(problem(&report, "No such image: oneshift-nope:1").is_some(), "{report:?}");
    assert!(problem(&report, "the update of bad is paused").is_some(), "{report:?}");
    assert!(!gateway.last().contains("hunter2"));
    assert!(!operator.log().contains("hunter2"), "not even where everything is logged");
    assert!(docker.filters().iter().all(|it| it.contains("com.docker.stack.namespace=optest")));
}

#[tokio::test]
async fn ends_of_tasks_are_counted_from_the_start_of_the_operator() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[]).await;
    let report = gateway.next().await;
    assert!(report.services.iter().all(|service| service.restarts == Restarts::default()));
    for (id, state) in [("new-1", "complete"), ("new-2", "complete"), ("new-3", "failed")] {
        docker.end_task("flash", id, state, "");
    }
    let expected = Restarts { after_job: 2, after_crash: 1 };
    gateway.until(|report| service(report, "flash").restarts == expected).await;
    let again = gateway.next().await;
    assert_eq!(service(&again, "flash").restarts, expected);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_told_and_does_not_end_the_operator() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[]).await;
    let tasks = docker.with(|shown| std::mem::replace(&mut shown.tasks, json!({ "a": 1 })));
    gateway.until(|report| problem(report, "Docker's answer cannot be read").is_some()).await;
    docker.with(|shown| shown.tasks = Value::clone(&tasks));
    gateway.until(|report| problem(report, "Docker").is_none()).await;
}
