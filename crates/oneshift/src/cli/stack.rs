//! The arguments of what starts services.

use std::path::PathBuf;

use clap::Args;

/// How many services to start, and where they keep their data.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
How many workers are the default:
  A job takes one worker of each kind in turn and an agent works for most of that time, so there is
  one claude-exec for each GiB of memory and two for each CPU, but no more than 3 and at least 1; as
  many git-pull; and two workflow more than claude-exec, since waiting costs them next to nothing.
  On anything but a small machine that makes 5 workflow, 3 git-pull and 3 claude-exec.

The children get this process's environment. The model's credentials (ANTHROPIC_API_KEY and the
like) reach claude-exec only.")]
pub(crate) struct UpArgs {
    /// Port of the gateway, on 127.0.0.1
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// How many workflow workers: jobs that run at the same time [default: 5, fewer on a small
    /// machine]
    #[arg(long, value_name = "N", value_parser = count())]
    pub(crate) workflow: Option<u16>,
    /// How many git-pull workers [default: 3, fewer on a small machine]
    #[arg(long, value_name = "N", value_parser = count())]
    pub(crate) git_pull: Option<u16>,
    /// How many claude-exec workers: agents that work at the same time [default: 3, fewer on a
    /// small machine]
    #[arg(long, value_name = "N", value_parser = count())]
    pub(crate) claude_exec: Option<u16>,
    /// Folder for jobs, their events and patches [default: oneshift in the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Folder for checkouts and cached repositories [default: workspace in the data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
}

fn count() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=1000)
}

/// What to measure.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_long_help = "\
Everything is measured with the real binaries over loopback and an agent that does nothing or only
prints, next to a baseline in the same run: an HTTP exchange with a server that only answers, a bare
`git clone`, a bare process, a file written with fsync, the same with a short queue. Needs git, two
gigabytes in the temporary folder and three to four minutes. The bars are those of Oneshift's
design; build with --release before comparing.")]
pub(crate) struct BenchArgs {
    /// Fewer rounds and less data: a rough idea within half a minute
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
