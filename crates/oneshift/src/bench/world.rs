//! What is measured: a stack of the real binaries, and repositories.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use client::protocol::WorkerKind;
use client::protocol::job::JobState;
use client::protocol::request::{Deliver, DeliverMode};
use client::{Endpoint, EventStream, Patience, Submission};
use serde_json::{Value, json};

use super::git;
use crate::cli::folder_address;
use crate::config::Config;
use crate::supervisor::{Binaries, Sizes, Stack, Surroundings, free_port, random_token};

/// The defaults of `oneshift up`.
const SIZES: Sizes = Sizes { workflow: 5, git_pull: 3, claude_exec: 3 };

/// A worker is replaced within milliseconds; longer means that it does not start.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks at the gateway's counts; a look takes about as long.
const LOOK: Duration = Duration::from_micros(200);

/// A running stack, and folders that go with it.
pub(crate) struct World {
    binaries: Binaries,
    surroundings: Surroundings,
    pub(super) stack: Stack,
    /// What callers speak to.
    pub(super) gateway: Endpoint,
    folder: tempfile::TempDir,
    /// A repository with a file or two.
    pub(super) small: PathBuf,
}

impl World {
    /// Starts the stack and makes the small repository.
    pub(crate) async fn new(config: &Config) -> anyhow::Result<Self> {
        let binaries = Binaries::find(config)?;
        let folder = tempfile::Builder::new().prefix("oneshift-bench-").tempdir()?;
        let small = folder.path().join("small");
        git::make(&small, git::Shape { files: 10, commits: 0 }).await?;
        let surroundings = surroundings(config, &binaries, folder.path(), "stack")?;
        let stack = Stack::start(&binaries, &surroundings, SIZES).await?;
        let gateway = Endpoint::new(stack.inside().base(), None)?;
        Ok(Self { binaries, surroundings, stack, gateway, folder, small })
    }

    /// Ends everything and removes the folders.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.stack.stop(std::future::ready(())).await;
        self.folder.close().context("cannot remove the benchmark's temporary folder")
    }

    /// A folder's place for something of this name.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// This program, whose hidden command is the agent.
    pub(super) fn own_program(&self) -> &Path {
        &self.binaries.own
    }

    /// A second stack with one worker of each kind.
    pub(super) async fn lonely_stack(&self) -> anyhow::Result<Stack> {
        let config = &self.surroundings.config;
        let surroundings = surroundings(config, &self.binaries, self.folder.path(), "lonely")?;
        let sizes = Sizes { workflow: 1, git_pull: 1, claude_exec: 1 };
        Stack::start(&self.binaries, &surroundings, sizes).await
    }

    /// Waits until every worker is there and idle.
    pub(super) async fn idle(&self) -> anyhow::Result<()> {
        for kind in WorkerKind::ALL {
            idle(&self.gateway, kind, SIZES.of(kind).into()).await?;
        }
        Ok(())
    }

    /// Submits a job in the small repository.
    pub(super) async fn submit(&self, prompt: &str) -> anyhow::Result<EventStream> {
        self.submit_in(&self.small, prompt, DeliverMode::Patch).await
    }

    /// Submits a job in any repository.
    pub(super) async fn submit_in(
        &self,
        repository: &Path,
        prompt: &str,
        deliver: DeliverMode,
    ) -> anyhow::Result<EventStream> {
        let repo_url = folder_address(repository)?;
        let deliver = Deliver { mode: deliver, ..Deliver::default() };
        let body = json!({ "prompt": prompt, "repoUrl": repo_url, "deliver": deliver });
        let submission =
            Submission { path: "/api/workflow", body: &body, job: None, idempotency_key: None };
        Ok(self.gateway.submit(submission, Patience::WORKER).await?)
    }
}

/// Waits until the gateway counts so many idle workers of a kind.
pub(super) async fn idle(gateway: &Endpoint, kind: WorkerKind, count: u64) -> anyhow::Result<()> {
    let pointer = format!("/workers/{kind}/idle");
    let look = async {
        loop {
            let health = gateway.health().await?;
            if health.pointer(&pointer).and_then(Value::as_u64) == Some(count) {
                return Ok::<_, anyhow::Error>(());
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let look = tokio::time::timeout(IDLE_TIMEOUT, look).await;
    look.with_context(|| format!("there are not {count} idle {kind} within 30 s"))?
}

/// Reads a job's events until it ends, which must be well.
pub(super) async fn to_the_end(mut stream: EventStream) -> anyhow::Result<()> {
    let mut last = None;
    while let Some(frames) = stream.next_batch().await? {
        last = frames.into_iter().next_back();
    }
    let last = last.context("a job ended without an event")?;
    anyhow::ensure!(last.event == JobState::Completed.name(), "a job ended badly: {}", last.data);
    Ok(())
}

fn surroundings(
    config: &Config,
    binaries: &Binaries,
    folder: &Path,
    name: &str,
) -> anyhow::Result<Surroundings> {
    let folder = folder.join(name);
    Ok(Surroundings {
        config: config.clone(),
        port: free_port()?,
        cluster_token: random_token()?,
        data: folder.join("data"),
        workspace: folder.join("workspace"),
        log: "error",
        agent_command: Some(vec![binaries.own.display().to_string(), "bench-agent".to_owned()]),
    })
}
