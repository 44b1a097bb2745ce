//! A full disk: under the store and under the workspace, at each point and at a start.

use std::fs;
use std::sync::Arc;

use end_to_end::{Setup, SmallDisk, eventually, http};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::aftermath::{FULL, FULL_BEFORE, Promise, UNTOUCHED, assert_aftermath};
use crate::cell::signal;
use crate::point::{Point, Victim};
use crate::scene::Scene;

/// Room for a store, or a workspace, and what a test does with it.
const MEGABYTES: u32 = 24;

async fn on_store(disk: &Arc<SmallDisk>) -> Scene {
    Scene::start(Setup::new().data_on(disk)).await
}

async fn on_workspace(disk: &Arc<SmallDisk>) -> Scene {
    Scene::start(Setup::new().workspace_on(disk)).await
}

async fn disk() -> Option<Arc<SmallDisk>> {
    SmallDisk::new(MEGABYTES).await.map(Arc::new)
}

/// Submits a job with a long prompt; its status, its `Retry-After` and what was said.
async fn submit_much(scene: &Scene, key: usize) -> (u16, Option<String>, Value) {
    let mut request = scene.request();
    request["prompt"] = format!(": '{}'", "x".repeat(500_000)).into();
    let post = http::client().post(scene.stack.url("/api/workflow"));
    let post = post.header("prefer", "respond-async").header("idempotency-key", key.to_string());
    let answer = post.body(request.to_string()).send().await.unwrap();
    let after = answer.headers().get("retry-after").map(|it| it.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    (status, after, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn store_full_while_the_agent_runs_and_others_submit() {
    let Some(disk) = disk().await else { return };
    let mut scene = on_store(&disk).await;
    scene.reach(Point::AgentRuns).await;
    let seen = scene.stack.children();
    let filler = disk.fill();
    let mut accepted = Vec::new();
    let refusal = loop {
        let (status, after, said) = submit_much(&scene, accepted.len()).await;
        if status != 202 {
            assert_eq!((status, &said["error"]["code"]), (503, &json!("unavailable")), "{said}");
            assert_eq!(after.as_deref(), Some("1"));
            break said["error"]["message"].as_str().unwrap().to_owned();
        }
        accepted.push(said["id"].as_str().unwrap().to_owned());
        assert!(accepted.len() < 100, "a full disk takes no end of jobs");
    };
    assert!(refusal.contains("store"), "{refusal}");
    let listed = scene.stack.get("/api/jobs").await;
    assert_eq!(listed["jobs"].as_array().unwrap().len(), accepted.len() + 1, "none is half there");
    scene.release();
    scene.workflow_has_its_outcome().await;
    drop(filler);
    let (status, _, said) = submit_much(&scene, accepted.len()).await;
    assert_eq!(status, 202, "the one that was refused is accepted now: {said}");
    accepted.push(said["id"].as_str().unwrap().to_owned());
    for job in accepted {
        let ended = scene.follow(&job).end().await;
        assert_eq!(ended.ending(), "completed no_changes", "{}", ended.outcome);
    }
    assert_aftermath(scene, UNTOUCHED, seen).await;
}

#[tokio::test]
async fn store_full_when_its_gateway_starts_again() {
    let Some(disk) = disk().await else { return };
    let mut scene = on_store(&disk).await;
    scene.reach(Point::AgentRuns).await;
    let seen = scene.stack.children();
    let gateway = scene.process_of(Victim::Gateway, Point::AgentRuns).await;
    let filler = disk.fill();
    signal(gateway, Signal::KILL);
    // It may not even open its store for now.
    eventually("a new gateway has tried", async || {
        let is_try = |line: &&String| {
            line.contains("found jobs of an earlier run") || line.contains("cannot open the store")
        };
        scene.stack.log().iter().find(is_try).map(drop)
    })
    .await;
    drop(filler);
    assert_aftermath(scene, UNTOUCHED, seen).await;
}

#[tokio::test]
async fn store_full_when_it_is_made_says_so() {
    let Some(disk) = disk().await else { return };
    let mut scene = on_store(&disk).await;
    let seen = scene.stack.children();
    scene.stack.end_supervisor(Signal::TERM).await;
    fs::remove_dir_all(scene.stack.data()).unwrap();
    let filler = disk.fill();
    scene.stack.launch_again();
    assert!(!scene.stack.supervisor_end().await.success());
    let said = scene.stack.supervisor().line("cannot open the store").await;
    assert!(said.contains("disk"), "{said}");
    scene.stack.supervisor().line("the gateway does not start; its own words are above").await;
    drop(filler);
    scene.stack.launch_again();
    scene.stack.at_full_strength().await;
    scene.submit_job().await;
    assert_aftermath(scene, UNTOUCHED, seen).await;
}

#[tokio::test]
async fn workspace_full_while_pulling() {
    let Some(disk) = disk().await else { return };
    let mut scene = on_workspace(&disk).await;
    scene.reach(Point::Pulling).await;
    fails_for_lack_of_room(scene, &disk, FULL_BEFORE).await;
}

#[tokio::test]
async fn workspace_full_before_the_agent_runs() {
    let Some(disk) = disk().await else { return };
    let mut scene = Scene::start_with(Setup::new().workspace_on(&disk), 2).await;
    // More than the page or two that are freed when the other job, which has the only claude-exec,
    // ends.
    scene.besides = format!(": '{}'", "x".repeat(500_000));
    scene.reach(Point::Queued).await;
    fails_for_lack_of_room(scene, &disk, FULL_BEFORE).await;
}

#[tokio::test]
async fn workspace_full_while_the_agent_runs() {
    let Some(disk) = disk().await else { return };
    let mut scene = on_workspace(&disk).await;
    scene.reach(Point::AgentRuns).await;
    fails_for_lack_of_room(scene, &disk, FULL).await;
}

#[tokio::test]
async fn workspace_full_while_delivering() {
    let Some(disk) = disk().await else { return };
    let mut scene = on_workspace(&disk).await;
    scene.reach(Point::Delivering).await;
    fails_for_lack_of_room(scene, &disk, FULL).await;
}

/// The disk is full from now on until the job has ended.
async fn fails_for_lack_of_room(mut scene: Scene, disk: &SmallDisk, promise: Promise) {
    let seen = scene.stack.children();
    let filler = disk.fill();
    scene.release();
    let job = scene.job.as_ref().unwrap().job.clone();
    let ended = scene.follow(&job).end().await;
    assert_eq!(ended.ending(), "failed disk_full", "{:#?}", ended.frames);
    let message = ended.outcome["message"].as_str().unwrap();
    assert!(message.contains("the disk of the workspace is full"), "{message}");
    drop(filler);
    assert_aftermath(scene, promise, seen).await;
}

#[tokio::test]
async fn workspace_full_when_workers_start() {
    let Some(disk) = disk().await else { return };
    let mut scene = on_workspace(&disk).await;
    scene.stack.end_supervisor(Signal::TERM).await;
    fs::remove_dir_all(scene.stack.workspace()).unwrap();
    let filler = disk.fill();
    scene.stack.launch_again();
    scene.stack.supervisor().line("cannot use the workspace").await;
    drop(filler);
    scene.stack.at_full_strength().await;
    let seen = scene.stack.children();
    scene.submit_job().await;
    assert_aftermath(scene, UNTOUCHED, seen).await;
}
