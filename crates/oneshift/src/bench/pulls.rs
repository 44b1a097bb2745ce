//! Pulling a repository that is known already.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::protocol::event::{Event, Payload, Step, StepState};
use client::protocol::request::DeliverMode;

use super::samples::Samples;
use super::{Effort, Row, World, agent, git};

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let large = world.place("large");
    git::make(&large, effort.files, effort.commits).await?;
    let address = format!("file://{}", large.display());
    let (mut fresh, mut known) = (Vec::new(), Vec::new());
    pull(world, &large).await?;
    for round in 0..effort.rounds {
        let to = world.place(&format!("fresh-{round}"));
        fresh.push(git::clone(&address, &to).await?);
        std::fs::remove_dir_all(&to)?;
        known.push(pull(world, &large).await?);
    }
    let (fresh, known) = (Samples::new(fresh), Samples::new(known));
    let what = format!("second pull, {} files, {} commits", effort.files, effort.commits);
    let row = Row::times(what, &known)
        .over("ms fresh git clone", fresh.median())
        .bar("10 x faster", |row| row.ratio() <= 0.1);
    Ok(vec![row])
}

/// Runs a job that changes nothing, and returns how long its pull took from outside.
async fn pull(world: &World, repository: &Path) -> anyhow::Result<Duration> {
    world.idle().await?;
    let mut stream = world.submit_in(repository, agent::NOTHING, DeliverMode::None).await?;
    let (mut start, mut pulled, mut last) = (None, None, String::new());
    while let Some(frames) = stream.next_batch().await? {
        let now = Instant::now();
        for frame in frames {
            let event: Event = serde_json::from_str(&frame.data)?;
            if let Payload::Step(step) = &event.payload
                && step.step == Step::Pull
            {
                match step.state {
                    StepState::Started => start = Some(now),
                    StepState::Completed => pulled = Some(now),
                    StepState::Failed | StepState::Skipped => {}
                }
            }
            last = frame.data;
        }
    }
    let time = start.zip(pulled).map(|(start, pulled)| pulled - start);
    time.with_context(|| format!("a job pulled nothing; it ended with {last}"))
}
