//! Each moment of a job's life at which somebody may stop it. It ends within 5 s, with what it has.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use end_to_end::git_server::Access;
use end_to_end::model::{Script, Turn};
use end_to_end::sse::{Events, Frame};
use end_to_end::{Ended, GitServer, Model, Setup, Stack, eventually, git, kernel};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{delete, ready, server, whole};

/// What is promised is 5 s; a machine that does much else takes longer.
const BOUND: Duration = Duration::from_secs(15);

/// Stops a job, and waits for its end.
async fn cancelled(stack: &Stack, job: &str, events: Events) -> Ended {
    stack.cancel(job).await;
    end(stack, job, events).await
}

/// The end of a job that has just been stopped.
async fn end(stack: &Stack, job: &str, events: Events) -> Ended {
    let rest = timeout(BOUND, events.rest()).await.expect("a cancelled job ends soon");
    assert!(rest.last().is_some_and(Frame::is_terminal));
    let ended = whole(stack, job).await;
    assert_eq!(ended.ending(), "cancelled cancel_requested", "{}", ended.outcome);
    ended
}

/// Submits a job and follows it to the first event that is wanted.
async fn until(stack: &Stack, request: &Value, wanted: &str) -> (String, Events) {
    let mut events = stack.submit(request).await;
    let frame = events.until(|frame| frame.data.contains(wanted)).await;
    (frame.json()["jobId"].as_str().unwrap().to_owned(), events)
}

#[tokio::test]
async fn while_it_waits_for_a_git_pull_that_another_job_has() {
    let stack = Setup::new().sizes(2, 1, 1).start().await;
    let (server, _) = server();
    let stalled = json!({"prompt": "true", "repoUrl": server.url(Access::StalledPack, "demo")});
    let mut first = stack.submit(&stalled).await;
    let first_job = first.next().await.unwrap().json()["jobId"].as_str().unwrap().to_owned();
    eventually("the pack is asked for", async || (server.upload_packs() > 0).then_some(())).await;
    let request = json!({"prompt": "true", "repoUrl": server.url(Access::Public, "demo")});
    let (job, events) = until(&stack, &request, "waits for an idle git-pull").await;
    let ended = cancelled(&stack, &job, events).await;
    assert!(ended.events("step").iter().all(|step| step["step"] != "execute"));
    cancelled(&stack, &first_job, first).await;
    stack.at_full_strength().await;
}

#[tokio::test]
async fn while_it_pulls_from_a_server_that_never_answers() {
    let stack = Setup::new().start().await;
    let (server, _) = server();
    let request = json!({"prompt": "true", "repoUrl": server.url(Access::StalledRefs, "demo")});
    let mut events = stack.submit(&request).await;
    let job = events.next().await.unwrap().json()["jobId"].as_str().unwrap().to_owned();
    eventually("the refs are asked for", async || (!server.requests().is_empty()).then_some(()))
        .await;
    cancelled(&stack, &job, events).await;
    stack.at_full_strength().await;
}

#[tokio::test]
async fn while_its_agent_does_not_want_to_end() {
    let stack = Setup::new().start().await;
    let (server, repository) = server();
    let url = server.url(Access::Public, "demo");
    let daemon = r#"setsid sh -c 'trap "" INT TERM HUP; while :; do sleep 0.1; done'"#;
    for agent in [
        // Deaf to what it is asked.
        "trap '' INT TERM HUP; echo half > half.txt; echo ready; while :; do sleep 0.1; done",
        // Floods its output meanwhile.
        "trap '' INT TERM HUP PIPE; echo half > half.txt; echo ready; while :; do yes; done",
        // Its daemons are deaf, too, and silent.
        &format!(
            "echo half > half.txt; for i in 1 2 3 4 5; do ({daemon} > /dev/null 2>&1 &); done
             echo ready; exec sleep 1000"
        ),
    ] {
        let (job, events) = ready(&stack, &url, agent).await;
        let checkout = stack.job_folder(&job).join("repo");
        assert_ne!(kernel::working_below(&checkout), []);
        let ended = cancelled(&stack, &job, events).await;
        assert_eq!(kernel::working_below(&checkout), [], "{agent}");
        let commit = ended.outcome["commit"].as_str().unwrap();
        let clone = git::applied(repository.path(), commit, &stack.patch(&job).await);
        assert_eq!(std::fs::read_to_string(clone.path().join("half.txt")).unwrap(), "half\n");
        stack.at_full_strength().await;
    }
}

#[tokio::test]
async fn twice_which_is_harmless_and_told() {
    let stack = Setup::new().start().await;
    let (server, _) = server();
    let agent =
        "trap '' INT TERM HUP; echo half > half.txt; echo ready; while :; do sleep 0.1; done";
    let (job, events) = ready(&stack, &server.url(Access::Public, "demo"), agent).await;
    let first = "the job is being stopped; its last event tells its end".to_owned();
    assert_eq!(delete(&stack, &job).await, (202, first));
    // An agent that is deaf takes its time.
    let second = "the job was being stopped already; its last event tells its end".to_owned();
    assert_eq!(delete(&stack, &job).await, (202, second));
    let ended = end(&stack, &job, events).await;
    let third = "the job had ended before: cancelled; nothing is changed".to_owned();
    assert_eq!(delete(&stack, &job).await, (200, third));
    assert_eq!(whole(&stack, &job).await.frames, ended.frames);
    assert!(stack.patch(&job).await.contains("+half\n"));
}

#[tokio::test]
async fn while_its_check_runs() {
    let stack = Setup::new().start().await;
    let (server, _) = server();
    let check = "trap '' INT TERM HUP; echo checking; while :; do sleep 0.1; done";
    let url = server.url(Access::Public, "demo");
    let request = json!({"prompt": "echo half > half.txt", "repoUrl": url, "check": check});
    let (job, events) = until(&stack, &request, "\"text\":\"checking\"").await;
    let ended = cancelled(&stack, &job, events).await;
    assert_eq!(kernel::working_below(&stack.job_folder(&job)), []);
    assert!(stack.patch(&ended.job).await.contains("+half\n"));
    stack.at_full_strength().await;
}

/// A job whose delivery has begun and waits for its folder, which the returned file locks.
async fn delivering(stack: &Stack, server: &GitServer) -> (String, Events, File) {
    let url = server.url(Access::Public, "demo");
    let prompt = "echo half > half.txt; echo ready; while [ ! -e go ]; do sleep 0.05; done";
    let (job, mut events) = ready(stack, &url, prompt).await;
    let folder = File::open(stack.job_folder(&job)).unwrap();
    let inode = format!(":{} ", folder.metadata().unwrap().ino());
    // Behind claude-exec, which has the lock, and before any git-pull asks for it. A thread of its
    // own: one of the runtime's would keep a failed test from ending.
    let (send, locked) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        flock(&folder, FlockOperation::LockExclusive).unwrap();
        let _ = send.send(folder);
    });
    // By `proc_locks(5)`: an arrow marks those who wait, and the file is named by its inode.
    let queued = async || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&inode);
        locks.lines().any(waits).then_some(())
    };
    eventually("the test waits for the folder", queued).await;
    std::fs::write(stack.job_folder(&job).join("repo/go"), "").unwrap();
    let folder = locked.await.unwrap();
    let is_delivery = |frame: &Frame| {
        frame.event == "step"
            && frame.json()["step"] == "deliver"
            && frame.json()["state"] == "started"
    };
    events.until(is_delivery).await;
    (job, events, folder)
}

#[tokio::test]
async fn while_it_is_delivered_which_still_gets_time_to_end() {
    let stack = Setup::new().start().await;
    let (server, _) = server();
    let (job, events, folder) = delivering(&stack, &server).await;
    stack.cancel(&job).await;
    drop(folder);
    let ended = end(&stack, &job, events).await;
    assert!(stack.patch(&ended.job).await.contains("+half\n"));
    stack.at_full_strength().await;
}

#[tokio::test]
async fn while_its_delivery_hangs_which_is_told() {
    let stack = Setup::new().start().await;
    let (server, _) = server();
    let (job, events, folder) = delivering(&stack, &server).await;
    let ended = cancelled(&stack, &job, events).await;
    assert!(ended.notices().contains(&"salvage_failed".to_owned()), "{:?}", ended.notices());
    assert_eq!(ended.outcome["patch"], Value::Null);
    drop(folder);
    stack.at_full_strength().await;
}

#[tokio::test]
async fn with_what_the_real_agent_has_cost_so_far() {
    let turns = [Turn::write("half.txt", "half\n"), Turn::stall("And now silence")];
    let model = Model::start(Script::new(turns));
    let Some(setup) = Setup::with_claude(&model) else { return };
    let stack = setup.start().await;
    let (server, _) = server();
    let request = json!({"prompt": "Do it", "repoUrl": server.url(Access::Public, "demo")});
    let mut events = stack.submit(&request).await;
    let job = events.next().await.unwrap().json()["jobId"].as_str().unwrap().to_owned();
    let asked = async || (model.turns().len() == 2).then_some(());
    eventually("the model has been asked twice", asked).await;
    let ended = cancelled(&stack, &job, events).await;
    let usage = &ended.outcome["usage"];
    assert!(usage["costUsd"].as_f64() > Some(0.0), "{usage}");
    assert!(usage["outputTokens"].as_u64() > Some(0), "{usage}");
    assert!(ended.outcome["sessionId"].is_string());
    assert!(stack.patch(&job).await.contains("+half\n"));
    assert!(!transcripts(&stack, &job).is_empty(), "the transcript is kept");
    stack.at_full_strength().await;
}

/// The transcripts that an agent has left in its home.
fn transcripts(stack: &Stack, job: &str) -> Vec<std::path::PathBuf> {
    let projects = stack.job_folder(job).join("home/.claude/projects");
    let folders = std::fs::read_dir(projects).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
    let is_transcript =
        |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "jsonl");
    files.map(|file| file.path()).filter(is_transcript).collect()
}
