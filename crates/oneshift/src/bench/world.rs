//! What is measured: a stack of the real binaries, and repositories.

use std::path::{Path, PathBuf};

use anyhow::Context;
use client::protocol::job::JobState;
use client::protocol::request::JobRequest;
use client::{Endpoint, EventStream, Patience, Submission};

use super::git;
use crate::cli::folder_address;
use crate::config::Config;
use crate::supervisor::{Binaries, Sizes, Stack, Surroundings, free_port, random_token};

/// Enough that a job which follows another always finds an idle worker of each kind.
const SIZES: Sizes = Sizes { workflow: 5, git_pull: 5, claude_exec: 3 };

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
        git::make(&small, 10, 1).await?;
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

    /// Submits a job in the small repository.
    pub(super) async fn submit(&self, prompt: &str) -> anyhow::Result<EventStream> {
        let repo_url = folder_address(&self.small)?;
        let body = serde_json::json!({ "prompt": prompt, "repoUrl": repo_url });
        submit(&self.gateway, "/api/workflow", &body).await
    }

    /// Pulls a repository with a leased git-pull, and waits for its end.
    pub(super) async fn pull(&self, repository: &Path) -> anyhow::Result<()> {
        use client::protocol::request::PullRequest;
        use client::protocol::worker::LeaseRequest;
        use client::protocol::{JobId, WorkerKind};
        let (kind, job) = (WorkerKind::GitPull, JobId::random());
        let lease = LeaseRequest { kind, job, workspace: None };
        let lease = self.stack.inside().lease(&lease).await?;
        let worker = self.stack.inside().at(&lease.url);
        let repo_url = folder_address(repository)?;
        let request = PullRequest { repo_url, branch: None, directory: None };
        to_the_end(submit(&worker, "/api/pull", &request.to_wire()).await?).await
    }
}

async fn submit(
    to: &Endpoint,
    path: &str,
    body: &serde_json::Value,
) -> anyhow::Result<EventStream> {
    let submission = Submission { path, body, job: None, idempotency_key: None };
    Ok(to.submit(submission, Patience::WORKER).await?)
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
