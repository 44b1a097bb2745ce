//! Pulling a repository that is known already.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::protocol::event::{Event, Payload, Step, StepState};
use client::protocol::request::DeliverMode;

use super::git::Shape;
use super::report::number;
use super::row::Group;
use super::samples::Samples;
use super::{Effort, Row, World, agent, git, world};

/// A repository with a long history, where most of a clone is the history, and one with many files,
/// where most of it is writing them.
const SHAPES: [Shape; 2] =
    [Shape { files: 300, commits: 3_000 }, Shape { files: 2_000, commits: 20 }];

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for shape in SHAPES {
        rows.push(measure_one(world, effort, shape).await?);
    }
    Ok(rows)
}

async fn measure_one(world: &World, effort: Effort, shape: Shape) -> anyhow::Result<Row> {
    let Shape { files, commits } = shape;
    let origin = world.place(&format!("origin-{files}-{commits}"));
    git::make(&origin, shape).await?;
    let address = format!("file://{}", origin.display());
    let (mut fresh, mut known) = (Vec::new(), Vec::new());
    pull(world, &origin).await?;
    for round in 0..effort.rounds {
        // Left there: removing many files makes the file system slow for who comes next.
        let to = world.place(&format!("fresh-{files}-{commits}-{round}"));
        fresh.push(git::clone(&address, &to).await?);
        known.push(pull(world, &origin).await?);
    }
    let (fresh, known) = (Samples::new(fresh), Samples::new(known));
    let group = Group::new("second pull of a repository", "a fresh git clone");
    let row = group
        .times(
            format!("{} files, {} commits", number(files as f64), number(commits as f64)),
            &known,
        )
        .over(fresh.median())
        .bar("<= 0.10 x", |row| row.ratio() <= 0.1);
    Ok(row)
}

/// Runs a job that changes nothing, and returns how long its pull took from outside.
async fn pull(world: &World, repository: &Path) -> anyhow::Result<Duration> {
    world.idle().await?;
    let request = world::request(repository, agent::NOTHING, DeliverMode::None)?;
    let mut stream = world::submit(&world.gateway, &request).await?;
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
