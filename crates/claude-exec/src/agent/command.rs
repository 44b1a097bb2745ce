//! The `command` agent: any program of the operator's choice, prompt on its standard input.

use service::protocol::event::{Step, Stream};
use service::protocol::request::{COMMAND_AGENT, ExecuteRequest};
use service::protocol::{Outcome, Payload, Reason};
use service::{ConfigError, Environment};

use super::{Listener, Run};
use crate::evidence::Evidence;
use crate::lines::{PIECE_BYTES, Piece};
use crate::output;
use crate::process::Reaction;

/// The agent's name in requests.
pub(super) const NAME: &str = COMMAND_AGENT;

/// The variable that tells the program which model the caller asked for.
const MODEL: &str = "ONESHIFT_MODEL";

/// The operator's program.
#[derive(Clone, Debug)]
pub(super) struct CommandConfig {
    argv: Vec<String>,
}

impl CommandConfig {
    /// Reads `ONESHIFT_AGENT_COMMAND`: a JSON array of strings, or words between spaces.
    pub(super) fn read(environment: &Environment) -> Result<Option<Self>, ConfigError> {
        const VARIABLE: &str = "ONESHIFT_AGENT_COMMAND";
        let Some(text) = environment.text(VARIABLE) else { return Ok(None) };
        let argv: Vec<String> = if text.trim_start().starts_with('[') {
            serde_json::from_str(&text).map_err(|error| {
                ConfigError::new(VARIABLE, format!("is not a JSON array of strings: {error}"))
            })?
        } else {
            text.split_whitespace().map(str::to_owned).collect()
        };
        if argv.first().is_none_or(String::is_empty) || argv.iter().any(|arg| arg.contains('\0')) {
            return Err(ConfigError::new(VARIABLE, "names no program, or holds a NUL byte"));
        }
        Ok(Some(Self { argv }))
    }

    pub(super) fn prepare(&self, request: &ExecuteRequest) -> Run {
        let model = request.model.iter().map(|model| (MODEL.to_owned(), model.clone()));
        let program = self.argv[0].clone();
        Run {
            argv: self.argv.clone(),
            environment: model.collect(),
            prompt: request.prompt.clone(),
            listener: Box::new(CommandListener { program }),
        }
    }
}

struct CommandListener {
    program: String,
}

impl Listener for CommandListener {
    fn name(&self) -> &'static str {
        NAME
    }

    fn longest_line(&self) -> usize {
        PIECE_BYTES
    }

    fn hear(&mut self, piece: Piece<'_>, emit: &mut dyn FnMut(Payload)) -> Reaction {
        output::emit(Step::Execute, Stream::Stdout, &piece, emit);
        Reaction::Listen
    }

    fn evidence(&self) -> Evidence {
        Evidence::default()
    }

    fn has_concluded(&self) -> bool {
        false
    }

    fn verdict(&self, exit_code: Option<i32>, complaint: &str) -> Outcome {
        match exit_code {
            Some(0) => Outcome::completed("the agent's command succeeded"),
            Some(code) => {
                let message = format!("the agent's command ended with exit code {code}{complaint}");
                Outcome::failed(Reason::AgentError, message)
            }
            None => Outcome::failed(Reason::AgentError, "the agent's command was stopped"),
        }
    }

    fn unavailable(&self, error: &str) -> String {
        let program = &self.program;
        format!("cannot start {program}: {error}; look at ONESHIFT_AGENT_COMMAND of the worker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        CommandConfig::read(&Environment::from_pairs([("ONESHIFT_AGENT_COMMAND", text)]))
            .map(|config| config.expect("it is set").argv)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn words_or_a_json_array_make_the_argv() {
        assert_eq!(read("my-agent --fast").unwrap(), ["my-agent", "--fast"]);
        assert_eq!(read(r#"["sh", "-c", "echo a b"]"#).unwrap(), ["sh", "-c", "echo a b"]);
    }

    #[test]
    fn what_names_no_program_is_refused() {
        for text in ["[]", "[1]", r#"[""]"#, "  ", "[\"sh\"", r#"["a\u0000"]"#] {
            assert!(read(text).unwrap_err().starts_with("ONESHIFT_AGENT_COMMAND "), "{text}");
        }
    }
}
