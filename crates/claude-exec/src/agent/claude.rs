//! The `claude` agent: Anthropic's Claude Code CLI, headless.
//!
//! Checked against recordings of version 2.1.197, in `recordings/claude/2.1.197`.

mod bounded_json;
mod listener;
mod records;
mod usage;
mod verdict;

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use service::protocol::request::ExecuteRequest;
use service::{ConfigError, Environment};
use uuid::Uuid;

use super::Run;
use crate::environment::Variables;
use listener::ClaudeListener;

/// The agent's name in requests.
pub(super) const NAME: &str = "claude";

/// Files that only container engines make, at the root of each container's file system.
const CONTAINER_MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// What the operator configured for the CLI.
#[derive(Clone)]
pub(super) struct ClaudeConfig {
    program: String,
    api_key: Option<SecretString>,
    oauth_token: Option<SecretString>,
    base_url: Option<String>,
    bypasses_permissions: bool,
}

impl ClaudeConfig {
    /// Reads `ONESHIFT_CLAUDE` (`claude`), `ANTHROPIC_API_KEY`, `CLAUDE_CODE_OAUTH_TOKEN`,
    /// `ANTHROPIC_BASE_URL` and `ONESHIFT_AGENT_BYPASS_PERMISSIONS`.
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        const BYPASS: &str = "ONESHIFT_AGENT_BYPASS_PERMISSIONS";
        let is_container = || CONTAINER_MARKS.iter().any(|mark| Path::new(mark).exists());
        Ok(Self {
            program: environment.text("ONESHIFT_CLAUDE").unwrap_or_else(|| "claude".to_owned()),
            api_key: environment.secret("ANTHROPIC_API_KEY")?,
            oauth_token: environment.secret("CLAUDE_CODE_OAUTH_TOKEN")?,
            base_url: environment.text("ANTHROPIC_BASE_URL"),
            bypasses_permissions: match environment.text(BYPASS) {
                Some(_) => environment.flag(BYPASS)?,
                None => is_container(),
            },
        })
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        self.api_key.iter().chain(&self.oauth_token)
    }

    pub(super) fn prepare(&self, request: &ExecuteRequest) -> Run {
        let session = Uuid::now_v7().to_string();
        Run {
            argv: self.argv(request, &session),
            environment: self.environment(),
            prompt: prompt(request),
            listener: Box::new(ClaudeListener::new(&self.program, session)),
        }
    }

    /// The command line.
    ///
    /// Without `trustRepository` only the user's settings count, in the job's own empty HOME, so
    /// the checkout's `.claude/settings.json` (hooks run code), `.claude/skills`, `.claude/agents`,
    /// `.mcp.json` (servers are programs) and also its `CLAUDE.md` are not read; seen with 2.1.197.
    ///
    /// Permissions are bypassed inside a container or where the operator says so; elsewhere
    /// `acceptEdits` lets the agent change files below its folder, and run nothing but harmless
    /// commands.
    fn argv(&self, request: &ExecuteRequest, session: &str) -> Vec<String> {
        let mut argv = vec![self.program.as_str(), "-p", "--output-format", "stream-json"];
        argv.extend(["--verbose", "--session-id", session]);
        if request.trust_repository {
            argv.extend(["--setting-sources", "user,project,local"]);
        } else {
            argv.extend(["--setting-sources", "user", "--strict-mcp-config"]);
        }
        let bypass = if self.bypasses_permissions { "bypassPermissions" } else { "acceptEdits" };
        argv.extend(["--permission-mode", bypass]);
        let mut argv: Vec<String> = argv.into_iter().map(str::to_owned).collect();
        let options = [
            ("--model", request.model.clone()),
            // Not in the CLI's help, but there.
            ("--max-turns", request.limits.max_turns.map(|turns| turns.to_string())),
            ("--max-budget-usd", request.limits.max_cost_usd.map(|cost| cost.to_string())),
        ];
        for (option, value) in options {
            argv.extend(value.into_iter().flat_map(|value| [option.to_owned(), value]));
        }
        argv
    }

    fn environment(&self) -> Variables {
        let exposed = |secret: &SecretString| secret.expose_secret().to_owned();
        let variables = [
            ("ANTHROPIC_API_KEY", self.api_key.as_ref().map(exposed)),
            ("CLAUDE_CODE_OAUTH_TOKEN", self.oauth_token.as_ref().map(exposed)),
            ("ANTHROPIC_BASE_URL", self.base_url.clone()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", Some("1".to_owned())),
            ("DISABLE_AUTOUPDATER", Some("1".to_owned())),
            // Without it the CLI refuses to bypass permissions as root.
            ("IS_SANDBOX", (self.bypasses_permissions && is_root()).then(|| "1".to_owned())),
        ];
        let given = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?));
        variables.into_iter().filter_map(given).collect()
    }
}

/// What the CLI reads. A text that begins with a slash would be taken for a command of the CLI,
/// such as `/cost`, which never reaches the model and yet ends well; a line break before it makes
/// it a text. In a repository that is trusted it may be one of the repository's own commands.
fn prompt(request: &ExecuteRequest) -> String {
    if request.prompt.starts_with('/') && !request.trust_repository {
        format!("\n{}", request.prompt)
    } else {
        request.prompt.clone()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl std::fmt::Debug for ClaudeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaudeConfig").field("program", &self.program).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv<const N: usize>(pairs: [(&str, &str); N], request: &str) -> String {
        let config = ClaudeConfig::read(&Environment::from_pairs(pairs)).unwrap();
        let request = service::protocol::request::parse(request.as_bytes()).unwrap();
        config.argv(&request, "ID").join(" ")
    }

    #[test]
    fn by_default_nothing_of_the_repository_is_obeyed() {
        assert_eq!(
            argv([("ONESHIFT_AGENT_BYPASS_PERMISSIONS", "0")], r#"{"prompt":"-x"}"#),
            "claude -p --output-format stream-json --verbose --session-id ID \
             --setting-sources user --strict-mcp-config --permission-mode acceptEdits"
        );
    }

    #[test]
    fn the_request_decides_about_model_limits_and_trust() {
        let request = r#"{"prompt":"x","model":"opus","trustRepository":true,
            "limits":{"maxTurns":3,"maxCostUsd":0.5}}"#;
        let pairs = [("ONESHIFT_CLAUDE", "/c"), ("ONESHIFT_AGENT_BYPASS_PERMISSIONS", "1")];
        assert_eq!(
            argv(pairs, request),
            "/c -p --output-format stream-json --verbose --session-id ID \
             --setting-sources user,project,local --permission-mode bypassPermissions \
             --model opus --max-turns 3 --max-budget-usd 0.5"
        );
    }

    #[test]
    fn credentials_go_into_the_environment_only() {
        let pairs = [("ANTHROPIC_API_KEY", "sk-ant-123456"), ("ANTHROPIC_BASE_URL", "http://x")];
        let config = ClaudeConfig::read(&Environment::from_pairs(pairs)).unwrap();
        let environment = config.environment();
        assert!(environment.contains(&("ANTHROPIC_API_KEY".into(), "sk-ant-123456".into())));
        assert!(environment.contains(&("ANTHROPIC_BASE_URL".into(), "http://x".into())));
        assert!(!format!("{config:?}").contains("sk-ant"));
    }
}
