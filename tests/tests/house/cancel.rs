//! A job that somebody stops.

mod moments;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::{Ended, Setup, Stack, eventually, git, http, kernel};
use serde_json::json;

/// Follows a job until its agent says `ready`; returns its events so far, and the rest to come.
async fn ready(stack: &Stack, url: &str, prompt: &str) -> (String, end_to_end::sse::Events) {
    let mut events = stack.submit(&json!({"prompt": prompt, "repoUrl": url})).await;
    let frame = events.until(|frame| frame.data.contains("\"text\":\"ready\"")).await;
    (frame.json()["jobId"].as_str().unwrap().to_owned(), events)
}

fn server() -> (GitServer, end_to_end::git_server::Repository) {
    let server = GitServer::start();
    let repository = server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    (server, repository)
}

/// The status and the sentence with which a wish for a job's end is answered.
async fn delete(stack: &Stack, job: &str) -> (u16, String) {
    let url = stack.url(&format!("/api/jobs/{job}"));
    let answer = http::client().delete(url).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    (status, body["message"].as_str().unwrap().to_owned())
}

/// All events of a job that has ended, as the gateway keeps them.
async fn whole(stack: &Stack, job: &str) -> Ended {
    let text = stack.text(&format!("/api/jobs/{job}/events")).await;
    Ended::of(end_to_end::sse::parse(&text))
}

#[tokio::test]
async fn a_cancelled_job_ends_with_the_patch_so_far_and_leaves_nothing_running() {
    let (stack, (server, repository)) = (Setup::new().start().await, server());
    let url = server.url(Access::Public, "demo");
    let prompt = "trap '' INT TERM; echo half > half.txt; (setsid sleep 1000 &) ; echo ready
                  while :; do sleep 1; done";
    let (job, events) = ready(&stack, &url, prompt).await;
    let checkout = stack.job_folder(&job).join("repo");
    assert!(!kernel::working_below(&checkout).is_empty());
    stack.cancel(&job).await;
    let last = events.rest().await.pop().unwrap().json();
    assert_eq!(last["type"], "cancelled", "{last}");
    let ended = whole(&stack, &job).await;
    assert_eq!(ended.ending(), "cancelled cancel_requested");
    assert_eq!(kernel::working_below(&checkout), []);
    let patch = stack.patch(&job).await;
    let commit = ended.outcome["commit"].as_str().unwrap();
    let clone = git::applied(repository.path(), commit, &patch);
    assert_eq!(std::fs::read_to_string(clone.path().join("half.txt")).unwrap(), "half\n");
    // Cancelling what has ended changes nothing, and the next job finds everything as it was.
    stack.cancel(&job).await;
    assert_eq!(whole(&stack, &job).await.frames, ended.frames);
    stack.at_full_strength().await;
    let next = stack.run(&json!({"prompt": "echo b > b.txt", "repoUrl": url})).await;
    assert_eq!(next.ending(), "completed", "{}", next.outcome);
}

#[tokio::test]
async fn a_job_in_the_queue_is_cancelled_without_ever_starting() {
    let (stack, (server, _)) = (Setup::new().start().await, server());
    let url = server.url(Access::Public, "demo");
    let prompt = "echo ready; while :; do sleep 1; done";
    let (first, running) = ready(&stack, &url, prompt).await;
    let mut queued = stack.submit(&json!({"prompt": "true", "repoUrl": url})).await;
    let frame = queued.until(|frame| frame.event == "queued").await.json();
    assert_eq!(frame["position"], 1, "{frame}");
    assert!(!frame["reason"].as_str().unwrap().is_empty());
    let second = frame["jobId"].as_str().unwrap().to_owned();
    stack.cancel(&second).await;
    queued.rest().await;
    let ended = whole(&stack, &second).await;
    assert_eq!(ended.ending(), "cancelled cancel_requested");
    assert!(ended.events("started").is_empty());
    let late = delete(&stack, &second).await;
    assert_eq!(late, (200, "the job had ended before: cancelled; nothing is changed".to_owned()));
    stack.cancel(&first).await;
    running.rest().await;
    stack.at_full_strength().await;
}

#[tokio::test]
async fn a_pull_that_hangs_is_cancelled() {
    let (stack, (server, _)) = (Setup::new().start().await, server());
    let url = server.url(Access::StalledPack, "demo");
    let mut events = stack.submit(&json!({"prompt": "true", "repoUrl": url})).await;
    let mut frames = vec![events.next().await.unwrap()];
    eventually("the pack is asked for", async || (server.upload_packs() > 0).then_some(())).await;
    stack.cancel(frames[0].json()["jobId"].as_str().unwrap()).await;
    frames.extend(events.rest().await);
    assert_eq!(Ended::of(frames).ending(), "cancelled cancel_requested");
    stack.at_full_strength().await;
}

#[tokio::test]
async fn a_job_outlives_its_follower_unless_that_asked_for_the_opposite() {
    let (stack, (server, _)) = (Setup::new().start().await, server());
    let url = server.url(Access::Public, "demo");
    let prompt = "echo ready; while [ ! -e go ]; do sleep 0.05; done; echo b > b.txt";
    let (job, events) = ready(&stack, &url, prompt).await;
    drop(events);
    std::fs::write(stack.job_folder(&job).join("repo/go"), "").unwrap();
    let ended = whole(&stack, &job).await;
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    stack.at_full_strength().await;

    let body = json!({"prompt": prompt, "repoUrl": url}).to_string();
    let post = http::client().post(stack.url("/api/workflow?onDisconnect=cancel")).body(body);
    let mut events = end_to_end::sse::Events::of(post.send().await.unwrap()).await;
    let frame = events.until(|frame| frame.data.contains("\"text\":\"ready\"")).await;
    let job = frame.json()["jobId"].as_str().unwrap().to_owned();
    drop(events);
    let ended = whole(&stack, &job).await;
    assert_eq!(ended.outcome["state"], "cancelled", "{}", ended.outcome);
}

#[tokio::test]
async fn a_step_that_is_stopped_says_why_and_not_that_somebody_cancelled_it() {
    let (stack, (server, _)) = (Setup::new().sizes(2, 2, 2).start().await, server());
    let before = stack.processes("workflow");
    let request = |on_conflict: &str| {
        let concurrency = json!({"key": "k", "onConflict": on_conflict});
        let (prompt, url) = ("echo ready; sleep 1000", server.url(Access::Public, "demo"));
        json!({"prompt": prompt, "repoUrl": url, "concurrency": concurrency})
    };
    let mut older = stack.submit(&request("queue")).await;
    let ready = older.until(|frame| frame.data.contains("\"text\":\"ready\"")).await.json();
    let mut newer = stack.submit(&request("replace")).await;
    older.rest().await;
    let ended = whole(&stack, ready["jobId"].as_str().unwrap()).await;
    assert_eq!(ended.ending(), "cancelled superseded", "{}", ended.outcome);
    let why = |ended: &Ended| {
        let steps = ended.events("step");
        let failed = steps.iter().find(|step| step["state"] == "failed").unwrap();
        assert_eq!(failed["step"], "execute", "{failed}");
        (failed["reason"].clone(), failed["message"].as_str().unwrap().to_owned())
    };
    let (reason, message) = why(&ended);
    assert_eq!((reason, message.contains("newer job")), (json!("superseded"), true), "{message}");
    let ready = newer.until(|frame| frame.data.contains("\"text\":\"ready\"")).await.json();
    // The one of the older job has exited.
    let there = stack.processes("workflow");
    let busy = before.iter().find(|id| there.contains(id)).unwrap();
    crate::lost_workers::signal(*busy, rustix::process::Signal::TERM);
    newer.rest().await;
    let ended = whole(&stack, ready["jobId"].as_str().unwrap()).await;
    assert_eq!(ended.ending(), "failed worker_stopped", "{}", ended.outcome);
    let (reason, message) = why(&ended);
    assert_eq!((reason, message.contains("told to stop")), (json!("worker_stopped"), true));
}
