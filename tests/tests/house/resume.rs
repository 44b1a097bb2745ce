//! Followers that come back, and a gateway that does.

use std::time::Duration;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::{Events, Frame, assert_numbered};
use end_to_end::{Ended, Setup, Stack, eventually, http};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

async fn follow(stack: &Stack, job: &str, after: u64) -> reqwest::Response {
    let url = stack.url(&format!("/api/jobs/{job}/events"));
    let request = http::client().get(url).header("last-event-id", after.to_string());
    request.send().await.unwrap()
}

fn server() -> GitServer {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    server
}

const TALKS: &str = "for i in 1 2 3 4 5; do echo line $i; done; echo ready
                     while [ ! -e go ]; do sleep 0.05; done
                     for i in 6 7 8 9; do echo line $i; done; echo b > b.txt";

fn is_ready(frame: &Frame) -> bool {
    frame.data.contains("\"text\":\"ready\"")
}

/// Starts the job that talks; returns its id and its events up to `ready`.
async fn talking(stack: &Stack, server: &GitServer) -> (String, Vec<Frame>, Events) {
    let url = server.url(Access::Public, "demo");
    let mut events = stack.submit(&json!({"prompt": TALKS, "repoUrl": url})).await;
    let mut frames = Vec::new();
    while !frames.last().is_some_and(is_ready) {
        frames.push(events.next().await.unwrap());
    }
    (frames[0].json()["jobId"].as_str().unwrap().to_owned(), frames, events)
}

fn go_on(stack: &Stack, job: &str) {
    std::fs::write(stack.job_folder(job).join("repo/go"), "").unwrap();
}

#[tokio::test]
async fn a_follower_comes_back_at_any_event_while_the_job_runs_and_after() {
    let (stack, server) = (Setup::new().start().await, server());
    let (job, so_far, events) = talking(&stack, &server).await;
    let mut followers = Vec::new();
    for after in 0..=so_far.len() as u64 {
        followers.push((after, Events::of(follow(&stack, &job, after).await).await));
    }
    go_on(&stack, &job);
    let mut whole = so_far;
    whole.extend(events.rest().await);
    let ended = Ended::of(whole.clone());
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    let stdout = ended.output("execute", "stdout");
    let spoken: Vec<_> = stdout.lines().filter(|line| line.starts_with("line")).collect();
    assert_eq!(spoken, (1..=9).map(|i| format!("line {i}")).collect::<Vec<_>>());
    for (after, follower) in followers {
        let skipped = usize::try_from(after).unwrap();
        assert_eq!(follower.rest().await, whole[skipped..], "after {after}, while it ran");
    }
    for after in 0..whole.len() {
        let rest = Events::of(follow(&stack, &job, after as u64).await).await.rest().await;
        assert_eq!(rest, whole[after..], "after {after}, when it had ended");
    }
    let at_the_end = follow(&stack, &job, whole.len() as u64).await;
    assert_eq!(at_the_end.status(), 204, "an EventSource is told not to come back");
}

#[tokio::test]
async fn a_killed_gateway_is_replaced_and_the_job_goes_on_without_a_gap() {
    let (stack, server) = (Setup::new().start().await, server());
    let (job, mut frames, events) = talking(&stack, &server).await;
    let gateway = stack.processes("gateway");
    assert_eq!(gateway.len(), 1);
    let pid = Pid::from_raw(i32::try_from(gateway[0]).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    frames.extend(events.rest().await);
    assert!(!frames.iter().any(Frame::is_terminal), "the line just broke");
    // Its workers go on meanwhile.
    go_on(&stack, &job);
    eventually("the gateway is back", async || {
        http::client().get(stack.url("/health/live")).send().await.ok()
    })
    .await;
    assert_ne!(stack.processes("gateway"), gateway);
    let rest = Events::of(follow(&stack, &job, frames.len() as u64).await).await.rest().await;
    assert_numbered(&rest, frames.len() as u64 + 1);
    frames.extend(rest);
    let ended = Ended::of(frames);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert_eq!(ended.events("started").len(), 1, "it was not run twice");
    let stdout = ended.output("execute", "stdout");
    let spoken = stdout.lines().filter(|line| line.starts_with("line")).count();
    assert_eq!(spoken, 9, "{stdout}");
    assert!(stack.patch(&job).await.contains("+b\n"));
    stack.at_full_strength().await;
}

#[tokio::test]
async fn the_command_line_follows_across_a_killed_gateway() {
    let (stack, server) = (Setup::new().start().await, server());
    let url = server.url(Access::Public, "demo");
    let mut run = stack.launch_cli(&["run", TALKS, "--repo", &url, "--json"]).start();
    let line = run.line("\"text\":\"ready\"").await;
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    let gateway = stack.processes("gateway")[0];
    kill_process(Pid::from_raw(i32::try_from(gateway).unwrap()).unwrap(), Signal::KILL).unwrap();
    go_on(&stack, event["jobId"].as_str().unwrap());
    assert_eq!(run.exit().await.code(), Some(0), "{:#?}", run.lines());
    run.line("\"type\":\"completed\"").await;
    let lines = run.lines();
    let spoken = lines.iter().filter(|line| line.contains("\"text\":\"line ")).count();
    assert_eq!(spoken, 9, "{lines:#?}");
}

#[tokio::test]
async fn a_job_in_the_queue_survives_the_whole_house() {
    let stack = Setup::new().env("ONESHIFT_REATTACH_SECONDS", "1").start().await;
    let server = server();
    let (first, _, running) = talking(&stack, &server).await;
    let url = server.url(Access::Public, "demo");
    let mut queued = stack.submit(&json!({"prompt": "echo b > b.txt", "repoUrl": url})).await;
    let second = queued.next().await.unwrap().json()["jobId"].as_str().unwrap().to_owned();
    for service in ["gateway", "workflow", "git-pull", "claude-exec"] {
        for id in stack.processes(service) {
            let _ = kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), Signal::KILL);
        }
    }
    drop((running, queued));
    let ending = |job: String| {
        let stack = &stack;
        async move {
            eventually("the job ends", async || {
                let url = stack.url(&format!("/api/jobs/{job}/events"));
                let answer = http::client().get(url).send().await.ok()?;
                let frames = Events::of(answer).await.rest().await;
                frames.last().is_some_and(Frame::is_terminal).then(|| Ended::of(frames))
            })
            .await
        }
    };
    let ended = ending(second).await;
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    let ended = ending(first).await;
    assert_eq!(ended.ending(), "failed worker_lost", "{}", ended.outcome);
}

/// A client that leaves after a few events and comes back for the rest, again and again, until it has
/// the last one. It does not mind a gateway that is away.
struct Restless {
    url: String,
    frames: Vec<Frame>,
    visits: usize,
}

impl Restless {
    async fn follow(mut self, seen: watch::Sender<usize>) -> Self {
        while !self.frames.last().is_some_and(Frame::is_terminal) {
            let Ok(answer) = self.ask().send().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let mut events = Events::of(answer).await;
            self.visits += 1;
            // Seldom as many as were sent together.
            for _ in 0..1 + self.visits * 37 % 500 {
                let Some(frame) = events.next().await else { break };
                self.frames.push(frame);
            }
            seen.send_if_modified(|most| {
                let is_more = *most < self.frames.len();
                *most = self.frames.len().max(*most);
                is_more
            });
        }
        self
    }

    /// By the header, by the query, or by both, of which the header counts.
    fn ask(&self) -> reqwest::RequestBuilder {
        let (url, after) = (&self.url, self.frames.len());
        match self.visits % 3 {
            0 => http::client().get(url).header("last-event-id", after.to_string()),
            1 => http::client().get(format!("{url}?after={after}")),
            _ => {
                let request = http::client().get(format!("{url}?after={}", after / 2));
                request.header("last-event-id", after.to_string())
            }
        }
    }
}

#[tokio::test]
async fn clients_that_come_and_go_in_a_flood_of_events_miss_none_across_killed_gateways() {
    const LINES: usize = 12_000;
    let (stack, server) = (Setup::new().start().await, server());
    let url = server.url(Access::Public, "demo");
    let prompt = format!("i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done");
    let mut events = stack.submit(&json!({"prompt": prompt, "repoUrl": url})).await;
    let job = events.next().await.unwrap().json()["jobId"].as_str().unwrap().to_owned();
    drop(events);
    let url = stack.url(&format!("/api/jobs/{job}/events"));
    let (seen, mut progress) = watch::channel(0);
    let mut clients = JoinSet::new();
    for start in 0..6 {
        let client = Restless { url: url.clone(), frames: Vec::new(), visits: start };
        clients.spawn(client.follow(seen.clone()));
    }
    drop(seen);
    for share in [4, 2] {
        progress.wait_for(|most| *most > LINES / share).await.unwrap();
        let gateway = stack.processes("gateway")[0];
        let pid = Pid::from_raw(i32::try_from(gateway).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        eventually("another gateway is there", async || {
            http::client().get(stack.url("/health/live")).send().await.ok()
        })
        .await;
    }
    let clients = clients.join_all().await;
    let stored = Events::of(follow(&stack, &job, 0).await).await.rest().await;
    let ended = Ended::of(stored);
    assert_eq!(ended.outcome["state"], "completed", "{}", ended.outcome);
    let stdout = ended.output("execute", "stdout");
    let said: Vec<_> = (1..=LINES).map(|i| format!("line {i}")).collect();
    assert!(stdout.lines().eq(said), "each line once, in order");
    for client in clients {
        assert!(client.visits > 20, "{} visits", client.visits);
        let (seen, all) = (client.frames.len(), ended.frames.len());
        assert!(client.frames == ended.frames, "{seen} of {all} events");
    }
}
