//! From a worker's exit to the next one that can take a job.

use std::time::{Duration, Instant};

use anyhow::Context;
use client::protocol::WorkerKind;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::samples::Samples;
use super::world::idle;
use super::{Effort, Row, World, agent, baseline};
use crate::supervisor::{Occupant, Service, Stack};

/// All workers start alike; this one opens the workspace as well.
const KIND: WorkerKind = WorkerKind::GitPull;

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let mut bare = Vec::new();
    for _ in 0..effort.jobs {
        let folder = world.place("");
        bare.push(baseline::agent(world.own_program(), &folder, agent::NOTHING).await?.0);
    }
    let bare = Samples::new(bare);
    let stack = world.lonely_stack().await?;
    let times = rounds(&stack, effort.jobs).await;
    stack.stop(std::future::ready(())).await;
    let row = Row::times("worker exit to next one attached", &Samples::new(times?))
        .over("ms bare process", bare.median())
        .bar("<= 10 ms", |row| row.value() <= 10.0);
    Ok(vec![row])
}

async fn rounds(stack: &Stack, count: usize) -> anyhow::Result<Vec<Duration>> {
    let seat = stack.seats(Service::Worker(KIND)).pop();
    let mut seat = seat.context("the stack has no git-pull")?;
    let mut times = Vec::new();
    for _ in 0..count {
        idle(stack.inside(), KIND, 1).await?;
        let ended = end(&mut seat).await?;
        // The gateway notices the end while the next process still starts.
        idle(stack.inside(), KIND, 0).await?;
        idle(stack.inside(), KIND, 1).await?;
        times.push(ended.elapsed());
    }
    Ok(times)
}

/// Ends the worker in the seat; returns when it was seen to have ended.
async fn end(seat: &mut watch::Receiver<Occupant>) -> anyhow::Result<Instant> {
    let occupant = *seat.wait_for(|occupant| occupant.pid.is_some()).await?;
    let pid = occupant.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    kill_process(pid.context("the worker has no process id")?, Signal::TERM)?;
    let next = seat.wait_for(|next| next.predecessor_ended != occupant.predecessor_ended).await?;
    next.predecessor_ended.context("the worker did not end")
}
