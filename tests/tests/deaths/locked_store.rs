//! The store's file in the hands of another process: of a second gateway, and of somebody who looks
//! at it with another program for longer than SQLite waits.

use std::time::Duration;

use end_to_end::{Launch, Setup, http};
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::aftermath::{UNTOUCHED, assert_aftermath};
use crate::cell::signal;
use crate::locks::{FileLock, StoreLock, gateway_lock};
use crate::point::{Point, Victim};
use crate::scene::Scene;

/// SQLite waits for 5 s; each that comes in may find another one waiting, but not all in turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// Submits a job under a key; the status and what was said.
async fn submit(scene: &Scene, key: usize) -> (u16, Value) {
    let post = http::client().post(scene.stack.url("/api/workflow"));
    let post = post.header("prefer", "respond-async").header("idempotency-key", key.to_string());
    let request = json!({"prompt": "echo c > c.txt", "repoUrl": scene.url()});
    let answer = post.body(request.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn store_locked_while_jobs_run_and_come_in() {
    let mut scene = Scene::start(Setup::new()).await;
    scene.reach(Point::AgentRuns).await;
    let seen = scene.stack.children();
    let lock = StoreLock::of(&scene.stack.data());
    scene.open("agent");
    let refusals = timeout(PATIENCE, join_all((0..20).map(|key| submit(&scene, key)))).await;
    let refusals = refusals.expect("all are refused at about the same time");
    for (status, said) in refusals {
        assert_eq!((status, &said["error"]["code"]), (503, &json!("unavailable")), "{said}");
    }
    let listed = scene.stack.get("/api/jobs").await;
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1, "none is half there: {listed}");
    scene.workflow_has_its_outcome().await;
    drop(lock);
    let (status, said) = submit(&scene, 0).await;
    assert_eq!(status, 202, "the same is accepted now: {said}");
    let ended = scene.follow(said["id"].as_str().unwrap()).end().await;
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert_aftermath(scene, UNTOUCHED, seen).await;
}

#[tokio::test]
async fn store_locked_when_its_gateway_starts() {
    let mut scene = Scene::start(Setup::new()).await;
    scene.reach(Point::AgentRuns).await;
    let seen = scene.stack.children();
    let gateway = scene.process_of(Victim::Gateway, Point::AgentRuns).await;
    let lock = StoreLock::of(&scene.stack.data());
    signal(gateway, Signal::KILL);
    scene.stack.supervisor().line("database is locked").await;
    drop(lock);
    assert_aftermath(scene, UNTOUCHED, seen).await;
}

#[tokio::test]
async fn store_of_another_gateway_when_its_gateway_starts() {
    let mut scene = Scene::start(Setup::new().env("ONESHIFT_STORE_WAIT_SECONDS", "1")).await;
    scene.reach(Point::AgentRuns).await;
    let seen = scene.stack.children();
    let gateway = scene.process_of(Victim::Gateway, Point::AgentRuns).await;
    let lock = FileLock::queue_for(&gateway_lock(&scene.stack.data())).await;
    signal(gateway, Signal::KILL);
    let lock = lock.await;
    scene.stack.supervisor().line("another gateway uses the store").await;
    drop(lock);
    assert_aftermath(scene, UNTOUCHED, seen).await;
}

#[tokio::test]
async fn store_of_a_house_that_is_up_is_refused_to_a_second_one() {
    let mut scene = Scene::start(Setup::new()).await;
    scene.reach(Point::AgentRuns).await;
    let seen = scene.stack.children();
    let data = scene.stack.data();
    let mut second = Launch::of("oneshift")
        .env("ONESHIFT_STORE_WAIT_SECONDS", "1")
        .args(["up", "--port", &end_to_end::free_port().to_string(), "--data"])
        .args([&data])
        .start();
    assert!(!second.exit().await.success());
    second.line("another gateway uses the store").await;
    second.line("the gateway does not start; its own words are above").await;
    assert_aftermath(scene, UNTOUCHED, seen).await;
}
