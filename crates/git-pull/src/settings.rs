//! What this worker reads from the environment, besides what all workers read.

use std::sync::Arc;
use std::time::Duration;

use service::config::{ConfigError, Environment};
use service::workspace::Workspace;

use crate::credentials::Credentials;
use crate::housekeeping::Limits;
use crate::policy::Policy;
use crate::web::{Patience, SILENCE, TOTAL};

/// The operator's settings for pulls and deliveries.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workspace: Workspace,
    pub(crate) policy: Arc<Policy>,
    pub(crate) credentials: Credentials,
    pub(crate) patience: Patience,
    pub(crate) limits: Limits,
    /// How many bytes the files of a checkout may have.
    pub(crate) max_checkout_bytes: u64,
}

impl Settings {
    /// Reads `ONESHIFT_WORKSPACE`, `ONESHIFT_ALLOW_LOCAL_REPOS`, `ONESHIFT_ALLOWED_HOSTS`,
    /// `ONESHIFT_GIT_CREDENTIALS_FILE`, `ONESHIFT_GIT_SILENCE_SECONDS`,
    /// `ONESHIFT_GIT_TIMEOUT_SECONDS`, `ONESHIFT_MAX_CHECKOUT_BYTES` and what [`Limits`] reads; opens
    /// the workspace.
    pub(crate) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        const WORKSPACE: &str = "ONESHIFT_WORKSPACE";
        let workspace = Workspace::open(&environment.path(WORKSPACE, "/workspace"))
            .map_err(|error| ConfigError::new(WORKSPACE, format!("is wrong: {error}")))?;
        let patience = Patience {
            silence: seconds(environment, "ONESHIFT_GIT_SILENCE_SECONDS", SILENCE)?,
            total: seconds(environment, "ONESHIFT_GIT_TIMEOUT_SECONDS", TOTAL)?,
        };
        Ok(Self {
            workspace,
            policy: Arc::new(Policy::from_environment(environment)?),
            credentials: Credentials::new(
                environment.text("ONESHIFT_GIT_CREDENTIALS_FILE").map(Into::into),
            ),
            patience,
            limits: Limits::read(environment)?,
            max_checkout_bytes: environment.number("ONESHIFT_MAX_CHECKOUT_BYTES", 20 << 30)?,
        })
    }
}

fn seconds(
    environment: &Environment,
    name: &str,
    default: Duration,
) -> Result<Duration, ConfigError> {
    // So many seconds are as good as no limit, and no clock runs over.
    match environment.number::<u32>(name, u32::try_from(default.as_secs()).unwrap_or(u32::MAX))? {
        0 => Err(ConfigError::new(name, "is 0; use at least 1")),
        seconds => Ok(Duration::from_secs(seconds.into())),
    }
}
