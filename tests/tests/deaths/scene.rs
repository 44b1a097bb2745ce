//! A house with a job that is brought to a point of its life, and held there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::{Events, Frame};
use end_to_end::{Setup, Stack, eventually, http};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::follower::Follower;
use crate::locks::{FileLock, StoreLock};
use crate::point::{Point, Victim};

/// What a real CLI says last, and then lingers.
const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"done","num_turns":1,"total_cost_usd":0.01,"session_id":"s","usage":{"input_tokens":1,"output_tokens":1}}"#;

/// What the agent does before it waits: half its work, and a process that wants to outlive it.
const CHANGE: &str =
    "echo half > half.txt; setsid sleep 1000 > /dev/null 2>&1 < /dev/null & echo going on";

/// What holds a job where it is; files in a folder, for those that its own programs wait for.
const GATES: [&str; 4] = ["earlier-agent", "agent", "check", "linger"];

/// The house, and what holds its job.
pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) server: GitServer,
    folder: TempDir,
    access: Access,
    /// What the agent does besides, as a shell's commands.
    pub(crate) besides: String,
    /// How often the job may be tried again.
    pub(crate) retries: u32,
    locks: (Option<FileLock>, Option<StoreLock>),
    /// A client that does not read on: its stream, what it has read, and the job.
    reader: Option<(Events, Frame, String)>,
    /// The job that the scene is about, once it is submitted.
    pub(crate) job: Option<Follower>,
    /// The one that holds the only workflow worker, where there is one.
    pub(crate) earlier: Option<Follower>,
}

impl Scene {
    /// One worker of each kind, a git server, and no job yet.
    pub(crate) async fn start(setup: Setup) -> Self {
        Self::start_with(setup, 1).await
    }

    /// The same with so many workflow workers.
    pub(crate) async fn start_with(setup: Setup, workflows: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let claude = folder.path().join("claude");
        let setup = setup.sizes(workflows, 1, 1).env("ONESHIFT_CLAUDE", &claude);
        let stack = setup.start().await;
        let server = GitServer::start();
        server.repository("demo", |repository| {
            repository.file("a.txt", "a\n").noise("noise", 4_000).commit("first");
        });
        let (access, locks) = (Access::Public, (None, None));
        let (reader, job, earlier) = (None, None, None);
        let besides = "true".to_owned();
        let scene = Self {
            stack,
            server,
            folder,
            access,
            besides,
            retries: 0,
            locks,
            reader,
            job,
            earlier,
        };
        scene.write_claude(&claude);
        scene
    }

    /// A CLI that does its work, tells its result and lingers.
    fn write_claude(&self, path: &Path) {
        let runs = self.file("runs").display().to_string();
        let script = format!(
            "#!/bin/sh\ncat > /dev/null\necho run >> '{runs}'\n{CHANGE}\necho b > b.txt\necho '{RESULT}'\n{}\n",
            self.pass("linger")
        );
        fs::write(path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Brings the job to this point, and returns when it is there.
    pub(crate) async fn reach(&mut self, point: Point) {
        match point {
            Point::BeforeAccept => {}
            Point::Queued => self.reach_queue().await,
            Point::Pulling => self.reach_pull().await,
            Point::AgentRuns => self.reach_program("agent").await,
            Point::CheckRuns => self.reach_program("check").await,
            Point::LastLine => self.reach_program("linger").await,
            Point::Delivering => self.reach_delivery().await,
            Point::Unstored => self.reach_outcome().await,
            Point::Unread => self.reach_end().await,
        }
    }

    async fn reach_queue(&mut self) {
        let url = self.url();
        let prompt = format!("echo earlier >> earlier.txt; {}", self.pass("earlier-agent"));
        let earlier = self.submit(&json!({"prompt": prompt, "repoUrl": url})).await;
        self.arrival("earlier-agent").await;
        self.earlier = Some(earlier);
        self.open_all_but(&["earlier-agent"]);
        let job = self.submit(&self.request()).await;
        job.until(|frame| frame.event == "queued").await;
        self.job = Some(job);
    }

    async fn reach_pull(&mut self) {
        self.access = Access::Gated;
        self.open_all_but(&[]);
        self.submit_job().await;
        let asked = async || (self.server.upload_packs() > 0).then_some(());
        eventually("the pack is asked for", asked).await;
    }

    async fn reach_program(&mut self, gate: &str) {
        self.open_all_but(&[gate]);
        let mut request = self.request();
        match gate {
            "check" => request["check"] = self.pass("check").into(),
            "linger" => request["agent"] = "claude".into(),
            _ => {}
        }
        self.job = Some(self.submit(&request).await);
        self.arrival(gate).await;
    }

    async fn reach_delivery(&mut self) {
        self.reach_program("agent").await;
        let job = self.job.as_ref().expect("it was submitted");
        // Behind claude-exec, which has the lock, and before any git-pull asks for it.
        let waiting = FileLock::queue_for(&self.stack.job_folder(&job.job)).await;
        self.open("agent");
        job.until_step("deliver").await;
        self.locks.0 = Some(waiting.await);
    }

    async fn reach_outcome(&mut self) {
        self.reach_program("agent").await;
        self.locks.1 = Some(StoreLock::of(&self.stack.data()));
        self.open("agent");
        self.workflow_has_its_outcome().await;
    }

    /// Waits until the workflow has the job's outcome.
    pub(crate) async fn workflow_has_its_outcome(&self) {
        let is_end = |line: &String| line.starts_with("workflow") && line.contains("the job ended");
        let ended = async || self.stack.log().iter().any(is_end).then_some(());
        eventually("the workflow has its outcome", ended).await;
    }

    async fn reach_end(&mut self) {
        self.open_all_but(&[]);
        let mut events = self.stack.submit(&self.request()).await;
        let first = events.next().await.unwrap();
        let id = first.json()["jobId"].as_str().unwrap().to_owned();
        let ended = async || {
            let job = self.stack.get(&format!("/api/jobs/{id}")).await;
            (job["state"] == "completed").then_some(())
        };
        eventually("the job's end is stored", ended).await;
        self.reader = Some((events, first, id));
    }

    /// Submits the job and follows it.
    pub(crate) async fn submit_job(&mut self) {
        self.job = Some(self.submit(&self.request()).await);
    }

    /// Submits any job and follows it.
    pub(crate) async fn submit(&self, request: &Value) -> Follower {
        let post = http::client().post(self.stack.url("/api/workflow"));
        let post = post.header("prefer", "respond-async").body(request.to_string());
        let answer = post.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 202, "{text}");
        let job: Value = serde_json::from_str(&text).unwrap();
        self.follow(job["id"].as_str().unwrap())
    }

    /// Follows any job from its first event.
    pub(crate) fn follow(&self, job: &str) -> Follower {
        Follower::of(&self.stack.url(""), job, Vec::new())
    }

    /// What the job is: an agent that notes that it runs, waits for its gate and changes a file.
    pub(crate) fn request(&self) -> Value {
        let runs = self.file("runs").display().to_string();
        let (besides, wait) = (&self.besides, self.pass("agent"));
        let prompt = format!("echo run >> '{runs}'; {besides}; {CHANGE}; {wait}; echo b > b.txt");
        json!({"prompt": prompt, "repoUrl": self.url(), "retries": self.retries})
    }

    /// Lets go of everything that holds the job.
    pub(crate) fn release(&mut self) {
        self.locks = (None, None);
        if let Some((stream, first, job)) = self.reader.take() {
            drop(stream);
            self.job = Some(Follower::of(&self.stack.url(""), &job, vec![first]));
        }
        self.server.open_gate();
        self.open_all_but(&[]);
    }

    /// How often the job's agent was run.
    pub(crate) fn runs(&self) -> usize {
        fs::read_to_string(self.file("runs")).unwrap_or_default().lines().count()
    }

    /// The process of the victim, once it is what it should be at this point.
    pub(crate) async fn process_of(&self, victim: Victim, point: Point) -> u32 {
        if victim == Victim::Supervisor {
            return self.stack.supervisor().id();
        }
        let program = victim.program();
        eventually("there is one such process, in its place", async || {
            let [process] = self.stack.processes(program)[..] else { return None };
            if victim == Victim::Gateway {
                return Some(process);
            }
            let workers = &self.stack.get("/health").await["workers"][program];
            let idle = u64::from(!victim.is_busy_at(point));
            let other = workers["busy"].as_u64()? + workers["leased"].as_u64()?;
            (workers["idle"] == idle && other == 1 - idle).then_some(process)
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(self.access, "demo")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A piece of shell that says that it has come, and waits until it may pass.
    fn pass(&self, gate: &str) -> String {
        let gate = self.file(gate).display().to_string();
        format!("touch '{gate}.arrived'; while [ ! -e '{gate}' ]; do sleep 0.02; done")
    }

    async fn arrival(&self, gate: &str) {
        let arrived = async || self.file(&format!("{gate}.arrived")).exists().then_some(());
        eventually(&format!("somebody waits before the gate {gate}"), arrived).await;
    }

    /// Lets those pass that wait before a gate.
    pub(crate) fn open(&self, gate: &str) {
        fs::write(self.file(gate), "").unwrap();
    }

    fn open_all_but(&self, closed: &[&str]) {
        GATES.into_iter().filter(|gate| !closed.contains(gate)).for_each(|gate| self.open(gate));
    }
}
