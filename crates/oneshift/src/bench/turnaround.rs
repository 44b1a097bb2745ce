//! From a worker's exit to the next one that can take a job.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use client::protocol::WorkerKind;
use client::protocol::worker::LeaseRequest;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::crowd::submission;
use super::gate::Gate;
use super::row::Group;
use super::samples::Samples;
use super::{Effort, Row, World, agent, baseline, world};
use crate::supervisor::{Occupant, Service, Stack};

/// All workers start alike; this one opens the workspace as well.
const KIND: WorkerKind = WorkerKind::GitPull;

/// Before a worker is told once more to stop.
const BETWEEN_SIGNALS: Duration = Duration::from_millis(50);

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let mut bare = Vec::new();
    for _ in 0..effort.jobs {
        let folder = world.place("");
        bare.push(baseline::agent(world.own_program(), &folder, agent::NOTHING).await?.0);
    }
    let bare = Samples::new(bare);
    let stack = world.stack(&world.site("turnaround", [])?, world::ONE_EACH).await?;
    let times = rounds(world, &stack, effort.jobs).await;
    stack.stop(std::future::ready(())).await;
    let row = Group::new("turnaround of a worker", "a bare process")
        .times("exit to the next one leased", &Samples::new(times?))
        .over(bare.median())
        .bar("<= 10", |row| row.value() <= 10.0);
    Ok(vec![row])
}

async fn rounds(world: &World, stack: &Stack, count: usize) -> anyhow::Result<Vec<Duration>> {
    let seat = stack.seats(Service::Worker(KIND)).pop();
    let mut seat = seat.context("the stack has no git-pull")?;
    // Only running jobs lease workers.
    let gate = Gate::new().await?;
    let request = world.request(&gate.prompt()?)?;
    let job = stack.inside().submit_async(submission(&request)).await?.id;
    let _agent = gate.next().await?;
    let lease = LeaseRequest { kind: KIND, job, workspace: None };
    let mut worker = stack.inside().lease(&lease).await?.worker;
    let mut times = Vec::new();
    for _ in 0..count {
        // One that is leased is not leased again: this waits for the next one.
        let next = stack.inside().lease(&lease);
        let (ended, next) = tokio::try_join!(end(&mut seat), async {
            let next = next.await?;
            Ok((next.worker, Instant::now()))
        })?;
        ensure!(next.0 != worker, "worker {worker} was leased twice");
        worker = next.0;
        times.push(next.1.saturating_duration_since(ended));
    }
    Ok(times)
}

/// Ends the worker in the seat; returns when it was seen to have ended.
async fn end(seat: &mut watch::Receiver<Occupant>) -> anyhow::Result<Instant> {
    let occupant = *seat.wait_for(|occupant| occupant.pid.is_some()).await?;
    let pid = occupant.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let pid = pid.context("the worker has no process id")?;
    loop {
        // It is leased, and so waits for its job; another signal ends that. Fails only if the worker
        // has ended, as is about to be seen.
        let _ = kill_process(pid, Signal::TERM);
        let ended = seat.wait_for(|next| next.predecessor_ended != occupant.predecessor_ended);
        if let Ok(next) = tokio::time::timeout(BETWEEN_SIGNALS, ended).await {
            return next?.predecessor_ended.context("the worker did not end");
        }
    }
}
