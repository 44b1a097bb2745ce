//! What this worker reads from the environment, besides what all workers read.

use std::sync::Arc;
use std::time::Duration;

use service::config::{ConfigError, Environment};
use service::workspace::Workspace;

use crate::credentials::Credentials;
use crate::housekeeping::Limits;
use crate::policy::Policy;
use crate::web::SILENCE;

/// The operator's settings for pulls and deliveries.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workspace: Workspace,
    pub(crate) policy: Arc<Policy>,
    pub(crate) credentials: Credentials,
    /// How long a git server may be silent.
    pub(crate) silence: Duration,
    pub(crate) limits: Limits,
}

impl Settings {
    /// Reads `ONESHIFT_WORKSPACE`, `ONESHIFT_ALLOW_LOCAL_REPOS`, `ONESHIFT_ALLOWED_HOSTS`,
    /// `ONESHIFT_GIT_CREDENTIALS_FILE`, `ONESHIFT_GIT_SILENCE_SECONDS` and what [`Limits`] reads;
    /// opens the workspace.
    pub(crate) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        const WORKSPACE: &str = "ONESHIFT_WORKSPACE";
        const SILENCE_SECONDS: &str = "ONESHIFT_GIT_SILENCE_SECONDS";
        let workspace = Workspace::open(&environment.path(WORKSPACE, "/workspace"))
            .map_err(|error| ConfigError::new(WORKSPACE, format!("is wrong: {error}")))?;
        let silence: u64 = environment.number(SILENCE_SECONDS, SILENCE.as_secs())?;
        if silence == 0 {
            return Err(ConfigError::new(SILENCE_SECONDS, "is 0; use at least 1"));
        }
        Ok(Self {
            workspace,
            policy: Arc::new(Policy::from_environment(environment)?),
            credentials: Credentials::new(
                environment.text("ONESHIFT_GIT_CREDENTIALS_FILE").map(Into::into),
            ),
            silence: Duration::from_secs(silence),
            limits: Limits::read(environment)?,
        })
    }
}
