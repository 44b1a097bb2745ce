//! What each child finds in its environment. Secrets travel here, never in arguments.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use client::protocol::WorkerKind;
use secrecy::{ExposeSecret, SecretString};

use super::service::Service;
use crate::config::Config;

/// What the children of one run have around them.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// The environment that they inherit.
    pub(crate) config: Config,
    /// The gateway's port on 127.0.0.1.
    pub(crate) port: u16,
    /// The shared secret of this run.
    pub(crate) cluster_token: SecretString,
    /// The gateway's folder.
    pub(crate) data: PathBuf,
    /// The workers' folder.
    pub(crate) workspace: PathBuf,
    /// What is logged unless the user says otherwise.
    pub(crate) log: &'static str,
    /// The program that takes the place of the usual agent.
    pub(crate) agent_command: Option<Vec<String>>,
}

/// Settings that are made here; what the user has for them is meant for services started by hand.
const OURS: [&str; 14] = [
    "CLAUDE_EXEC_URL",
    "GIT_PULL_URL",
    "ONESHIFT_CLUSTER_TOKEN",
    "ONESHIFT_CLUSTER_TOKEN_FILE",
    "ONESHIFT_DATA",
    "ONESHIFT_EXIT",
    "ONESHIFT_GATEWAY",
    "ONESHIFT_LISTEN",
    "ONESHIFT_SUPERVISOR",
    "ONESHIFT_WORKSPACE",
    // These are the command line's own.
    "ONESHIFT_TOKEN",
    "ONESHIFT_TOKEN_FILE",
    "ONESHIFT_URL",
    "ONESHIFT_ALLOW_LOCAL_REPOS",
];

/// Credentials that one service needs and the others must not have.
const GIT_CREDENTIALS: &str = "ONESHIFT_GIT_CREDENTIALS_FILE";
const CALLERS_TOKENS: &str = "ONESHIFT_TOKENS_FILE";

impl Surroundings {
    /// Where the gateway is.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The whole environment of a service.
    pub(super) fn of(&self, service: Service) -> BTreeMap<OsString, OsString> {
        let inherited = self.config.variables().iter().filter(|(name, _)| may_have(service, name));
        let mut variables: BTreeMap<OsString, OsString> =
            inherited.map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut set = |name: &str, value: OsString| {
            variables.insert(name.into(), value);
        };
        set("ONESHIFT_SUPERVISOR", std::process::id().to_string().into());
        set("ONESHIFT_CLUSTER_TOKEN", self.cluster_token.expose_secret().into());
        if self.config.text("ONESHIFT_LOG").is_none() {
            set("ONESHIFT_LOG", self.log.into());
        }
        match service {
            Service::Gateway => {
                set("ONESHIFT_LISTEN", format!("127.0.0.1:{}", self.port).into());
                set("ONESHIFT_DATA", self.data.clone().into());
            }
            Service::Worker(kind) => {
                set("ONESHIFT_LISTEN", "127.0.0.1:0".into());
                set("ONESHIFT_GATEWAY", self.address().into());
                set("ONESHIFT_WORKSPACE", self.workspace.clone().into());
                self.set_for(kind, set);
            }
        }
        variables
    }

    fn set_for(&self, kind: WorkerKind, mut set: impl FnMut(&str, OsString)) {
        match kind {
            WorkerKind::Workflow => {}
            WorkerKind::GitPull => set("ONESHIFT_ALLOW_LOCAL_REPOS", "1".into()),
            WorkerKind::ClaudeExec => {
                set("ONESHIFT_AGENT_BYPASS_PERMISSIONS", "1".into());
                set("ONESHIFT_AGENT_HIDDEN", self.hidden_from_agents());
                if let Some(argv) = &self.agent_command {
                    set("ONESHIFT_AGENT", "command".into());
                    set("ONESHIFT_AGENT_COMMAND", serde_json::json!(argv).to_string().into());
                }
            }
        }
    }

    /// What the other services keep, and what the user wants to be hidden, for agents that are
    /// confined.
    fn hidden_from_agents(&self) -> OsString {
        let path = |name| self.config.text(name).map(PathBuf::from);
        let files = [GIT_CREDENTIALS, CALLERS_TOKENS].into_iter().filter_map(path);
        let more = self.config.text("ONESHIFT_AGENT_HIDDEN").unwrap_or_default();
        let all = [self.data.clone()].into_iter().chain(files).chain(std::env::split_paths(&more));
        // A path with a colon in it cannot be told in such a list.
        let all = all.filter(|path| std::env::join_paths([path]).is_ok());
        std::env::join_paths(all).unwrap_or_default()
    }
}

/// Whether a service may inherit a variable.
fn may_have(service: Service, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    if OURS.contains(&name) {
        return false;
    }
    match name {
        GIT_CREDENTIALS => service == Service::Worker(WorkerKind::GitPull),
        CALLERS_TOKENS => service == Service::Gateway,
        _ => service == Service::Worker(WorkerKind::ClaudeExec) || !is_for_models(name),
    }
}

/// Whether a variable is for the agents' models, most of which are credentials.
fn is_for_models(name: &str) -> bool {
    let name = name.trim_end_matches("_FILE");
    name.starts_with("ANTHROPIC_")
        || name.starts_with("CLAUDE_")
        || name.ends_with("_API_KEY")
        || name.starts_with("AWS_BEARER_TOKEN_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<const N: usize>(
        service: Service,
        pairs: [(&str, &str); N],
    ) -> BTreeMap<OsString, OsString> {
        let surroundings = Surroundings {
            config: Config::from_pairs(pairs),
            port: 5000,
            cluster_token: SecretString::from("s3cret"),
            data: "/d".into(),
            workspace: "/w".into(),
            log: "warn",
            agent_command: Some(vec!["a b".to_owned()]),
        };
        surroundings.of(service)
    }

    fn has(service: Service, name: &str) -> bool {
        environment(service, [(name, "x")]).get(OsStr::new(name)).is_some_and(|value| value == "x")
    }

    const CLAUDE_EXEC: Service = Service::Worker(WorkerKind::ClaudeExec);
    const GIT_PULL: Service = Service::Worker(WorkerKind::GitPull);

    fn who_has(name: &str) -> Vec<Service> {
        Service::ALL.into_iter().filter(|service| has(*service, name)).collect()
    }

    #[test]
    fn a_credential_reaches_the_one_service_that_needs_it() {
        for name in ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN_FILE", "GEMINI_API_KEY"] {
            assert_eq!(who_has(name), [CLAUDE_EXEC], "{name}");
        }
        assert_eq!(who_has("ONESHIFT_GIT_CREDENTIALS_FILE"), [GIT_PULL]);
        assert_eq!(who_has("ONESHIFT_TOKENS_FILE"), [Service::Gateway]);
        assert_eq!(who_has("ONESHIFT_TOKEN"), []);
    }

    #[test]
    fn the_rest_is_passed_through_but_not_what_is_set_here() {
        assert_eq!(who_has("HTTPS_PROXY"), Service::ALL);
        assert_eq!(who_has("ONESHIFT_DRAIN_SECONDS"), Service::ALL);
        assert_eq!(who_has("ONESHIFT_LOG"), Service::ALL);
        assert_eq!(who_has("ONESHIFT_LISTEN"), []);
        assert_eq!(who_has("GIT_PULL_URL"), []);
    }

    #[test]
    fn what_other_services_keep_is_hidden_from_confined_agents() {
        let pairs = [("ONESHIFT_TOKENS_FILE", "/t"), ("ONESHIFT_AGENT_HIDDEN", "/home/me/.ssh")];
        let variables = environment(CLAUDE_EXEC, pairs);
        assert_eq!(variables[OsStr::new("ONESHIFT_AGENT_HIDDEN")], "/d:/t:/home/me/.ssh");
    }

    #[test]
    fn the_agents_command_is_a_json_array() {
        let variables = environment(CLAUDE_EXEC, []);
        assert_eq!(variables[OsStr::new("ONESHIFT_AGENT_COMMAND")], r#"["a b"]"#);
    }
}
