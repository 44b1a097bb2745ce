//! What the operator reads from the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use service::client::Endpoint;
use service::protocol::WorkerKind;
use service::protocol::cluster::{Autoscale, MAX_REPLICAS};
use service::{ConfigError, Environment};

/// Replicas that are needed again within minutes are worth keeping.
const DEFAULT_COOL_SECONDS: u64 = 300;

/// The operator's settings.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The gateway to report to.
    pub(crate) gateway: Endpoint,
    /// Where Docker is.
    pub(crate) docker: DockerHost,
    /// The stack whose services are the operator's business.
    pub(crate) stack: String,
    /// Which kinds of workers are scaled, and how far.
    pub(crate) autoscale: BTreeMap<WorkerKind, Autoscale>,
    /// How long fewer workers must have been enough before some are taken away.
    pub(crate) autoscale_cool: Duration,
}

/// Where Docker's API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DockerHost {
    /// A socket on this machine.
    Unix(PathBuf),
    /// A host and its port: a proxy in front of the socket.
    Tcp(String),
}

impl std::fmt::Display for DockerHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl Config {
    /// Reads `ONESHIFT_GATEWAY` and `ONESHIFT_CLUSTER_TOKEN` (both required), `DOCKER_HOST`
    /// (`unix:///var/run/docker.sock`), `ONESHIFT_STACK` (`oneshift`), `ONESHIFT_AUTOSCALE`
    /// (nothing is scaled) and `ONESHIFT_AUTOSCALE_COOL_SECONDS` (300).
    pub(crate) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let required = |name: &str| ConfigError::new(name, "is not set; the operator needs it");
        let token = environment
            .secret("ONESHIFT_CLUSTER_TOKEN")?
            .ok_or_else(|| required("ONESHIFT_CLUSTER_TOKEN"))?;
        let gateway =
            environment.text("ONESHIFT_GATEWAY").ok_or_else(|| required("ONESHIFT_GATEWAY"))?;
        let gateway = Endpoint::new(&gateway, Some(token))
            .map_err(|error| ConfigError::new("ONESHIFT_GATEWAY", format!("is wrong: {error}")))?;
        Ok(Self {
            gateway,
            docker: docker_host(environment)?,
            stack: environment.text("ONESHIFT_STACK").unwrap_or_else(|| "oneshift".to_owned()),
            autoscale: autoscale(&environment.text("ONESHIFT_AUTOSCALE").unwrap_or_default())?,
            autoscale_cool: Duration::from_secs(
                environment.number("ONESHIFT_AUTOSCALE_COOL_SECONDS", DEFAULT_COOL_SECONDS)?,
            ),
        })
    }
}

fn docker_host(environment: &Environment) -> Result<DockerHost, ConfigError> {
    const NAME: &str = "DOCKER_HOST";
    let text = environment.text(NAME).unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let parsed = match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Some(DockerHost::Unix(path.into())),
        Some(("tcp" | "http", address)) => {
            let address = address.trim_end_matches('/');
            let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains('@') && port.parse::<u16>().is_ok()
            });
            has_port.then(|| DockerHost::Tcp(address.to_owned()))
        }
        _ => None,
    };
    parsed.ok_or_else(|| {
        let fault = "cannot be used; it must be unix:///path/of/the/socket or tcp://host:port";
        ConfigError::new(NAME, fault)
    })
}

/// Reads bounds such as `workflow=2..20,git-pull=1..10`.
fn autoscale(text: &str) -> Result<BTreeMap<WorkerKind, Autoscale>, ConfigError> {
    let fault = |what: String| ConfigError::new("ONESHIFT_AUTOSCALE", what);
    let mut autoscale = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, bounds) = part.split_once('=').unwrap_or((part, ""));
        let kind = WorkerKind::ALL.into_iter().find(|kind| kind.name() == name.trim());
        let kind = kind.ok_or_else(|| {
            fault(format!("names {name:?}; use workflow, git-pull or claude-exec"))
        })?;
        let bounds = parse_bounds(bounds).ok_or_else(|| {
            let fault_of = format!("has {part:?}; use {kind}=1..10, with at least 1");
            fault(format!("{fault_of} and at most {MAX_REPLICAS}"))
        })?;
        if autoscale.insert(kind, bounds).is_some() {
            return Err(fault(format!("names {kind} twice")));
        }
    }
    Ok(autoscale)
}

fn parse_bounds(text: &str) -> Option<Autoscale> {
    let (min, max) = text.split_once("..")?;
    let (min, max) = (min.trim().parse().ok()?, max.trim().parse().ok()?);
    (1 <= min && min <= max && max <= MAX_REPLICAS).then_some(Autoscale { min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(pairs: [(&str, &str); N]) -> Result<Config, String> {
        Config::read(&Environment::from_pairs(pairs)).map_err(|error| error.to_string())
    }

    fn docker(text: &str) -> Result<String, String> {
        let pairs = [
            ("ONESHIFT_GATEWAY", "http://gateway:5000"),
            ("ONESHIFT_CLUSTER_TOKEN", "hunter2"),
            ("DOCKER_HOST", text),
        ];
        read(pairs).map(|config| config.docker.to_string())
    }

    #[test]
    fn gateway_and_token_are_required() {
        let fault = read([("ONESHIFT_GATEWAY", "http://gateway:5000")]).unwrap_err();
        assert_eq!(fault, "ONESHIFT_CLUSTER_TOKEN is not set; the operator needs it");
        let fault = read([("ONESHIFT_CLUSTER_TOKEN", "hunter2")]).unwrap_err();
        assert_eq!(fault, "ONESHIFT_GATEWAY is not set; the operator needs it");
    }

    #[test]
    fn docker_is_behind_a_socket_or_a_proxy() {
        assert_eq!(docker("").unwrap(), "unix:///var/run/docker.sock");
        assert_eq!(docker("unix:///tmp/d.sock").unwrap(), "unix:///tmp/d.sock");
        assert_eq!(docker("tcp://proxy:2375").unwrap(), "tcp://proxy:2375");
        assert_eq!(docker("http://[::1]:2375/").unwrap(), "tcp://[::1]:2375");
        for wrong in ["ssh://host", "tcp://proxy", "tcp://:1", "unix://x", "tcp://u:s3cret@h:1"] {
            let fault = docker(wrong).unwrap_err();
            assert!(fault.starts_with("DOCKER_HOST cannot be used"), "{fault}");
            assert!(!fault.contains("s3cret"));
        }
    }

    #[test]
    fn five_minutes_pass_before_workers_are_taken_away_unless_another_time_is_set() {
        let with = |seconds| {
            let pairs = [
                ("ONESHIFT_GATEWAY", "http://gateway:5000"),
                ("ONESHIFT_CLUSTER_TOKEN", "hunter2"),
                ("ONESHIFT_AUTOSCALE_COOL_SECONDS", seconds),
            ];
            read(pairs).map(|config| config.autoscale_cool.as_secs())
        };
        assert_eq!(with(""), Ok(300));
        assert_eq!(with("20"), Ok(20));
        let fault = with("soon").unwrap_err();
        assert!(fault.starts_with("ONESHIFT_AUTOSCALE_COOL_SECONDS "), "{fault}");
    }

    #[test]
    fn bounds_are_read_for_each_kind() {
        let bounds = autoscale(" workflow=2..20, git-pull = 1..1 ,").unwrap();
        assert_eq!(bounds[&WorkerKind::Workflow], Autoscale { min: 2, max: 20 });
        assert_eq!(bounds[&WorkerKind::GitPull], Autoscale { min: 1, max: 1 });
        assert_eq!(bounds.len(), 2);
        assert!(autoscale("").unwrap().is_empty());
    }

    #[test]
    fn wrong_bounds_are_named() {
        for (text, words) in [
            ("gateway=1..2", "names \"gateway\"; use workflow, git-pull or claude-exec"),
            ("workflow", "has \"workflow\"; use workflow=1..10"),
            ("workflow=3", "use workflow=1..10"),
            ("workflow=0..3", "with at least 1"),
            ("workflow=4..3", "use workflow=1..10"),
            ("workflow=1..1001", "at most 1000"),
            ("workflow=-1..3", "use workflow=1..10"),
            ("workflow=1..2,workflow=1..3", "names workflow twice"),
        ] {
            let fault = autoscale(text).unwrap_err().to_string();
            assert!(fault.contains(words), "{text}: {fault}");
        }
    }
}
