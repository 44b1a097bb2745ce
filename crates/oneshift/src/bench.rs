//! Measurements: the real binaries over loopback with an agent that does next to nothing, next to
//! an empty baseline in the same run.

pub(crate) mod agent;
mod baseline;
mod chain;
mod crowd;
mod flood;
mod followed;
mod followers;
mod gate;
mod git;
mod latency;
mod lone;
mod memory;
mod pulls;
mod queue;
mod relay;
mod report;
mod row;
mod samples;
mod throughput;
mod turnaround;
mod world;

use std::fmt;

use indicatif::ProgressBar;

pub(crate) use report::Report;
use report::number;
use row::Row;
pub(crate) use world::World;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Jobs for each latency.
    jobs: usize,
    /// Rounds of what takes longer.
    rounds: usize,
    /// Short lines that the agent prints.
    short_lines: u64,
    /// Long lines that the agent prints, 8 KiB each; together less than the bound of a job's log.
    long_lines: u64,
    /// Jobs in a long queue.
    queued: usize,
    /// Submits in each round.
    submits: usize,
    /// Followers of one job.
    followers: usize,
    /// Jobs that run end to end, as many at a time as there are workers.
    through: usize,
    /// What a job prints that says too much.
    flood_bytes: u64,
    /// What is kept of it.
    log_bytes: u64,
}

impl Effort {
    /// For figures to be written down.
    pub(crate) const FULL: Self = Self {
        jobs: 200,
        rounds: 10,
        short_lines: 400_000,
        long_lines: 20_000,
        queued: 100_000,
        submits: 1_000,
        followers: 10_000,
        through: 1_000,
        flood_bytes: 1_000_000_000,
        log_bytes: 256 * 1024 * 1024,
    };

    /// For a rough idea.
    pub(crate) const QUICK: Self = Self {
        jobs: 20,
        rounds: 3,
        short_lines: 50_000,
        long_lines: 5_000,
        queued: 2_000,
        submits: 500,
        followers: 1_000,
        through: 50,
        flood_bytes: 50_000_000,
        log_bytes: 8 * 1024 * 1024,
    };
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, rounds, queued, followers, .. } = *self;
        let [queued, followers] = [queued, followers].map(|count| number(count as f64));
        write!(
            f,
            "{jobs} jobs for latencies, {rounds} rounds of the rest, {queued} queued, \
             {followers} followers"
        )
    }
}

/// Measures everything, one after the other.
pub(crate) async fn measure(
    world: &World,
    effort: Effort,
    bar: &ProgressBar,
) -> anyhow::Result<Report> {
    let mut report = Report::new(effort);
    let begin = |what| {
        bar.inc(1);
        bar.set_message(what);
    };
    begin("memory of idle services");
    report.rows.extend(memory::measure(world).await?);
    begin("latency");
    report.rows.extend(latency::measure(world, effort).await?);
    begin("the whole chain");
    report.rows.extend(chain::measure(world, effort).await?);
    begin("relay");
    report.rows.extend(relay::measure(world, effort).await?);
    begin("pulls of a known repository");
    report.rows.extend(pulls::measure(world, effort).await?);
    begin("turnaround of a worker");
    report.rows.extend(turnaround::measure(world, effort).await?);
    begin("jobs end to end");
    report.rows.extend(throughput::measure(world, effort).await?);
    begin("long queues");
    report.rows.extend(queue::measure(world, effort).await?);
    begin("followers");
    report.rows.extend(followers::measure(world, effort).await?);
    begin("a job that says too much");
    report.rows.extend(flood::measure(world, effort).await?);
    Ok(report)
}

/// How many things are measured.
pub(crate) const PARTS: u64 = 10;
