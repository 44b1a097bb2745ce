//! From a POST to its first events.

use std::time::{Duration, Instant};

use client::Endpoint;
use serde_json::json;

use super::followed::Followed;
use super::row::Group;
use super::samples::Samples;
use super::{Effort, Row, World, agent, baseline, world};

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let empty = exchanges(effort.jobs).await?;
    let (mut accepted, mut started) = (Vec::new(), Vec::new());
    for _ in 0..effort.jobs {
        let (first, second) = job(world).await?;
        accepted.push(first);
        started.push(second);
    }
    let (accepted, started) = (Samples::new(accepted), Samples::new(started));
    let group = Group::new("latency", "an empty HTTP exchange");
    Ok(vec![
        group.times("POST to accepted, durable", &accepted).over(empty.median()),
        group
            .times("POST to started, idle worker", &started)
            .over(empty.median())
            .bar("<= 5, p99 <= 25", |row| row.value() <= 5.0 && row.p99() <= 25.0),
    ])
}

/// How long a job takes to be accepted, and to be started.
async fn job(world: &World) -> anyhow::Result<(Duration, Duration)> {
    world.idle().await?;
    let start = Instant::now();
    let mut job = Followed::new(world.submit(agent::NOTHING).await?);
    let (accepted, started) = (job.until("accepted").await?, job.until("started").await?);
    job.end().await?;
    Ok((accepted - start, started - start))
}

/// The same client against a server that only answers.
async fn exchanges(count: usize) -> anyhow::Result<Samples> {
    let endpoint = Endpoint::new(&baseline::server()?, None)?;
    let body = json!({ "prompt": agent::NOTHING });
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        world::submit(&endpoint, &body).await?.next_batch().await?;
        times.push(start.elapsed());
    }
    Ok(Samples::new(times))
}
