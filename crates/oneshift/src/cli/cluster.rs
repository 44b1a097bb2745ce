//! The arguments of what looks at the cluster and changes it.

use clap::Args;
use client::protocol::cluster::MAX_REPLICAS;

/// How to show the cluster.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Look again every 2 s
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Print JSON, each look on one line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which services to scale.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
More replicas start at once. Of too many, Swarm itself chooses those that it takes away: one that has
a job finishes it within its drain time (ONESHIFT_DRAIN_SECONDS), an idle one ends at once.")]
pub(crate) struct ScaleArgs {
    /// Services of workers and how many replicas each is to have, as git-pull=6
    #[arg(value_name = "SERVICE=REPLICAS", required = true, value_parser = replicas)]
    pub(crate) services: Vec<(String, u32)>,
}

/// Reads `git-pull=6`.
fn replicas(text: &str) -> Result<(String, u32), String> {
    let usage = || format!("use SERVICE=REPLICAS with a number up to {MAX_REPLICAS}");
    let (service, replicas) = text.split_once('=').ok_or_else(usage)?;
    let replicas = replicas.parse().ok().filter(|replicas| *replicas <= MAX_REPLICAS);
    match replicas {
        Some(replicas) if !service.is_empty() => Ok((service.to_owned(), replicas)),
        _ => Err(usage()),
    }
}
