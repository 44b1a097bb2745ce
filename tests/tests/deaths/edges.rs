//! The edges of a job's life: while it is being accepted, and while its end is being told.

use std::process::Stdio;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::{Events, assert_complete};
use end_to_end::{Setup, binaries, eventually, http, kernel};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::aftermath::{GONE, LOST, UNTOUCHED, assert_aftermath};
use crate::cell::{replace_supervisor, signal};
use crate::locks::StoreLock;
use crate::point::{Blow, Point, Victim};
use crate::scene::Scene;

#[tokio::test]
async fn gateway_killed_while_it_accepts() {
    let mut scene = Scene::start(Setup::new()).await;
    let seen = scene.stack.children();
    let lock = StoreLock::of(&scene.stack.data());
    let submit = async |scene: &Scene| {
        let post =
            http::client().post(scene.stack.url("/api/workflow")).header("prefer", "respond-async");
        let post = post.header("idempotency-key", "one").body(scene.request().to_string());
        post.send().await.ok()
    };
    let submitting = submit(&scene);
    let killed = async {
        let gateway = scene.process_of(Victim::Gateway, Point::BeforeAccept).await;
        eventually("the job waits to be stored", async || {
            let jobs = &scene.stack.get("/health").await["jobs"];
            (jobs["running"] == 1).then_some(())
        })
        .await;
        signal(gateway, Signal::KILL);
    };
    let (answer, ()) = tokio::join!(submitting, killed);
    assert!(answer.is_none(), "what is not stored is not accepted");
    drop(lock);
    scene.stack.at_full_strength().await;
    assert_eq!(scene.stack.get("/api/jobs").await["jobs"], json!([]), "nothing is left of it");
    let answer = submit(&scene).await.unwrap();
    assert_eq!(answer.status(), 202);
    let job: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let id = job["id"].as_str().unwrap();
    scene.job = Some(scene.follow(id));
    assert_aftermath(scene, UNTOUCHED, seen).await;
}

#[tokio::test]
async fn workflow_killed_before_its_end_is_read() {
    let mut scene = Scene::start(Setup::new()).await;
    // More than what fits into the buffers between a worker and a gateway that does not read.
    scene.besides = "head -c 8000000 /dev/zero | tr '\\0' a > long.txt".to_owned();
    scene.reach(Point::Delivering).await;
    let seen = scene.stack.children();
    let workflow = scene.process_of(Victim::Workflow, Point::Delivering).await;
    let gateway = scene.process_of(Victim::Gateway, Point::Delivering).await;
    signal(gateway, Signal::STOP);
    scene.release();
    scene.workflow_has_its_outcome().await;
    signal(workflow, Signal::KILL);
    signal(gateway, Signal::CONT);
    assert_aftermath(scene, LOST, seen).await;
}

#[tokio::test]
async fn supervisor_killed_before_the_end_is_stored() {
    let mut scene = Scene::start(Setup::new().env("ONESHIFT_REATTACH_SECONDS", "1")).await;
    scene.reach(Point::Unstored).await;
    let seen = scene.stack.children();
    scene.stack.end_supervisor(Signal::KILL).await;
    eventually("the killed supervisor's processes are gone", async || {
        kernel::still_there(&seen).is_empty().then_some(())
    })
    .await;
    scene.release();
    scene.stack.launch_again();
    scene.stack.supervisor().line("Oneshift is up at").await;
    assert_aftermath(scene, GONE, seen).await;
}

#[tokio::test]
async fn supervisor_killed_under_an_agent_that_does_not_want_to_end() {
    let setup = Setup::new().env("ONESHIFT_DRAIN_SECONDS", "100");
    let mut scene = Scene::start(setup.env("ONESHIFT_REATTACH_SECONDS", "1")).await;
    scene.besides = "trap '' INT TERM".to_owned();
    scene.reach(Point::AgentRuns).await;
    let mut seen = scene.stack.children();
    seen.extend(scene.stack.at_work());
    replace_supervisor(&mut scene, Blow::Killed, &seen).await;
    assert_aftermath(scene, GONE, seen).await;
}

#[tokio::test]
async fn log_that_nobody_reads_any_more_keeps_no_worker_from_its_job() {
    let workspace = tempfile::tempdir().unwrap();
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let mut worker = Command::new(binaries().join("git-pull"))
        .env("ONESHIFT_LOG", "debug")
        .env("ONESHIFT_LISTEN", "127.0.0.1:0")
        .env("ONESHIFT_WORKSPACE", workspace.path())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(worker.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some((_, address)) = line.split_once("listening on ") {
            break address.to_owned();
        }
    };
    drop(lines);
    let request = json!({"repoUrl": server.url(Access::Public, "demo")});
    let post = http::client().post(format!("http://{address}/api/pull")).body(request.to_string());
    let frames = Events::of(post.send().await.unwrap()).await.rest().await;
    assert_eq!(assert_complete(&frames)["type"], "completed");
    assert!(worker.wait().await.unwrap().success());
}
