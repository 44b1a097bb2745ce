//! What is measured: a stack of the real binaries, and repositories.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use client::protocol::WorkerKind;
use client::protocol::request::{Deliver, DeliverMode};
use client::{Endpoint, EventStream, Patience};
use serde_json::{Value, json};

use super::crowd::submission;
use super::git;
use crate::cli::folder_address;
use crate::config::Config;
use crate::supervisor::{Binaries, Sizes, Stack, Surroundings, free_port, random_token};

/// The defaults of `oneshift up`.
pub(super) const SIZES: Sizes = Sizes { workflow: 5, git_pull: 3, claude_exec: 3 };

/// For what is looked at alone.
pub(super) const ONE_EACH: Sizes = Sizes { workflow: 1, git_pull: 1, claude_exec: 1 };

/// A worker is replaced within milliseconds; longer means that it does not start.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between two looks at the gateway's counts; a look takes about as long.
const LOOK: Duration = Duration::from_micros(200);

/// A running stack, and folders that go with it.
pub(crate) struct World {
    pub(super) binaries: Binaries,
    config: Config,
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
        let config = config.without_settings();
        let folder = tempfile::Builder::new().prefix("oneshift-bench-").tempdir()?;
        let small = folder.path().join("small");
        git::make(&small, git::Shape { files: 10, commits: 0 }).await?;
        let site = site(config.clone(), &binaries, folder.path().join("stack"))?;
        let stack = Stack::start(&binaries, &site, SIZES).await?;
        let gateway = Endpoint::new(&site.address(), None)?;
        Ok(Self { binaries, config, stack, gateway, folder, small })
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

    /// A port and folders for another gateway, with its workers if it has any, which find these
    /// settings in their environment.
    pub(super) fn site<const N: usize>(
        &self,
        name: &str,
        settings: [(&str, String); N],
    ) -> anyhow::Result<Surroundings> {
        let config = self.config.clone();
        let config =
            settings.into_iter().fold(config, |config, (name, value)| config.with(name, value));
        site(config, &self.binaries, self.place(name))
    }

    /// A second stack.
    pub(super) async fn stack(&self, site: &Surroundings, sizes: Sizes) -> anyhow::Result<Stack> {
        Stack::start(&self.binaries, site, sizes).await
    }

    /// Waits until every worker is there and idle.
    pub(super) async fn idle(&self) -> anyhow::Result<()> {
        for kind in WorkerKind::ALL {
            idle(&self.gateway, kind, SIZES.of(kind).into()).await?;
        }
        Ok(())
    }

    /// What a job in the small repository asks for.
    pub(super) fn request(&self, prompt: &str) -> anyhow::Result<Value> {
        request(&self.small, prompt, DeliverMode::Patch)
    }

    /// Submits a job in the small repository.
    pub(super) async fn submit(&self, prompt: &str) -> anyhow::Result<EventStream> {
        submit(&self.gateway, &self.request(prompt)?).await
    }
}

/// What a job in a repository asks for.
pub(super) fn request(
    repository: &Path,
    prompt: &str,
    deliver: DeliverMode,
) -> anyhow::Result<Value> {
    let deliver = Deliver { mode: deliver, ..Deliver::default() };
    Ok(json!({ "prompt": prompt, "repoUrl": folder_address(repository)?, "deliver": deliver }))
}

/// Submits a job and follows it.
pub(super) async fn submit(gateway: &Endpoint, request: &Value) -> anyhow::Result<EventStream> {
    Ok(gateway.submit(submission(request), Patience::WORKER).await?)
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

fn site(config: Config, binaries: &Binaries, folder: PathBuf) -> anyhow::Result<Surroundings> {
    Ok(Surroundings {
        config,
        port: free_port()?,
        cluster_token: random_token()?,
        data: folder.join("data"),
        workspace: folder.join("workspace"),
        log: "error",
        agent_command: Some(vec![binaries.own.display().to_string(), "bench-agent".to_owned()]),
    })
}
