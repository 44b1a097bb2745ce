//! The real binary over HTTP: one job for each process.

use std::path::Path;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::{Events, assert_complete};
use end_to_end::{Launch, Process, http};
use serde_json::{Value, json};

const JOB: &str = "0192f0c1-7c5e-7b3a-9d57-2f1f5c0e8a11";

fn worker(workspace: &Path) -> Process {
    Launch::program(Path::new(env!("CARGO_BIN_EXE_git-pull")))
        .env("ONESHIFT_LISTEN", "127.0.0.1:0")
        .env("ONESHIFT_WORKSPACE", workspace)
        .start()
}

async fn post(worker: &Process, path: &str, body: &Value) -> reqwest::Response {
    let url = worker.url(path).await;
    let request = http::client().post(url).header("oneshift-job", JOB);
    request.body(body.to_string()).send().await.expect("the worker answers")
}

fn server() -> GitServer {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("README.md", "hello\n").noise("noise", 300_000).commit("first");
    });
    server
}

#[tokio::test]
async fn one_worker_pulls_and_another_delivers() {
    let (workspace, server) = (tempfile::tempdir().unwrap(), server());
    let url = server.url(Access::Public, "demo");

    let mut puller = worker(workspace.path());
    let answer = post(&puller, "/api/pull", &json!({"repoUrl": url})).await;
    let outcome = assert_complete(&Events::of(answer).await.rest().await)["outcome"].clone();
    assert_eq!(outcome["state"], "completed", "{outcome}");
    assert!(puller.exit().await.success());

    let checkout = workspace.path().join("jobs").join(JOB).join("repo");
    std::fs::write(checkout.join("README.md"), "hello\nworld\n").unwrap();
    let mut deliverer = worker(workspace.path());
    let body = json!({"repoUrl": url, "base": outcome["commit"], "deliver": {"mode": "patch"}});
    let answer = post(&deliverer, "/api/deliver", &body).await;
    let frames = Events::of(answer).await.rest().await;
    let outcome = assert_complete(&frames)["outcome"].clone();
    assert_eq!(outcome["changes"], json!({"files": 1, "insertions": 1, "deletions": 0}));
    let patch = frames.iter().find(|frame| frame.event == "output").unwrap().json();
    assert_eq!((&patch["step"], &patch["stream"]), (&json!("deliver"), &json!("patch")));
    assert!(patch["text"].as_str().unwrap().contains("\n+world\n"), "{patch}");
    assert!(deliverer.exit().await.success());
}

#[tokio::test]
async fn a_failed_job_is_told_in_its_last_event_and_the_worker_exits_with_0() {
    let (workspace, server) = (tempfile::tempdir().unwrap(), server());
    let mut worker = worker(workspace.path());
    let body = json!({"repoUrl": server.url(Access::Missing, "demo")});
    let answer = post(&worker, "/api/pull", &body).await;
    let outcome = assert_complete(&Events::of(answer).await.rest().await)["outcome"].clone();
    assert_eq!(
        (&outcome["state"], &outcome["reason"]),
        (&json!("failed"), &json!("repository_not_found"))
    );
    assert!(worker.exit().await.success());
}

#[tokio::test]
async fn a_bad_request_names_its_field_and_leaves_the_worker_idle() {
    let (workspace, server) = (tempfile::tempdir().unwrap(), server());
    let worker = worker(workspace.path());
    let url = server.url(Access::Public, "demo");
    for (path, body, field) in [
        ("/api/pull", json!({}), "repoUrl"),
        ("/api/pull", json!({"repoUrl": "/srv/repo"}), "repoUrl"),
        ("/api/pull", json!({"repoUrl": "http://169.254.169.254/x"}), "repoUrl"),
        ("/api/pull", json!({"repoUrl": "http://h/x\n"}), "repoUrl"),
        ("/api/pull", json!({"repoUrl": url, "branch": "-x"}), "branch"),
        ("/api/pull", json!({"repoUrl": url, "directory": "../x"}), "directory"),
        ("/api/pull", json!({"repoUrl": url, "depth": 1}), "depth"),
        ("/api/deliver", json!({"repoUrl": url, "base": "main"}), "base"),
        ("/api/deliver", json!({"repoUrl": url, "deliver": {"mode": "branch"}}), "deliver.mode"),
    ] {
        let answer = post(&worker, path, &body).await;
        assert_eq!(answer.status(), 422, "{body}");
        let error: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(error["error"]["field"], field, "{error}");
    }
    let status = http::client().get(worker.url("/status").await).send().await.unwrap();
    assert_eq!(status.text().await.unwrap(), "{\"status\":\"idle\"}");
}

#[tokio::test]
async fn a_worker_killed_in_the_middle_of_a_fetch_leaves_nothing_in_the_way() {
    let (workspace, server) = (tempfile::tempdir().unwrap(), GitServer::start());
    server.repository("slow", |repository| {
        repository.noise("noise", 20_000).commit("first");
    });
    let killed = worker(workspace.path());
    let body = json!({"repoUrl": server.url(Access::Slow, "slow")});
    let _answer = post(&killed, "/api/pull", &body).await;
    // Now it holds the lock of the mirror, which is empty.
    while server.upload_packs() == 0 {
        tokio::task::yield_now().await;
    }
    killed.signal(rustix::process::Signal::KILL);
    drop(killed);
    let mut next = worker(workspace.path());
    let answer = post(&next, "/api/pull", &body).await;
    let outcome = assert_complete(&Events::of(answer).await.rest().await)["outcome"].clone();
    assert_eq!(outcome["state"], "completed", "{outcome}");
    assert!(next.exit().await.success());
}

#[tokio::test]
async fn a_cancelled_pull_ends_at_once() {
    let (workspace, server) = (tempfile::tempdir().unwrap(), server());
    let mut worker = worker(workspace.path());
    let body = json!({"repoUrl": server.url(Access::StalledPack, "demo")});
    let answer = post(&worker, "/api/pull", &body).await;
    while server.upload_packs() == 0 {
        tokio::task::yield_now().await;
    }
    let url = worker.url(&format!("/api/jobs/{JOB}")).await;
    http::client().delete(url).send().await.unwrap();
    let outcome = assert_complete(&Events::of(answer).await.rest().await)["outcome"].clone();
    assert_eq!(outcome["state"], "cancelled", "{outcome}");
    assert!(worker.exit().await.success());
}
