//! Jobs a second, end to end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::JobFilter;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::report::number;
use super::row::Group;
use super::{Effort, Row, World, agent, baseline, crowd, git, world};

/// Pause between two looks whether all jobs have ended.
const LOOK: Duration = Duration::from_millis(5);

/// The longest that one job may take on average; longer means that they do not end.
const JOB_TIMEOUT: Duration = Duration::from_secs(5);

/// Most jobs that a page of a list has.
const PAGE: u32 = 200;

const LABEL: (&str, &str) = ("bench", "throughput");

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let count = effort.through;
    let bare = count as f64 / bare(world, count).await?.as_secs_f64();
    world.idle().await?;
    let mut request = world.request(agent::NOTHING)?;
    request["labels"] = json!({ LABEL.0: LABEL.1 });
    let start = Instant::now();
    crowd::submit(&world.gateway, &request, count).await?;
    let limit = JOB_TIMEOUT * u32::try_from(count)?;
    let over = tokio::time::timeout(limit, all_over(world)).await;
    over.with_context(|| format!("{count} jobs have not ended within {} s", limit.as_secs()))??;
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let (all, completed) = (jobs(world, None).await?, jobs(world, Some("completed")).await?);
    let title = format!("{} jobs through 5/3/3 workers", number(count as f64));
    let group = Group::new(title, "git clone and agent, 3 at a time");
    Ok(vec![
        group.row("jobs end to end", "/s", rate).over(bare),
        group
            .row("jobs completed", "jobs", completed as f64)
            .bar("all", |_| (all, completed) == (count, count)),
    ])
}

/// What the jobs are made of, as many at a time as there are agents.
async fn bare(world: &World, count: usize) -> anyhow::Result<Duration> {
    let places = Arc::new(Semaphore::new(world::SIZES.claude_exec.into()));
    let from = world.small.display().to_string();
    let start = Instant::now();
    let mut jobs = JoinSet::new();
    for n in 0..count {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (from, to) = (from.clone(), world.place(&format!("bare-{n}")));
        let program = world.own_program().to_owned();
        jobs.spawn(async move {
            git::clone(&from, &to).await?;
            baseline::agent(&program, &to, agent::NOTHING).await?;
            drop(place);
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(job) = jobs.join_next().await {
        job??;
    }
    Ok(start.elapsed())
}

/// Waits until no job is left.
async fn all_over(world: &World) -> anyhow::Result<()> {
    loop {
        let health = world.gateway.health().await?;
        if health.pointer("/status").and_then(Value::as_str) == Some("idle") {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How many of the jobs the gateway lists.
async fn jobs(world: &World, state: Option<&str>) -> anyhow::Result<usize> {
    let mut filter = JobFilter {
        state: state.map(str::to_owned),
        label: Some(format!("{}={}", LABEL.0, LABEL.1)),
        limit: Some(PAGE),
        cursor: None,
    };
    let mut count = 0;
    loop {
        let page = world.gateway.jobs(&filter).await?;
        count += page.jobs.len();
        if page.next_cursor.is_none() {
            return Ok(count);
        }
        filter.cursor = page.next_cursor;
    }
}
