//! One file for each command.

mod bench;
mod cancel;
mod cluster;
mod completions;
mod demo;
mod find;
mod jobs;
mod logs;
mod patch;
mod run;
mod scale;
mod scripted_agent;
mod show;
mod up;

use std::process::ExitCode;

use client::Endpoint;

use crate::cli::{Cli, Command};
use crate::config::Config;

/// Does what the arguments say.
pub(crate) async fn run(cli: Cli, config: Config) -> anyhow::Result<ExitCode> {
    let gateway = || Ok::<_, anyhow::Error>(Endpoint::new(&cli.url, config.token()?)?);
    match cli.command {
        Command::Demo => demo::demo(&config).await,
        Command::Up(args) => up::up(args, &config).await,
        Command::Run(args) => run::run(&args, gateway()?).await,
        Command::Jobs(args) => jobs::jobs(&args, &gateway()?).await,
        Command::Show(args) => show::show(&args, &gateway()?).await,
        Command::Logs(args) => logs::logs(&args, gateway()?).await,
        Command::Cancel(args) => cancel::cancel(&args, &gateway()?).await,
        Command::Patch(args) => patch::patch(&args, &gateway()?).await,
        Command::Cluster(args) => cluster::cluster(&args, &gateway()?).await,
        Command::Scale(args) => scale::scale(&args, &gateway()?).await,
        Command::Completions { shell } => completions::completions(shell),
        Command::Bench(args) => bench::bench(args, &config).await,
        Command::ScriptedAgent => scripted_agent::scripted_agent(),
        Command::BenchAgent => crate::bench::agent::act(),
    }
}
