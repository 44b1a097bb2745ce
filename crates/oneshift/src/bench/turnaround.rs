//! From a worker's exit to the next one that can take a job.

use std::time::{Duration, Instant};

use anyhow::Context;
use client::protocol::worker::LeaseRequest;
use client::protocol::{JobId, WorkerId, WorkerKind};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::samples::Samples;
use super::{Effort, Row, World, agent, baseline};
use crate::supervisor::{Occupant, Service, Stack};

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
    let row = Row::times("worker exit to next one leased", &Samples::new(times?))
        .over("ms bare process", bare.median())
        .bar("<= 10 ms", |row| row.value() <= 10.0);
    Ok(vec![row])
}

async fn rounds(stack: &Stack, count: usize) -> anyhow::Result<Vec<Duration>> {
    let seat = stack.seats(Service::Worker(WorkerKind::GitPull)).pop();
    let mut seat = seat.context("the stack has no git-pull")?;
    let mut worker = lease(stack, None).await?;
    let mut times = Vec::new();
    for _ in 0..count {
        let ended = end(&mut seat).await?;
        worker = lease(stack, Some(worker)).await?;
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

/// Leases a worker that is not `last`, whose end the gateway may not have noticed yet.
async fn lease(stack: &Stack, last: Option<WorkerId>) -> anyhow::Result<WorkerId> {
    loop {
        let (kind, job) = (WorkerKind::GitPull, JobId::random());
        let lease = LeaseRequest { kind, job, workspace: None };
        let lease = stack.inside().lease(&lease).await?;
        if Some(lease.worker) != last {
            return Ok(lease.worker);
        }
    }
}
