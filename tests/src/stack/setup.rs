//! How a stack is started.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;

use super::Stack;
use crate::process::{Launch, Process};
use crate::{Model, SmallDisk, claude_cli};

/// How a stack will be started.
#[derive(Clone, Debug)]
pub struct Setup {
    variables: Vec<(String, OsString)>,
    pub(super) sizes: [usize; 3],
    data: Option<Arc<SmallDisk>>,
    workspace: Option<Arc<SmallDisk>>,
}

/// A folder: where the programs see it, and where the test does.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) theirs: PathBuf,
    pub(super) ours: PathBuf,
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
        Self { variables: Vec::new(), sizes: [1, 2, 1], data: None, workspace: None }
            .env("ONESHIFT_LOG", "info")
            // Nobody waits for the jobs of a test that is over.
            .env("ONESHIFT_DRAIN_SECONDS", "0")
            .env("ONESHIFT_AGENT", "command")
            .env("ONESHIFT_AGENT_COMMAND", json!(["sh"]).to_string())
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

    /// The same with the token of a subscription instead of an API key: other limits, told otherwise.
    #[must_use]
    pub fn with_subscription(model: &Model) -> Option<Self> {
        let mut setup = Self::with_claude(model)?;
        setup.variables.retain(|(name, _)| name != "ANTHROPIC_API_KEY");
        Some(setup.env("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-loopback-0123456789"))
    }

    /// Sets a variable for `oneshift up`.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// How many workers of each kind there are: workflow, git-pull, claude-exec.
    #[must_use]
    pub fn sizes(self, workflow: usize, git_pull: usize, claude_exec: usize) -> Self {
        Self { sizes: [workflow, git_pull, claude_exec], ..self }
    }

    /// The gateway's folder will be on this disk.
    #[must_use]
    pub fn data_on(self, disk: &Arc<SmallDisk>) -> Self {
        Self { data: Some(Arc::clone(disk)), ..self }
    }

    /// The workers' folder will be on this disk.
    #[must_use]
    pub fn workspace_on(self, disk: &Arc<SmallDisk>) -> Self {
        Self { workspace: Some(Arc::clone(disk)), ..self }
    }

    /// Starts it and waits until all workers are there.
    pub async fn start(self) -> Stack {
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let port = free_port();
        let place = |name: &str, disk: &Option<Arc<SmallDisk>>| match disk {
            None => Place { theirs: folder.path().join(name), ours: folder.path().join(name) },
            Some(disk) => Place { theirs: disk.path().join(name), ours: disk.ours().join(name) },
        };
        let data = place("data", &self.data);
        let workspace = place("workspace", &self.workspace);
        let process = self.up(port, [&data, &workspace]);
        process.line("Oneshift is up at").await;
        let stack = Stack { process, setup: self, port, folder, data, workspace };
        stack.at_full_strength().await;
        stack
    }

    /// Starts `oneshift up`.
    pub(super) fn up(&self, port: u16, [data, workspace]: [&Place; 2]) -> Process {
        let counts = self.sizes.map(|size| size.to_string());
        let launch = match self.data.as_ref().or(self.workspace.as_ref()) {
            None => Launch::of("oneshift"),
            Some(disk) => disk.launch("oneshift"),
        };
        let variables = self.variables.iter();
        variables
            .fold(launch, |launch, (name, value)| launch.env(name, value))
            .args(["up", "--port", &port.to_string()])
            .args(["--workflow", &counts[0], "--git-pull", &counts[1]])
            .args(["--claude-exec", &counts[2]])
            .args(["--data".as_ref(), data.theirs.as_os_str()])
            .args(["--workspace".as_ref(), workspace.theirs.as_os_str()])
            .start()
    }
}

/// The API key that the agent of [`Setup::with_claude`] gets.
pub const API_KEY: &str = "sk-ant-loopback-0123456789";

/// A port that is free, and outside the range that the kernel gives to outgoing connections, so
/// that a gateway that is started again finds it free again.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
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
