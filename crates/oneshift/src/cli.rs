//! The arguments.

mod cluster;
mod run;
mod stack;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use cluster::{ClusterArgs, ScaleArgs};
pub(crate) use run::{RunArgs, folder_address};
pub(crate) use stack::{BenchArgs, UpArgs};

/// Where `oneshift up` puts the gateway.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:5000";

/// Runs coding agents as one-shift workers: a job in, a verified outcome and a patch out.
#[derive(Debug, Parser)]
#[command(name = "oneshift", version, propagate_version = true, disable_help_subcommand = true)]
#[command(
    after_help = "Start with `oneshift demo`: it runs one job on this machine and shows the result."
)]
pub(crate) struct Cli {
    /// Address of the gateway
    #[arg(
        long,
        global = true,
        env = "ONESHIFT_URL",
        default_value = DEFAULT_URL,
        help_heading = "Everywhere"
    )]
    pub(crate) url: String,
    /// When to use colours; NO_COLOR is respected
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = ColorChoice::Auto,
        help_heading = "Everywhere"
    )]
    pub(crate) color: ColorChoice,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one job in a small repository of its own and show the diff
    Demo,
    /// Start the gateway and its workers on this machine
    Up(UpArgs),
    /// Give a job to the gateway and follow it
    Run(Box<RunArgs>),
    /// List jobs, newest first
    Jobs(JobsArgs),
    /// Show a job and how it ended
    Show(ShowArgs),
    /// Show what happened in a job
    Logs(LogsArgs),
    /// Stop a job
    Cancel(IdArgs),
    /// Print a job's patch, as `git apply` takes it
    Patch(PatchArgs),
    /// Show the nodes, services and problems of a Docker Swarm that Oneshift runs on
    Cluster(ClusterArgs),
    /// Change how many replicas services of a Docker Swarm have
    Scale(ScaleArgs),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Measure this machine's Oneshift against an empty baseline
    Bench(BenchArgs),
    /// The demo's agent: reads a prompt on standard input and writes a README.md
    #[command(hide = true)]
    ScriptedAgent,
    /// The benchmark's agent
    #[command(hide = true)]
    BenchAgent,
}

const ID_HELP: &str = "The job's id, or at least 6 characters of its beginning or end";

/// A job.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    #[arg(value_name = "ID", help = ID_HELP)]
    pub(crate) id: String,
}

/// Which jobs to list.
#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// Only jobs in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateFilter>,
    /// Only jobs with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) label: Option<(String, String)>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Print JSON, one job on each line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The states that jobs can be listed by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StateFilter {
    /// Waiting for a worker
    Queued,
    /// A worker has it
    Running,
    /// Did what was asked
    Completed,
    /// Did not
    Failed,
    /// Was stopped
    Cancelled,
}

/// Which job to show, and how.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[arg(value_name = "ID", help = ID_HELP)]
    pub(crate) id: String,
    /// Print the job as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which events to show.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[arg(value_name = "ID", help = ID_HELP)]
    pub(crate) id: String,
    /// Go on until the job ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only events after the one with this number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) after: u64,
    /// Print each event as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which patch, and where to.
#[derive(Debug, Args)]
pub(crate) struct PatchArgs {
    #[arg(value_name = "ID", help = ID_HELP)]
    pub(crate) id: String,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Reads `key=value`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("use KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "oneshift",
            "oneshift run",
            "oneshift run --repo . --label x do",
            "oneshift run --repo . --timeout soon do",
            "oneshift run --repo . --deliver mail do",
            "oneshift jobs --state asleep",
            "oneshift jobs --limit 0",
            "oneshift up --port 70000",
            "oneshift up --workflow 0",
            "oneshift show",
            "oneshift scale",
            "oneshift scale git-pull",
            "oneshift scale git-pull=",
            "oneshift scale =1",
            "oneshift scale git-pull=-1",
            "oneshift scale git-pull=1001",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_address_may_be_given_after_the_command() {
        let cli = parse("oneshift jobs --url http://host:1").unwrap();
        assert_eq!(cli.url, "http://host:1");
    }
}
