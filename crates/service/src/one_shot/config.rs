//! What all workers read from the environment.

use std::net::SocketAddr;
use std::time::Duration;

use client::Endpoint;
use protocol::{WorkerId, WorkerKind, WorkspaceId};
use secrecy::SecretString;

use crate::auth::ClusterTokens;
use crate::config::{ConfigError, Environment};

/// What is the same for all workers.
#[derive(Clone, Debug)]
pub struct OneShotConfig {
    /// This process.
    pub id: WorkerId,
    /// What it does.
    pub kind: WorkerKind,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The gateways to attach to; none for a worker that stands alone.
    pub gateways: Vec<Endpoint>,
    /// What it shows to others of the cluster.
    pub cluster_token: Option<SecretString>,
    /// What callers must show.
    pub accepted: ClusterTokens,
    /// The workspace that the worker sees.
    pub workspace: Option<WorkspaceId>,
    /// The machine's name.
    pub node: String,
    /// How long the job may go on after a SIGTERM.
    pub drain: Duration,
    /// How long the job goes on without a reader, and its outcome waits for one.
    pub reader_wait: Duration,
    /// Whether a failed job makes the process exit with 1.
    pub exit_with_job: bool,
    /// The worker whose place it takes.
    pub succeeds: Option<WorkerId>,
    /// Whether that one was told to stop, and so it was too.
    pub is_leaving: bool,
}

/// A reader that is gone comes back within seconds, or its machine is lost.
const READER_WAIT_SECONDS: u64 = 30;

impl OneShotConfig {
    /// Reads `ONESHIFT_LISTEN` (default: all addresses, `port`), `ONESHIFT_GATEWAY`,
    /// `ONESHIFT_CLUSTER_TOKEN`, `ONESHIFT_CLUSTER_TOKEN_ALSO`, `ONESHIFT_NODE`, `ONESHIFT_DRAIN_SECONDS`,
    /// `ONESHIFT_READER_WAIT_SECONDS` and `ONESHIFT_EXIT`.
    ///
    /// # Errors
    /// When one of them cannot be used, or there is a gateway and no cluster token.
    pub fn read(environment: &Environment, kind: WorkerKind) -> Result<Self, ConfigError> {
        let cluster_token = environment.secret("ONESHIFT_CLUSTER_TOKEN")?;
        let gateways = gateways(environment, cluster_token.as_ref())?;
        if !gateways.is_empty() && cluster_token.is_none() {
            let fault = "is not set, but ONESHIFT_GATEWAY is; the two belong together";
            return Err(ConfigError::new("ONESHIFT_CLUSTER_TOKEN", fault));
        }
        let node = environment
            .text("ONESHIFT_NODE")
            .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let seconds = |name, default| environment.number(name, default).map(Duration::from_secs);
        Ok(Self {
            id: WorkerId::random(),
            kind,
            listen: listen(environment, kind)?,
            gateways,
            accepted: ClusterTokens::read(environment, cluster_token.as_ref())?,
            cluster_token,
            workspace: None,
            node,
            drain: seconds("ONESHIFT_DRAIN_SECONDS", 30)?,
            reader_wait: seconds("ONESHIFT_READER_WAIT_SECONDS", READER_WAIT_SECONDS)?,
            exit_with_job: exit_with_job(environment)?,
            succeeds: None,
            is_leaving: false,
        })
    }

    /// Says which workspace the worker sees.
    #[must_use]
    pub fn with_workspace(mut self, workspace: WorkspaceId) -> Self {
        self.workspace = Some(workspace);
        self
    }
}

fn default_port(kind: WorkerKind) -> u16 {
    match kind {
        WorkerKind::Workflow => 5000,
        WorkerKind::GitPull => 4000,
        WorkerKind::ClaudeExec => 3000,
    }
}

/// Where a worker of this kind listens.
pub(crate) fn listen(
    environment: &Environment,
    kind: WorkerKind,
) -> Result<SocketAddr, ConfigError> {
    listen_address(environment, default_port(kind))
}

/// Reads `ONESHIFT_LISTEN`; by default all addresses with this port.
///
/// # Errors
/// When it is not an address with a port.
pub fn listen_address(environment: &Environment, port: u16) -> Result<SocketAddr, ConfigError> {
    const NAME: &str = "ONESHIFT_LISTEN";
    let text = environment.text(NAME).unwrap_or_else(|| format!("0.0.0.0:{port}"));
    text.parse().map_err(|_| {
        ConfigError::new(
            NAME,
            format!("is {text:?}; use an IP address and a port, as 127.0.0.1:{port}"),
        )
    })
}

fn gateways(
    environment: &Environment,
    token: Option<&SecretString>,
) -> Result<Vec<Endpoint>, ConfigError> {
    let text = environment.text("ONESHIFT_GATEWAY").unwrap_or_default();
    let addresses = text.split(',').map(str::trim).filter(|address| !address.is_empty());
    addresses
        .map(|address| {
            Endpoint::new(address, token.cloned())
                .map_err(|error| ConfigError::new("ONESHIFT_GATEWAY", format!("is wrong: {error}")))
        })
        .collect()
}

fn exit_with_job(environment: &Environment) -> Result<bool, ConfigError> {
    const NAME: &str = "ONESHIFT_EXIT";
    match environment.text(NAME).as_deref() {
        None | Some("worker") => Ok(false),
        Some("job") => Ok(true),
        Some(other) => Err(ConfigError::new(NAME, format!("is {other:?}; use worker or job"))),
    }
}
