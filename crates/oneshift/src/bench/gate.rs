//! Agents that work until they are told to stop.

use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::agent;

/// An agent is at work within milliseconds after its job was started; longer means that it is not
/// started.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Where such agents report.
pub(super) struct Gate(TcpListener);

/// An agent at work; dropping this lets it end.
pub(super) struct Held(TcpStream);

impl Gate {
    pub(super) async fn new() -> anyhow::Result<Self> {
        Ok(Self(TcpListener::bind("127.0.0.1:0").await.context("cannot listen for agents")?))
    }

    /// The prompt that sends an agent here.
    pub(super) fn prompt(&self) -> anyhow::Result<String> {
        Ok(agent::held(self.0.local_addr()?))
    }

    /// The next agent that is at work.
    pub(super) async fn next(&self) -> anyhow::Result<Held> {
        let next = tokio::time::timeout(START_TIMEOUT, self.0.accept()).await;
        let (stream, _) = next.context("no agent was started within 30 s")??;
        stream.set_nodelay(true)?;
        Ok(Held(stream))
    }
}

impl Held {
    /// Has the agent print a line.
    pub(super) async fn print(&mut self, line: &str) -> anyhow::Result<()> {
        let line = format!("{line}\n");
        self.0.write_all(line.as_bytes()).await.context("an agent has gone")
    }
}
