//! What `workflow` reads from the environment: where the other workers are.

use service::client::Endpoint;
use service::one_shot::OneShotConfig;
use service::{ConfigError, Environment};

use crate::workers::Workers;

/// Reads `GIT_PULL_URL` and `CLAUDE_EXEC_URL`, unless there is a gateway to lease workers from.
pub(crate) fn workers(
    environment: &Environment,
    config: &OneShotConfig,
) -> Result<Workers, ConfigError> {
    if !config.gateways.is_empty() {
        return Ok(Workers::leased(config.gateways.clone()));
    }
    let endpoint = |name: &str| {
        let url = environment.text(name).ok_or_else(|| {
            ConfigError::new(name, "is not set; set it, or ONESHIFT_GATEWAY to lease workers from")
        })?;
        Endpoint::new(&url, config.cluster_token.clone())
            .map_err(|error| ConfigError::new(name, format!("is wrong: {error}")))
    };
    Ok(Workers::fixed(endpoint("GIT_PULL_URL")?, endpoint("CLAUDE_EXEC_URL")?))
}
