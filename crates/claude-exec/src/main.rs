//! `claude-exec` is the worker; `claude-exec reap` is the guard that it puts between itself and an
//! agent.

use std::process::ExitCode;

use claude_exec::{Config, Execute, reaper};
use service::one_shot::OneShot;
use service::protocol::WorkerKind;
use service::{ConfigError, worker_main};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|argument| argument == reaper::SUBCOMMAND) {
        return reaper::reap(arguments);
    }
    worker_main(WorkerKind::ClaudeExec, |environment, one_shot| {
        reaper::adopt_orphans().map_err(|error| {
            ConfigError::new("this system", format!("has no subreapers: {error}"))
        })?;
        let config = Config::read(environment)?;
        let one_shot = one_shot.with_workspace(config.workspace().id());
        let one_shot = OneShot::new(one_shot).with_agents(config.agents());
        Ok(one_shot.shift(Execute::new(config)))
    })
}
