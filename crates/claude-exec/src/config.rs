//! What claude-exec reads from the environment, beside what all workers read.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use service::workspace::Workspace;
use service::{ConfigError, Environment};

use crate::agent::Agents;
use crate::confinement::Confinement;
use crate::environment::BaseEnvironment;
use crate::redact::Redactor;

/// Where a running process finds its own program, even if the file was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Everything that a job needs to know of its worker.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) workspace: Workspace,
    pub(crate) agents: Agents,
    pub(crate) base: BaseEnvironment,
    pub(crate) redactor: Redactor,
    /// What agents cannot reach, if anything.
    pub(crate) confinement: Option<Confinement>,
    /// The program that guards agents: `<shim> reap -- <program>`.
    pub(crate) shim: PathBuf,
}

impl Config {
    /// Reads `ONESHIFT_WORKSPACE`, `ONESHIFT_AGENT`, `ONESHIFT_AGENT_COMMAND`,
    /// `ONESHIFT_AGENT_ENV`, `ONESHIFT_AGENT_BYPASS_PERMISSIONS`, `ONESHIFT_AGENT_CONFINED`,
    /// `ONESHIFT_AGENT_HIDDEN`, `ONESHIFT_CLAUDE` and the model's credentials; README.md has the
    /// table.
    ///
    /// # Errors
    /// When one of them cannot be used, or the workspace cannot be opened.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        const WORKSPACE: &str = "ONESHIFT_WORKSPACE";
        let root = environment.path(WORKSPACE, "/workspace");
        let workspace = Workspace::open(&root)
            .map_err(|error| ConfigError::new(WORKSPACE, format!("cannot be used: {error}")))?;
        let agents = Agents::read(environment)?;
        let base = BaseEnvironment::read(environment);
        let cluster_token = environment.secret("ONESHIFT_CLUSTER_TOKEN")?;
        let secrets = base.secrets();
        let secrets = secrets.iter().map(String::as_str);
        let tokens = cluster_token.iter().chain(agents.secrets()).map(|s| s.expose_secret());
        let redactor = Redactor::new(secrets.chain(tokens));
        let confinement = Confinement::read(environment, &workspace)?;
        let shim = PathBuf::from(OWN_PROGRAM);
        Ok(Self { workspace, agents, base, redactor, confinement, shim })
    }

    /// Names another program as the guard of agents; for tests, whose own program is none.
    #[must_use]
    pub fn with_shim(mut self, shim: impl AsRef<Path>) -> Self {
        self.shim = shim.as_ref().to_owned();
        self
    }

    /// The agents that the worker has, the one that it chooses by itself first.
    pub fn agents(&self) -> impl Iterator<Item = String> {
        self.agents.names().map(str::to_owned)
    }

    /// The workspace that the worker sees.
    #[must_use]
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }
}
