//! What the gateway reads from the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use service::auth::ClusterTokens;
use service::one_shot::listen_address;
use service::{ConfigError, Environment};

use crate::tokens::Tokens;

/// Where the gateway listens if nothing else is said.
pub const DEFAULT_PORT: u16 = 5000;

/// The gateway's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of the store.
    pub data: PathBuf,
    /// The shared secret of the inside, which workers are shown.
    pub cluster_token: SecretString,
    /// What the inside may show.
    pub accepted: ClusterTokens,
    /// What callers must show; nothing, if there are none.
    pub tokens: Option<Tokens>,
    /// How many jobs may wait, whosever they are.
    pub max_queued: usize,
    /// How many bytes of a job's events are kept.
    pub max_event_bytes: u64,
    /// How long jobs are remembered after their end; for ever, if absent.
    pub keep_jobs: Option<Duration>,
    /// How long workers may take to come back after a restart of the gateway.
    pub reattach: Duration,
    /// How long another process may take to let go of the store.
    pub store_wait: Duration,
}

impl Config {
    /// Reads `ONESHIFT_LISTEN` (default `0.0.0.0:5000`), `ONESHIFT_DATA` (`/data`),
    /// `ONESHIFT_CLUSTER_TOKEN` (required), `ONESHIFT_CLUSTER_TOKEN_ALSO`, `ONESHIFT_TOKENS_FILE`, `ONESHIFT_MAX_QUEUED` (200,000),
    /// `ONESHIFT_MAX_EVENT_BYTES` (256 MiB), `ONESHIFT_KEEP_JOBS_DAYS` (30; 0: for ever),
    /// `ONESHIFT_REATTACH_SECONDS` (30) and `ONESHIFT_STORE_WAIT_SECONDS` (30). `no_auth` says that
    /// the operator wants everybody to be able to do everything.
    ///
    /// # Errors
    /// When one of them cannot be used, or strangers could submit jobs without that being asked for.
    pub fn read(environment: &Environment, no_auth: bool) -> Result<Self, ConfigError> {
        let listen = listen_address(environment, DEFAULT_PORT)?;
        let cluster_token = environment.secret("ONESHIFT_CLUSTER_TOKEN")?.ok_or_else(|| {
            let fault = "is not set; make one up and give it to the gateway and all workers";
            ConfigError::new("ONESHIFT_CLUSTER_TOKEN", fault)
        })?;
        let seconds = |name, default| environment.number(name, default).map(Duration::from_secs);
        Ok(Self {
            listen,
            data: environment.path("ONESHIFT_DATA", "/data"),
            accepted: ClusterTokens::read(environment, Some(&cluster_token))?,
            cluster_token,
            tokens: tokens(environment, listen, no_auth)?,
            max_queued: environment.number("ONESHIFT_MAX_QUEUED", 200_000)?,
            max_event_bytes: environment.number("ONESHIFT_MAX_EVENT_BYTES", 256 * 1024 * 1024)?,
            keep_jobs: keep_jobs(environment)?,
            reattach: seconds("ONESHIFT_REATTACH_SECONDS", 30)?,
            store_wait: seconds("ONESHIFT_STORE_WAIT_SECONDS", 30)?,
        })
    }
}

fn keep_jobs(environment: &Environment) -> Result<Option<Duration>, ConfigError> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let days = environment.number::<u32>("ONESHIFT_KEEP_JOBS_DAYS", 30)?;
    Ok((days > 0).then(|| DAY * days))
}

fn tokens(
    environment: &Environment,
    listen: SocketAddr,
    no_auth: bool,
) -> Result<Option<Tokens>, ConfigError> {
    const NAME: &str = "ONESHIFT_TOKENS_FILE";
    match environment.text(NAME) {
        Some(_) if no_auth => {
            Err(ConfigError::new(NAME, "is set, and --no-auth is given as well; use one"))
        }
        Some(path) => Tokens::read(path.as_ref()).map(Some),
        None if no_auth || listen.ip().is_loopback() => Ok(None),
        None => {
            let fault = format!(
                "is not set, and {listen} can be reached from other machines, where anybody could \
                 submit jobs; set it, listen on 127.0.0.1, or give --no-auth if that is meant"
            );
            Err(ConfigError::new(NAME, fault))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(listen: &str, no_auth: bool) -> Result<Config, String> {
        let pairs = [("ONESHIFT_LISTEN", listen), ("ONESHIFT_CLUSTER_TOKEN", "t")];
        Config::read(&Environment::from_pairs(pairs), no_auth).map_err(|error| error.to_string())
    }

    #[test]
    fn other_machines_need_tokens_unless_the_operator_says_otherwise() {
        let fault = read("0.0.0.0:5000", false).unwrap_err();
        assert!(fault.starts_with("ONESHIFT_TOKENS_FILE is not set"), "{fault}");
        assert!(read("[::]:5000", false).is_err());
        assert!(read("0.0.0.0:5000", true).is_ok());
        assert!(read("127.0.0.1:5000", false).is_ok());
        assert!(read("[::1]:5000", false).is_ok());
    }

    #[test]
    fn the_cluster_token_is_required() {
        let pairs = [("ONESHIFT_LISTEN", "127.0.0.1:0")];
        let fault = Config::read(&Environment::from_pairs(pairs), false).unwrap_err().to_string();
        assert!(fault.starts_with("ONESHIFT_CLUSTER_TOKEN is not set"), "{fault}");
    }
}
