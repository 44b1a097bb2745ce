//! The whole house as a user starts it: `oneshift up` with the gateway and its workers.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::binaries::binaries;
use crate::environment::variable;
use crate::process::{Launch, Process};
use crate::sse::{Events, Frame, assert_complete};
use crate::wait::eventually;
use crate::{Model, claude_cli, http, kernel};

/// How a stack will be started.
#[derive(Debug)]
pub struct Setup {
    launch: Launch,
    sizes: [usize; 3],
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// One workflow, two git-pull and one claude-exec, whose agent is a shell that takes the prompt
    /// for its script.
    #[must_use]
    pub fn new() -> Self {
        let launch = Launch::of("oneshift")
            .env("ONESHIFT_LOG", "info")
            // Nobody waits for the jobs of a test that is over.
            .env("ONESHIFT_DRAIN_SECONDS", "0")
            .env("ONESHIFT_AGENT", "command")
            .env("ONESHIFT_AGENT_COMMAND", json!(["sh"]).to_string());
        Self { launch, sizes: [1, 2, 1] }
    }

    /// The agent is the real Claude Code CLI, and speaks to this model. `None`, which is said aloud,
    /// if there is no CLI.
    #[must_use]
    pub fn with_claude(model: &Model) -> Option<Self> {
        let claude = claude_cli()?;
        Some(
            Self::new()
                .env("ONESHIFT_AGENT", "claude")
                .env("ONESHIFT_CLAUDE", claude)
                .env("ANTHROPIC_BASE_URL", model.url())
                .env("ANTHROPIC_API_KEY", API_KEY),
        )
    }

    /// Sets a variable for `oneshift up`.
    #[must_use]
    pub fn env(self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        Self { launch: self.launch.env(name, value), ..self }
    }

    /// How many workers of each kind there are: workflow, git-pull, claude-exec.
    #[must_use]
    pub fn sizes(self, workflow: usize, git_pull: usize, claude_exec: usize) -> Self {
        Self { sizes: [workflow, git_pull, claude_exec], ..self }
    }

    /// Starts it and waits until all workers are there.
    pub async fn start(self) -> Stack {
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let port = free_port();
        let counts = self.sizes.map(|size| size.to_string());
        let process = self
            .launch
            .args(["up", "--port", &port.to_string()])
            .args(["--workflow", &counts[0], "--git-pull", &counts[1]])
            .args(["--claude-exec", &counts[2]])
            .args(["--data".as_ref(), folder.path().join("data").as_os_str()])
            .args(["--workspace".as_ref(), folder.path().join("workspace").as_os_str()])
            .start();
        process.line("Oneshift is up at").await;
        let stack = Stack { process, port, folder, sizes: self.sizes };
        stack.at_full_strength().await;
        stack
    }
}

/// The API key that the agent of [`Setup::with_claude`] gets.
pub const API_KEY: &str = "sk-ant-loopback-0123456789";

const KINDS: [&str; 3] = ["workflow", "git-pull", "claude-exec"];

/// A running stack, until it is dropped.
#[derive(Debug)]
pub struct Stack {
    process: Process,
    port: u16,
    folder: TempDir,
    sizes: [usize; 3],
}

impl Stack {
    /// The gateway's URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The shared folder of the workers.
    #[must_use]
    pub fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    /// The gateway's folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A job's folder in the workspace.
    #[must_use]
    pub fn job_folder(&self, job: &str) -> PathBuf {
        self.workspace().join("jobs").join(job)
    }

    /// What all processes have logged so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Submits a job and follows it.
    pub async fn submit(&self, request: &Value) -> Events {
        let post = http::client().post(self.url("/api/workflow")).body(request.to_string());
        Events::of(post.send().await.expect("the gateway answers")).await
    }

    /// Submits a job and reads its stream to the end.
    pub async fn run(&self, request: &Value) -> Ended {
        Ended::of(self.submit(request).await.rest().await)
    }

    /// What the gateway answers to a `GET`, which must be JSON.
    pub async fn get(&self, path: &str) -> Value {
        let text = self.text(path).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// What the gateway answers to a `GET`.
    pub async fn text(&self, path: &str) -> String {
        let answer = http::client().get(self.url(path)).send().await;
        answer.expect("the gateway answers").text().await.expect("its answer is whole")
    }

    /// A job's patch.
    pub async fn patch(&self, job: &str) -> String {
        self.text(&format!("/api/jobs/{job}/patch")).await
    }

    /// Asks the gateway to end a job.
    pub async fn cancel(&self, job: &str) {
        let request = http::client().delete(self.url(&format!("/api/jobs/{job}")));
        let answer = request.send().await.expect("the gateway answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Waits until every worker is there and idle.
    pub async fn at_full_strength(&self) {
        eventually("all workers are there and idle", async || {
            // While it starts, or starts again, it cannot be reached.
            let answer = http::client().get(self.url("/health")).send().await.ok()?;
            let health: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
            let of = |kind: &str| ["idle", "busy", "leased"].map(|it| &health["workers"][kind][it]);
            let is_full = |(kind, size): (&str, usize)| {
                of(kind).map(Value::as_u64) == [Some(size as u64), Some(0), Some(0)]
            };
            KINDS.into_iter().zip(self.sizes).all(is_full).then_some(())
        })
        .await;
    }

    /// The ids of the running processes of a service, such as `gateway`.
    #[must_use]
    pub fn processes(&self, service: &str) -> Vec<u32> {
        self.children()
            .into_iter()
            .filter(|seen| seen.name == service)
            .map(|seen| seen.id)
            .collect()
    }

    /// The running processes of all services.
    #[must_use]
    pub fn children(&self) -> Vec<kernel::Seen> {
        kernel::children_of(self.process.id())
    }

    /// Will start `oneshift` beside the stack, with its gateway as the one to talk to.
    #[must_use]
    pub fn launch_cli(&self, arguments: &[&str]) -> Launch {
        Launch::of("oneshift").env("ONESHIFT_URL", self.url("")).args(arguments)
    }

    /// Runs `oneshift` in `folder` to its end.
    pub async fn cli(&self, folder: &Path, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(binaries().join("oneshift"))
            .args(arguments)
            .env_clear()
            .env("PATH", variable("PATH").unwrap_or_default())
            .env("ONESHIFT_URL", self.url(""))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("oneshift is built");
        let mut stdin = child.stdin.take().expect("it is piped");
        // A command that reads no input may have ended already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.expect("a child can be waited for")
    }

    /// Stops it in good order; returns its folder and what it has logged.
    pub async fn stop(mut self) -> (TempDir, Vec<String>) {
        self.process.signal(Signal::TERM);
        let status = self.process.exit().await;
        assert!(status.success(), "{status}: {:#?}", self.process.lines());
        (self.folder, self.process.lines())
    }
}

/// A job that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its id.
    pub job: String,
    /// How it ended.
    pub outcome: Value,
    /// All its events.
    pub frames: Vec<Frame>,
}

impl Ended {
    /// Checks that these are all events of a job, and reads the last one.
    #[must_use]
    pub fn of(frames: Vec<Frame>) -> Self {
        let last = assert_complete(&frames);
        let job = last["jobId"].as_str().expect("an event names its job").to_owned();
        Self { job, outcome: last["outcome"].clone(), frames }
    }

    /// State and reason, such as `failed timeout`; without a reason only the state.
    #[must_use]
    pub fn ending(&self) -> String {
        let word = |name: &str| self.outcome[name].as_str();
        [word("state"), word("reason")].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// The codes of all notices.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let events = self.events("agent").into_iter();
        let code = |event: Value| Some(event["code"].as_str()?.to_owned());
        events.filter(|event| event["kind"] == "notice").filter_map(code).collect()
    }

    /// What a step wrote to a stream such as `stdout`.
    #[must_use]
    pub fn output(&self, step: &str, stream: &str) -> String {
        let events = self.events("output").into_iter();
        let lines = events.filter(|event| event["step"] == step && event["stream"] == stream);
        let texts = lines.filter_map(|event| Some(event["text"].as_str()?.to_owned()));
        texts.collect::<Vec<_>>().join(if stream == "patch" { "" } else { "\n" })
    }

    /// The data of all events of this name.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.frames.iter().filter(|frame| frame.event == name).map(Frame::json).collect()
    }
}

/// A port that is free, and outside the range that the kernel gives to outgoing connections, so
/// that a gateway that is started again finds it free again.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time start at different places.
    let start = u16::try_from(std::process::id() % 600).expect("it is less than 600") * 20;
    for _ in 0..12_000 {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + start.wrapping_add(offset) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("there is no free port");
}
