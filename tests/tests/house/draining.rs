//! A machine on which nobody starts workers any more: because it is being drained, or because the
//! next ones come elsewhere. The jobs that have their files there are delivered all the same.

use std::path::PathBuf;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::{Events, Frame};
use end_to_end::{Ended, Launch, Process, eventually, http};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lost_workers::{server, until};

/// A gateway and workers that nobody starts again.
struct Machine {
    folder: TempDir,
    gateway: Process,
    workers: Vec<Process>,
}

impl Machine {
    /// With so many jobs' worth of workers, but one git-pull.
    async fn start(jobs: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["data", "workspace", "elsewhere"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let gateway = Launch::of("gateway")
            .env("ONESHIFT_LISTEN", "127.0.0.1:0")
            .env("ONESHIFT_CLUSTER_TOKEN", "a secret of the inside")
            .env("ONESHIFT_DATA", folder.path().join("data"))
            .start();
        let mut machine = Self { folder, gateway, workers: Vec::new() };
        machine.add("workflow", jobs).await;
        machine.add("claude-exec", jobs).await;
        machine.add("git-pull", 1).await;
        machine
    }

    /// Starts workers, and waits until so many are idle.
    async fn add(&mut self, kind: &str, count: usize) {
        let url = self.gateway.url("").await;
        let launches = (0..count).map(|_| self.launch(kind, &url, "workspace"));
        let started: Vec<_> = launches.map(Launch::start).collect();
        self.workers.extend(started);
        eventually("the new workers are idle", async || {
            (self.health().await["workers"][kind]["idle"] == count).then_some(())
        })
        .await;
    }

    fn launch(&self, kind: &str, gateway: &str, workspace: &str) -> Launch {
        Launch::of(kind)
            .env("ONESHIFT_LISTEN", "127.0.0.1:0")
            .env("ONESHIFT_CLUSTER_TOKEN", "a secret of the inside")
            .env("ONESHIFT_WORKSPACE", self.folder.path().join(workspace))
            .env("ONESHIFT_GATEWAY", gateway)
            .env("ONESHIFT_DRAIN_SECONDS", "60")
            .env("ONESHIFT_AGENT", "command")
            .env("ONESHIFT_AGENT_COMMAND", json!(["sh"]).to_string())
    }

    async fn health(&self) -> Value {
        let answer = http::client().get(self.gateway.url("/health").await).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    async fn submit(&self, prompt: &str, url: &str) -> Events {
        let request = json!({"prompt": prompt, "repoUrl": url});
        let post = http::client().post(self.gateway.url("/api/workflow").await);
        Events::of(post.body(request.to_string()).send().await.unwrap()).await
    }

    /// A job whose agent works until it is let go on; what has been said of it so far.
    async fn with_agent_at_work(&mut self, server: &GitServer) -> (Events, Vec<Frame>) {
        let prompt = "echo ready; while [ ! -e go ]; do sleep 0.05; done; echo b > b.txt";
        let mut events = self.submit(prompt, &server.url(Access::Public, "demo")).await;
        let frames = until(&mut events, |frame| frame.data.contains("\"ready\"")).await;
        // The git-pull is gone after its job, as all are; it is replaced as long as nobody drains.
        let mut git_pull = self.workers.pop().unwrap();
        assert!(git_pull.exit().await.success());
        self.add("git-pull", 1).await;
        (events, frames)
    }

    fn let_go_on(&self, frames: &[Frame]) {
        let repo = self.repo(frames[0].json()["jobId"].as_str().unwrap());
        std::fs::write(repo.join("go"), "").unwrap();
    }

    fn repo(&self, job: &str) -> PathBuf {
        self.folder.path().join("workspace/jobs").join(job).join("repo")
    }

    /// As Swarm does when the node is drained; returns when those that have a job know.
    async fn drain(&mut self) {
        for worker in self.workers.iter_mut().filter_map(running) {
            worker.signal(Signal::TERM);
        }
        let git_pull = self.workers.last().unwrap();
        if git_pull.lines().iter().any(|line| line.contains("the job begins")) {
            git_pull.line("told to stop").await;
        }
    }

    async fn has_nobody_left(mut self) {
        for worker in &mut self.workers {
            let status = worker.exit().await;
            assert!(status.success(), "{status}: {:#?}", worker.lines());
        }
        assert_eq!(self.health().await["jobs"], json!({"queued": 0, "running": 0}));
    }
}

fn running(worker: &mut Process) -> Option<&Process> {
    worker.is_running().then_some(worker)
}

/// Waits until a job is being pulled, which the server's gate holds up.
async fn is_pulled(server: &GitServer, packs: usize) {
    let asked = async || (server.upload_packs() > packs).then_some(());
    eventually("the pack is asked for", asked).await;
}

fn assert_done(frames: Vec<Frame>) {
    let ended = Ended::of(frames);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert_eq!(ended.events("started").len(), 1, "in one attempt");
    assert!(ended.output("deliver", "patch").contains("+b\n"));
}

#[tokio::test]
async fn a_job_that_is_being_pulled_is_done_and_delivered_before_its_workers_leave() {
    let (mut machine, server) = (Machine::start(1).await, server());
    let events = machine.submit("echo b > b.txt", &server.url(Access::Gated, "demo")).await;
    is_pulled(&server, 0).await;
    machine.drain().await;
    server.open_gate();
    assert_done(events.rest().await);
    machine.has_nobody_left().await;
}

#[tokio::test]
async fn a_job_whose_agent_works_is_delivered_by_the_git_pull_that_stays() {
    let (mut machine, server) = (Machine::start(1).await, server());
    let (events, mut frames) = machine.with_agent_at_work(&server).await;
    machine.drain().await;
    machine.let_go_on(&frames);
    frames.extend(events.rest().await);
    assert_done(frames);
    machine.has_nobody_left().await;
}

#[tokio::test]
async fn one_git_pull_is_enough_for_all_jobs_of_a_machine_that_is_drained() {
    let (mut machine, server) = (Machine::start(2).await, server());
    let (first, mut frames) = machine.with_agent_at_work(&server).await;
    let packs = server.upload_packs();
    server.repository("other", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let second = machine.submit("echo b > b.txt", &server.url(Access::Gated, "other")).await;
    is_pulled(&server, packs).await;
    machine.drain().await;
    server.open_gate();
    assert_done(second.rest().await);
    machine.let_go_on(&frames);
    frames.extend(first.rest().await);
    assert_done(frames);
    machine.has_nobody_left().await;
}

#[tokio::test]
async fn a_job_is_delivered_where_it_was_pulled_though_the_next_git_pull_comes_elsewhere() {
    let (machine, server) = (Machine::start(1).await, server());
    let url = machine.gateway.url("").await;
    let elsewhere = machine.launch("git-pull", &url, "elsewhere").start();
    eventually("there is one elsewhere", async || {
        (machine.health().await["workers"]["git-pull"]["idle"] == 2).then_some(())
    })
    .await;
    let events = machine.submit("echo b > b.txt", &server.url(Access::Public, "demo")).await;
    assert_done(events.rest().await);
    machine.has_nobody_left().await;
    drop(elsewhere);
}
