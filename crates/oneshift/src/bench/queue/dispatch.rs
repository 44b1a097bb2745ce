//! How soon a job is started while others are queued.

use std::time::{Duration, Instant};

use client::protocol::WorkerKind;
use client::protocol::request::DeliverMode;
use client::{EventStream, Patience};
use serde_json::{Value, json};

use super::{Both, Place, Queue};
use crate::bench::crowd::submission;
use crate::bench::followed::Followed;
use crate::bench::gate::{Gate, Held};
use crate::bench::row::Group;
use crate::bench::samples::Samples;
use crate::bench::{Effort, Row, World, world};
use crate::supervisor::{Sizes, Stack};

/// One of each for the job that the crowd has running, and one that is idle.
const SIZES: Sizes = Sizes { workflow: 2, git_pull: 2, claude_exec: 2 };

/// Idle workers while that job's agent is at work.
const IDLE: [(WorkerKind, u64); 3] =
    [(WorkerKind::Workflow, 1), (WorkerKind::GitPull, 2), (WorkerKind::ClaudeExec, 1)];

type Times = Both<Vec<Duration>>;

/// A queue with workers. Its crowd always has the one job running that it may have, and the next
/// one is more urgent than all that are queued, so that these stay queued.
struct House {
    place: Place,
    stack: Stack,
    gate: Gate,
    /// What the crowd's running job asks for.
    request: Value,
    running: Followed,
    agent: Option<Held>,
}

pub(super) async fn measure(
    world: &World,
    group: &Group,
    queues: Both<Queue>,
    effort: Effort,
) -> anyhow::Result<Vec<Row>> {
    let mut few = House::start(world, queues.few).await?;
    let mut many = House::start(world, queues.many).await?;
    let (mut posted, mut ended) = (Times::default(), Times::default());
    for _ in 0..effort.jobs.div_ceil(2) {
        posted.few.push(few.after_a_post().await?);
        posted.many.push(many.after_a_post().await?);
        ended.few.push(few.after_an_end().await?);
        ended.many.push(many.after_an_end().await?);
    }
    few.stack.stop(std::future::ready(())).await;
    many.stack.stop(std::future::ready(())).await;
    let posted = rows(group, "POST to started", posted);
    let ended = rows(group, "end to next start", ended);
    Ok(posted.into_iter().chain(ended).collect())
}

fn rows(group: &Group, name: &str, times: Times) -> [Row; 2] {
    let (few, many) = (Samples::new(times.few), Samples::new(times.many));
    let few = group
        .times(format!("{name}, 10 queued"), &few)
        .bar("<= 5, p99 <= 25", |row| row.value() <= 5.0 && row.p99() <= 25.0);
    let many = super::flat(group.times(name, &many).over(few.value()));
    [few, many]
}

impl House {
    async fn start(world: &World, queue: Queue) -> anyhow::Result<Self> {
        let gate = Gate::new().await?;
        let mut request = world::request(&world.small, &gate.prompt()?, DeliverMode::None)?;
        request["priority"] = json!(1);
        let running = queue.place.crowd.submit_async(submission(&request)).await?.id;
        let place = queue.close().await?;
        let stack = world.stack(&place.site, SIZES).await?;
        let running = EventStream::new(place.crowd.clone(), running, 0, Patience::WORKER);
        let (running, agent) = (Followed::new(running), Some(gate.next().await?));
        Ok(Self { place, stack, gate, request, running, agent })
    }

    async fn idle(&self) -> anyhow::Result<()> {
        for (kind, count) in IDLE {
            world::idle(self.stack.inside(), kind, count).await?;
        }
        Ok(())
    }

    /// From another token's POST to its job's start, by a worker that was idle.
    async fn after_a_post(&self) -> anyhow::Result<Duration> {
        let request = &self.place.request;
        self.idle().await?;
        let start = Instant::now();
        let mut job = Followed::new(world::submit(&self.place.single, request).await?);
        let started = job.until("started").await?;
        job.end().await?;
        Ok(started - start)
    }

    /// From the end of the crowd's running job to the start of its next one.
    async fn after_an_end(&mut self) -> anyhow::Result<Duration> {
        let mut next = Followed::new(world::submit(&self.place.crowd, &self.request).await?);
        next.until("queued").await?;
        self.idle().await?;
        self.agent = None;
        let (ended, started) = tokio::try_join!(self.running.end(), next.until("started"))?;
        self.running = next;
        self.agent = Some(self.gate.next().await?);
        Ok(started.saturating_duration_since(ended))
    }
}
