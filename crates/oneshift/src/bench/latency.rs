//! From a POST to its first events.

use std::time::{Duration, Instant};

use client::{Endpoint, Patience, Submission};
use serde_json::json;

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
    let over = |row: Row| row.over("ms empty HTTP exchange", empty.median());
    Ok(vec![
        over(Row::times("POST to accepted, durable", &accepted)),
        over(Row::times("POST to started, idle worker", &started))
            .bar("<= 5 ms, p99 <= 25 ms", |row| row.value() <= 5.0 && row.p99() <= 25.0),
    ])
}

/// How long a job takes to be accepted, and to be started.
async fn job(world: &World) -> anyhow::Result<(Duration, Duration)> {
    world.idle().await?;
    let start = Instant::now();
    let mut stream = world.submit(agent::NOTHING).await?;
    let (mut accepted, mut started) = (Duration::ZERO, Duration::ZERO);
    while started.is_zero() {
        let Some(frames) = stream.next_batch().await? else { break };
        for frame in frames {
            match frame.event.as_str() {
                "accepted" => accepted = start.elapsed(),
                "started" if started.is_zero() => started = start.elapsed(),
                _ => {}
            }
        }
    }
    world::to_the_end(stream).await?;
    Ok((accepted, started))
}

/// The same client against a server that only answers.
async fn exchanges(count: usize) -> anyhow::Result<Samples> {
    let endpoint = Endpoint::new(&baseline::server()?, None)?;
    let body = json!({ "prompt": agent::NOTHING });
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        let submission = Submission { path: "/", body: &body, job: None, idempotency_key: None };
        endpoint.submit(submission, Patience::WORKER).await?.next_batch().await?;
        times.push(start.elapsed());
    }
    Ok(Samples::new(times))
}
