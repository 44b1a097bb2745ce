//! What the operator does when it is told to.

use serde_json::{Value, json};
use service::protocol::cluster::{Action, OrderResult};

use crate::docker::Docker;
use crate::gateway::{service, usual};

fn outcome(result: &OrderResult) -> (bool, &str) {
    (result.done, &result.message)
}

#[tokio::test]
async fn scaling_changes_the_replicas_and_nothing_else() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[]).await;
    let mut expected = docker.with_service("flash", |service| service["Spec"].clone());
    expected["Mode"]["Replicated"]["Replicas"] = json!(7);
    let result = gateway.order("flash", Action::Scale { replicas: 7 }).await;
    assert_eq!(outcome(&result), (true, "flash is scaled from 3 to 7"));
    assert_eq!(docker.with_service("flash", |service| service["Spec"].clone()), expected);
    gateway.until(|report| service(report, "flash").replicas == Some(7)).await;
}

#[tokio::test]
async fn a_change_that_somebody_elses_came_before_is_made_again() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[]).await;
    docker.with(|shown| shown.out_of_sequence = 3);
    let result = gateway.order("flash", Action::Scale { replicas: 4 }).await;
    assert!(result.done, "{result:?}");
    docker.with(|shown| shown.out_of_sequence = 1000);
    let result = gateway.order("flash", Action::Scale { replicas: 5 }).await;
    assert_eq!(outcome(&result), (false, "Docker refuses: update out of sequence"));
}

#[tokio::test]
async fn a_forced_update_and_a_rollback_reach_docker() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[]).await;
    let result = gateway.order("front", Action::Update).await;
    assert_eq!(outcome(&result), (true, "all replicas of front are being replaced"));
    let result = gateway.order("front", Action::Rollback).await;
    let nothing = "nothing is known of a version of front before this one";
    assert_eq!(outcome(&result), (false, nothing));
    docker.with_service("front", |service| {
        service["PreviousSpec"] = service["Spec"].clone();
        service["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]["Image"] = json!("old:1");
    });
    let result = gateway.order("front", Action::Rollback).await;
    assert_eq!(outcome(&result), (true, "front goes back to old:1"));
    let rollbacks: Vec<String> = docker
        .with(|shown| shown.updates.iter().map(|(update, _)| update.rollback.clone()).collect());
    assert_eq!(rollbacks, ["", "previous"]);
}

#[tokio::test]
async fn the_version_before_is_found_again_after_any_scaling() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[]).await;
    docker.with_service("flash", |service| {
        service["PreviousSpec"] = service["Spec"].clone();
        service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = json!("new:2");
    });
    for replicas in [5, 9] {
        assert!(gateway.order("flash", Action::Scale { replicas }).await.done);
    }
    let result = gateway.order("flash", Action::Rollback).await;
    assert!(result.done, "{result:?}");
    let image = |spec: &Value| spec["TaskTemplate"]["ContainerSpec"]["Image"].clone();
    let back = docker.with_service("flash", |service| image(&service["Spec"]));
    assert!(back.as_str().unwrap().starts_with("sha256:"), "{back}");
    assert_eq!(docker.replicas("flash"), 9);
}

#[tokio::test]
async fn services_of_others_and_running_updates_are_left_alone() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[]).await;
    let scale = Action::Scale { replicas: 4 };
    let result = gateway.order("bad", scale).await;
    let paused = "the update of bad is paused; update it again or roll it back first";
    assert_eq!(outcome(&result), (false, paused));
    let result = gateway.order("back", scale).await;
    let updated = "back is being updated; scale it when that has ended";
    assert_eq!(outcome(&result), (false, updated));
    let result = gateway.order("agent", scale).await;
    assert_eq!(outcome(&result), (false, "agent has no replicas"));
    let result = gateway.order("elsewhere", scale).await;
    let gone = "there is no service elsewhere in the stack optest";
    assert_eq!(outcome(&result), (false, gone));
    // Docker shows it although it was not asked for it.
    docker.with_service("front", |service| {
        service["Spec"]["Labels"]["com.docker.stack.namespace"] = json!("other");
    });
    assert!(!gateway.order("front", Action::Update).await.done);
    assert!(docker.with(|shown| shown.updates.is_empty()));
}
