//! What a job leaves behind whose workers died: it goes after its time.

use end_to_end::{Setup, eventually};
use rustix::process::Signal;
use serde_json::json;

use crate::aftermath::{LOST, Promise, UNTOUCHED, assert_aftermath};
use crate::cell::signal;
use crate::point::{Point, Victim};
use crate::scene::Scene;

/// The folder of a job whose worker was killed at this point goes, by the doing of later jobs.
async fn folder_goes(victim: Victim, point: Point, promise: Promise) {
    // 3.6 s: longer than a job of these is between two of its steps.
    let setup = Setup::new().env("ONESHIFT_RETENTION_HOURS", "0.001");
    let setup = setup.env("ONESHIFT_READER_WAIT_SECONDS", "1");
    let mut scene = Scene::start(setup).await;
    scene.reach(point).await;
    let seen = scene.stack.children();
    signal(scene.process_of(victim, point).await, Signal::KILL);
    scene.release();
    let job = scene.job.as_ref().unwrap().job.clone();
    scene.follow(&job).end().await;
    let folder = scene.stack.job_folder(&job);
    assert!(folder.exists(), "it is kept for a while");
    eventually("the folder is tidied up", async || {
        let request =
            json!({"prompt": "true", "repoUrl": scene.url(), "deliver": {"mode": "none"}});
        scene.submit(&request).await.end().await;
        (!folder.exists()).then_some(())
    })
    .await;
    assert_aftermath(scene, promise, seen).await;
}

#[tokio::test]
async fn folder_of_a_lost_agent_goes_after_its_time() {
    folder_goes(Victim::ClaudeExec, Point::AgentRuns, LOST).await;
}

#[tokio::test]
async fn folder_of_a_lost_workflow_goes_after_its_time() {
    folder_goes(Victim::Workflow, Point::AgentRuns, LOST).await;
}

#[tokio::test]
async fn folder_of_a_lost_delivery_goes_after_its_time() {
    folder_goes(Victim::GitPull, Point::Delivering, UNTOUCHED).await;
}
