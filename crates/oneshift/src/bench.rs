//! Measurements: the real binaries over loopback with an agent that does next to nothing, next to
//! an empty baseline in the same run.

pub(crate) mod agent;
mod baseline;
mod chain;
mod git;
mod latency;
mod memory;
mod pulls;
mod relay;
mod report;
mod samples;
mod turnaround;
mod world;

pub(crate) use report::{Report, Row};
pub(crate) use world::World;

use indicatif::ProgressBar;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Jobs for each latency.
    pub(crate) jobs: usize,
    /// Rounds of what takes longer.
    pub(crate) rounds: usize,
    /// Short lines that the agent prints.
    pub(crate) short_lines: u64,
    /// Long lines that the agent prints, 8 KiB each; together less than the bound of a job's log.
    pub(crate) long_lines: u64,
}

impl Effort {
    /// For figures to be written down.
    pub(crate) const FULL: Self =
        Self { jobs: 200, rounds: 10, short_lines: 400_000, long_lines: 20_000 };

    /// For a rough idea.
    pub(crate) const QUICK: Self =
        Self { jobs: 20, rounds: 3, short_lines: 50_000, long_lines: 5_000 };
}

/// Measures everything, one after the other.
pub(crate) async fn measure(
    world: &World,
    effort: Effort,
    bar: &ProgressBar,
) -> anyhow::Result<Report> {
    let mut report = Report::new(effort);
    let mut add = |rows: Vec<Row>| {
        bar.inc(1);
        report.rows.extend(rows);
    };
    bar.set_message("memory of idle services");
    add(memory::measure(world).await?);
    bar.set_message("latency");
    add(latency::measure(world, effort).await?);
    bar.set_message("the whole chain");
    add(chain::measure(world, effort).await?);
    bar.set_message("relay");
    add(relay::measure(world, effort).await?);
    bar.set_message("pulls of a known repository");
    add(pulls::measure(world, effort).await?);
    bar.set_message("turnaround of a worker");
    add(turnaround::measure(world, effort).await?);
    Ok(report)
}

/// How many things are measured.
pub(crate) const PARTS: u64 = 6;
