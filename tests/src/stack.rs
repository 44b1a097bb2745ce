//! The whole house as a user starts it: `oneshift up` with the gateway and its workers.

mod setup;

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::binaries::binaries;
use crate::environment::variable;
use crate::process::{Launch, Process};
use crate::sse::{Events, Frame, assert_complete};
use crate::wait::eventually;
use crate::{http, kernel};

use setup::Place;
pub use setup::{API_KEY, Setup, free_port};

const KINDS: [&str; 3] = ["workflow", "git-pull", "claude-exec"];

/// A running stack, until it is dropped.
#[derive(Debug)]
pub struct Stack {
    process: Process,
    setup: Setup,
    port: u16,
    folder: TempDir,
    data: Place,
    workspace: Place,
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
        self.workspace.ours.clone()
    }

    /// The gateway's folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.ours.clone()
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
            KINDS.into_iter().zip(self.setup.sizes).all(is_full).then_some(())
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

    /// The processes that work in the workspace.
    #[must_use]
    pub fn at_work(&self) -> Vec<kernel::Seen> {
        kernel::working_below(&self.workspace.theirs)
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
        let status = self.end_supervisor(Signal::TERM).await;
        assert!(status.success(), "{status}: {:#?}", self.process.lines());
        (self.folder, self.process.lines())
    }

    /// Sends a signal to `oneshift up` alone, and waits until it has ended.
    pub async fn end_supervisor(&mut self, signal: Signal) -> ExitStatus {
        self.process.signal(signal);
        self.supervisor_end().await
    }

    /// Waits until `oneshift up` has ended by itself.
    pub async fn supervisor_end(&mut self) -> ExitStatus {
        self.process.exit().await
    }

    /// Starts `oneshift up` again, on the same port and folders, after it has ended.
    pub fn launch_again(&mut self) {
        self.process = self.setup.up(self.port, [&self.data, &self.workspace]);
    }

    /// The process of `oneshift up`.
    #[must_use]
    pub fn supervisor(&self) -> &Process {
        &self.process
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
