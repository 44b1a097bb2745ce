//! Workers that die in the middle of their job.

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::{Events, Frame};
use end_to_end::{Ended, Setup, Stack, eventually, kernel};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

pub(crate) fn kill(id: u32) {
    signal(id, Signal::KILL);
}

pub(crate) fn signal(id: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Reads events up to the first for which `is_wanted` holds, keeping them all.
pub(crate) async fn until(events: &mut Events, is_wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        frames.push(events.next().await.unwrap());
        if frames.last().is_some_and(&is_wanted) {
            return frames;
        }
    }
}

/// The process that has the one job that is running, by its line in the log.
pub(crate) async fn busy(stack: &Stack, service: &str, before: &[u32]) -> u32 {
    let begins = |line: &&String| line.starts_with(service) && line.contains("the job begins");
    eventually("the worker has begun", async || stack.log().iter().find(begins).map(drop)).await;
    // With one worker of the kind, it is the one that was there before the job.
    assert_eq!(before.len(), 1, "{service}: {before:?}");
    before[0]
}

pub(crate) fn server() -> GitServer {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").noise("noise", 4_000).commit("first");
    });
    server
}

#[tokio::test]
async fn a_workflow_lost_before_the_agent_began_costs_only_an_attempt() {
    let (stack, server) = (Setup::new().start().await, server());
    let before = stack.processes("workflow");
    let url = server.url(Access::Slow, "demo");
    let mut events = stack.submit(&json!({"prompt": "echo b > b.txt", "repoUrl": url})).await;
    let is_pull = |frame: &Frame| frame.event == "step" && frame.data.contains("\"pull\"");
    let mut frames = until(&mut events, is_pull).await;
    kill(busy(&stack, "workflow", &before).await);
    frames.extend(events.rest().await);
    let ended = Ended::of(frames);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    let started = ended.events("started");
    let attempts: Vec<_> = started.iter().map(|event| &event["attempt"]).collect();
    assert_eq!(attempts, [1, 2], "{started:#?}");
    assert_ne!(started[0]["worker"], started[1]["worker"]);
    assert!(ended.events("queued").iter().any(|event| event["reason"].is_string()));
    let job = stack.get(&format!("/api/jobs/{}", ended.job)).await;
    assert_eq!(job["attempt"], 2, "{job}");
    assert!(stack.patch(&ended.job).await.contains("+b\n"));
    stack.at_full_strength().await;
}

#[tokio::test]
async fn a_git_pull_lost_before_the_agent_began_costs_only_an_attempt() {
    let (stack, server) = (Setup::new().sizes(1, 1, 1).start().await, server());
    let before = stack.processes("git-pull");
    let url = server.url(Access::Slow, "demo");
    let mut events = stack.submit(&json!({"prompt": "echo b > b.txt", "repoUrl": url})).await;
    let mut frames = vec![events.next().await.unwrap()];
    eventually("the pack is asked for", async || (server.upload_packs() > 0).then_some(())).await;
    kill(busy(&stack, "git-pull", &before).await);
    frames.extend(events.rest().await);
    let ended = Ended::of(frames);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert_eq!(ended.events("started").len(), 2);
    stack.at_full_strength().await;
}

pub(crate) const WAITING: &str =
    "echo half > half.txt; (setsid sleep 1000 &); sleep 1000 & echo ready; wait";

pub(crate) fn is_ready(frame: &Frame) -> bool {
    frame.data.contains("\"text\":\"ready\"")
}

#[tokio::test]
async fn a_lost_agent_is_not_run_twice_and_leaves_no_process() {
    for service in ["workflow", "claude-exec"] {
        // A claude-exec whose workflow is lost waits so long for another reader.
        let setup = Setup::new().env("ONESHIFT_READER_WAIT_SECONDS", "1");
        let (stack, server) = (setup.start().await, server());
        let before = stack.processes(service);
        let url = server.url(Access::Public, "demo");
        let mut events = stack.submit(&json!({"prompt": WAITING, "repoUrl": url})).await;
        let mut frames = until(&mut events, is_ready).await;
        let job = frames[0].json()["jobId"].as_str().unwrap().to_owned();
        let checkout = stack.job_folder(&job).join("repo");
        assert!(kernel::working_below(&checkout).len() >= 3);
        kill(busy(&stack, service, &before).await);
        frames.extend(events.rest().await);
        let ended = Ended::of(frames);
        assert_eq!(ended.ending(), "failed worker_lost", "{service}: {}", ended.outcome);
        assert_eq!(ended.outcome["retryable"], true);
        assert_eq!(ended.events("started").len(), 1);
        let gone = async || kernel::working_below(&checkout).is_empty().then_some(());
        eventually("all that the agent started is gone", gone).await;
        stack.at_full_strength().await;
    }
}

#[tokio::test]
async fn a_lost_agent_is_run_again_if_the_job_allows_it() {
    let (stack, server) = (Setup::new().start().await, server());
    let before = stack.processes("claude-exec");
    let flag = tempfile::tempdir().unwrap();
    let prompt = format!(
        "if [ ! -e {0}/second ]; then echo ready; sleep 1000; fi; echo b > b.txt",
        flag.path().display()
    );
    let url = server.url(Access::Public, "demo");
    let request = json!({"prompt": prompt, "repoUrl": url, "retries": 1});
    let mut events = stack.submit(&request).await;
    let mut frames = until(&mut events, is_ready).await;
    std::fs::write(flag.path().join("second"), "").unwrap();
    kill(busy(&stack, "claude-exec", &before).await);
    frames.extend(events.rest().await);
    let ended = Ended::of(frames);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert_eq!(ended.events("started").len(), 2);
}
