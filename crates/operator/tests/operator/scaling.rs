//! Replicas follow the demand.

use serde_json::json;
use service::protocol::WorkerKind;
use service::protocol::cluster::{Demand, KindDemand};

use crate::docker::Docker;
use crate::gateway::{service, usual};

fn pulls(queued: u32, busy: u32) -> Demand {
    let kind = WorkerKind::GitPull;
    Demand { running_jobs: 0, workers: vec![KindDemand { kind, queued, idle: 0, leased: 0, busy }] }
}

#[tokio::test]
async fn a_queue_is_met_at_once_and_within_the_bounds() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[("ONESHIFT_AUTOSCALE", "git-pull=2..8")]).await;
    gateway.demands(pulls(2, 3));
    gateway.until(|report| service(report, "flash").replicas == Some(6)).await;
    gateway.demands(pulls(40, 6));
    gateway.until(|report| service(report, "flash").replicas == Some(8)).await;
    // It does not go down as soon as nobody waits.
    gateway.demands(pulls(0, 0));
    for _ in 0..3 {
        assert_eq!(service(&gateway.next().await, "flash").replicas, Some(8));
    }
}

#[tokio::test]
async fn idle_workers_on_other_nodes_do_not_count_for_steps_that_wait() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[("ONESHIFT_AUTOSCALE", "git-pull=2..8")]).await;
    let mut demand = pulls(1, 1);
    demand.workers[0].idle = 2;
    gateway.demands(demand);
    gateway.until(|report| service(report, "flash").replicas == Some(5)).await;
}

#[tokio::test]
async fn nothing_is_scaled_without_bounds() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[]).await;
    gateway.demands(pulls(40, 3));
    for _ in 0..3 {
        gateway.next().await;
    }
    assert_eq!(docker.replicas("flash"), 3);
}

#[tokio::test]
async fn an_update_is_not_disturbed() {
    let docker = Docker::new();
    let (gateway, _operator) = usual(&docker, &[("ONESHIFT_AUTOSCALE", "git-pull=2..8")]).await;
    docker.with_service("flash", |it| it["UpdateStatus"] = json!({ "State": "updating" }));
    gateway.until(|report| service(report, "flash").update.is_some()).await;
    gateway.demands(pulls(2, 3));
    for _ in 0..3 {
        gateway.next().await;
    }
    assert_eq!(docker.replicas("flash"), 3);
    docker.with_service("flash", |it| it["UpdateStatus"] = json!({ "State": "completed" }));
    gateway.until(|report| service(report, "flash").replicas == Some(6)).await;
}

#[tokio::test]
async fn later_steps_follow_the_jobs_that_run() {
    let docker = Docker::new();
    docker.with_service("crash", |it| it["Spec"]["Mode"]["Replicated"]["Replicas"] = json!(9));
    let (gateway, _operator) = usual(&docker, &[("ONESHIFT_AUTOSCALE", "git-pull=2..8")]).await;
    gateway.demands(Demand { running_jobs: 5, workers: Vec::new() });
    gateway.until(|report| service(report, "flash").replicas == Some(6)).await;
    // The crash service's are the workflow workers; no more jobs can run than there are of them.
    docker.with_service("crash", |it| it["Spec"]["Mode"]["Replicated"]["Replicas"] = json!(6));
    gateway.demands(Demand { running_jobs: 40, workers: Vec::new() });
    gateway.until(|report| service(report, "flash").replicas == Some(7)).await;
}
