//! Agents: each turns one program into our events and outcome.

mod claude;
mod command;

use service::protocol::request::ExecuteRequest;
use service::protocol::{ErrorCode, Outcome, Payload, RequestError};
use service::{ConfigError, Environment};

use crate::environment::Variables;
use crate::evidence::Evidence;
use crate::lines::Piece;
use crate::process::Reaction;
use claude::ClaudeConfig;
use command::CommandConfig;
use secrecy::SecretString;

/// The agents that this worker knows, as its operator configured them.
#[derive(Clone, Debug)]
pub(crate) struct Agents {
    default: String,
    claude: ClaudeConfig,
    command: Option<CommandConfig>,
}

/// How one agent is run for one job.
pub(crate) struct Run {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// What it needs in its environment beside what every agent gets.
    pub(crate) environment: Variables,
    /// What it is given on its standard input.
    pub(crate) prompt: String,
    /// Who understands what it says.
    pub(crate) listener: Box<dyn Listener>,
}

/// Understands what one kind of agent says, and how it ends.
pub(crate) trait Listener: Send {
    /// The agent's name for people.
    fn name(&self) -> &'static str;

    /// Longest line of standard output that is wanted in one piece, in bytes.
    fn longest_line(&self) -> usize;

    /// Turns a piece of standard output into events.
    fn hear(&mut self, piece: Piece<'_>, emit: &mut dyn FnMut(Payload)) -> Reaction;

    /// What the agent left behind for its outcome.
    fn evidence(&self) -> Evidence;

    /// Whether the agent has said how it ended, so that a limit no longer matters.
    fn has_concluded(&self) -> bool;

    /// How the run ended by all that the agent said, when nobody stopped it; `exit_code` is none
    /// if we ended it after its last word. `complaint` is the end of what it wrote to its standard
    /// error.
    fn verdict(&self, exit_code: Option<i32>, complaint: &str) -> Outcome;

    /// What to tell people when the program cannot be started.
    fn unavailable(&self, error: &str) -> String;
}

impl Agents {
    /// Reads `ONESHIFT_AGENT` (`claude`) and what the agents themselves need.
    pub(crate) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        const NAME: &str = "ONESHIFT_AGENT";
        let default = environment.text(NAME).unwrap_or_else(|| claude::NAME.to_owned());
        let agents = Self {
            default,
            claude: ClaudeConfig::read(environment)?,
            command: CommandConfig::read(environment)?,
        };
        match agents.default.as_str() {
            claude::NAME => Ok(agents),
            command::NAME if agents.command.is_some() => Ok(agents),
            command::NAME => {
                Err(ConfigError::new(NAME, "is command, but ONESHIFT_AGENT_COMMAND is not set"))
            }
            other => Err(ConfigError::new(NAME, format!("is {other:?}; use claude or command"))),
        }
    }

    /// The credentials that agents use.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        self.claude.secrets()
    }

    /// Looks whether this worker can serve the request.
    pub(crate) fn admit(&self, request: &ExecuteRequest) -> Result<(), RequestError> {
        match self.chosen(request) {
            claude::NAME => Ok(()),
            command::NAME if self.command.is_some() => request.limits.check_for(command::NAME),
            command::NAME => Err(RequestError::field(
                ErrorCode::NotAllowed,
                "agent",
                "agent \"command\" is not configured on this worker: its operator must set \
                 ONESHIFT_AGENT_COMMAND",
            )),
            other => {
                let (agent, known) = (shown(other), self.names().collect::<Vec<_>>().join(", "));
                let message = format!("agent {agent:?} is not known; known here: {known}");
                Err(RequestError::field(ErrorCode::NotSupported, "agent", message))
            }
        }
    }

    /// How the request's agent is to be run; none if [`Agents::admit`] refuses the request.
    pub(crate) fn prepare(&self, request: &ExecuteRequest) -> Option<Run> {
        match self.chosen(request) {
            claude::NAME => Some(self.claude.prepare(request)),
            command::NAME => self.command.as_ref().map(|command| command.prepare(request)),
            _ => None,
        }
    }

    fn chosen<'a>(&'a self, request: &'a ExecuteRequest) -> &'a str {
        request.agent.as_deref().unwrap_or(&self.default)
    }

    /// The agents that are configured, the default first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let command = self.command.as_ref().map(|_| command::NAME);
        let mut names: Vec<_> = std::iter::once(claude::NAME).chain(command).collect();
        names.sort_by_key(|name| *name != self.default);
        names.into_iter()
    }
}

fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit<const N: usize>(
        pairs: [(&str, &str); N],
        request: &str,
    ) -> Result<(), (ErrorCode, String)> {
        let agents = Agents::read(&Environment::from_pairs(pairs)).unwrap();
        let request = service::protocol::request::parse(request.as_bytes()).unwrap();
        agents.admit(&request).map_err(|error| (error.code, error.message))
    }

    #[test]
    fn an_unknown_agent_is_refused_with_the_known_ones() {
        let (code, message) = admit([], r#"{"prompt":"x","agent":"codex"}"#).unwrap_err();
        assert_eq!(code, ErrorCode::NotSupported);
        assert_eq!(message, "agent \"codex\" is not known; known here: claude");
    }

    #[test]
    fn command_needs_its_operators_configuration() {
        let request = r#"{"prompt":"x","agent":"command"}"#;
        assert_eq!(admit([], request).unwrap_err().0, ErrorCode::NotAllowed);
        assert_eq!(admit([("ONESHIFT_AGENT_COMMAND", "true")], request), Ok(()));
    }

    #[test]
    fn a_limit_that_command_cannot_keep_is_refused() {
        let pairs = [("ONESHIFT_AGENT_COMMAND", "true"), ("ONESHIFT_AGENT", "command")];
        let (code, message) =
            admit(pairs, r#"{"prompt":"x","limits":{"maxTurns":3}}"#).unwrap_err();
        assert_eq!(code, ErrorCode::NotSupported);
        assert!(message.contains("limits.maxTurns"), "{message}");
    }

    #[test]
    fn a_default_agent_that_is_not_configured_stops_the_worker() {
        for agent in ["command", "codex"] {
            let pairs = [("ONESHIFT_AGENT", agent)];
            assert!(Agents::read(&Environment::from_pairs(pairs)).is_err(), "{agent}");
        }
    }
}
