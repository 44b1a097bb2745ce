//! Many followers of one job.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use client::protocol::JobId;
use client::{Endpoint, EventStream, Patience};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::crowd::submission;
use super::gate::{Gate, Held};
use super::memory::{process, resident};
use super::report::number;
use super::row::Group;
use super::samples::Samples;
use super::{Effort, Row, World, world};
use crate::supervisor::Service;

/// Open files that this process needs for other things than followers.
const OTHER_FILES: u64 = 500;

/// How many connect at the same time, so that none has to knock twice.
const DOORS: usize = 100;

/// A follower has an event within milliseconds of its commit; longer means that it never gets it.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let stack = world.stack(&world.site("followers", [])?, world::ONE_EACH).await?;
    let gate = Gate::new().await?;
    let request = world.request(&gate.prompt()?)?;
    let job = stack.inside().submit_async(submission(&request)).await?.id;
    let mut agent = gate.next().await?;
    // Only now: the gateway sees to its own limit, and must not inherit this one.
    let count = effort.followers.min(raise_open_files()?);
    let mut audience = Audience::of(stack.inside().clone(), job);
    audience.grow_to(1).await?;
    let one = audience.hear(&mut agent, effort.rounds).await?;
    let gateway = process(&stack, Service::Gateway).await?;
    let memory_of_one = resident(gateway)?.peak;
    audience.grow_to(count).await?;
    let all = audience.hear(&mut agent, effort.rounds).await?;
    let memory_of_all = resident(gateway)?.peak;
    stack.stop(std::future::ready(())).await;
    let title = format!("{} followers of one job", number(count as f64));
    let group = Group::new(title, "the same with one follower");
    Ok(vec![
        group
            .row("memory of the gateway, at most", "MB", memory_of_all)
            .over(memory_of_one)
            .bar("<= 200", |row| row.value() <= 200.0),
        group.times("agent's line to all of them", &all).over(one.median()),
    ])
}

/// Lets this process have as many open files as the system allows; returns how many followers it
/// can be.
fn raise_open_files() -> anyhow::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("cannot raise the limit of open files")?;
    let files = limit.maximum.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES);
    Ok(usize::try_from(files).unwrap_or(usize::MAX))
}

/// Followers of a job, and how far each of them is.
struct Audience {
    gateway: Endpoint,
    job: JobId,
    positions: Vec<u64>,
    news: mpsc::Receiver<(usize, u64)>,
    tell: mpsc::Sender<(usize, u64)>,
    doors: Arc<Semaphore>,
    /// They leave when this is dropped.
    followers: JoinSet<()>,
}

impl Audience {
    fn of(gateway: Endpoint, job: JobId) -> Self {
        let (tell, news) = mpsc::channel(DOORS);
        let doors = Arc::new(Semaphore::new(DOORS));
        let (positions, followers) = (Vec::new(), JoinSet::new());
        Self { gateway, job, positions, news, tell, doors, followers }
    }

    /// Waits until so many follow, and have all that there is.
    async fn grow_to(&mut self, count: usize) -> anyhow::Result<()> {
        for index in self.positions.len()..count {
            let stream = EventStream::new(self.gateway.clone(), self.job, 0, Patience::WORKER);
            let (tell, doors) = (self.tell.clone(), Arc::clone(&self.doors));
            self.followers.spawn(follow(stream, index, tell, doors));
            self.positions.push(0);
        }
        let last = self.gateway.job(self.job).await?.last_event;
        self.reach(last).await.map(drop)
    }

    /// How long it takes from the agent's writing a line until all followers have it.
    async fn hear(&mut self, agent: &mut Held, rounds: usize) -> anyhow::Result<Samples> {
        let mut times = Vec::new();
        for round in 0..rounds {
            let next = self.gateway.job(self.job).await?.last_event + 1;
            let start = Instant::now();
            agent.print(&format!("line {round}")).await?;
            times.push(self.reach(next).await? - start);
        }
        Ok(Samples::new(times))
    }

    /// When the last of the followers had this event.
    async fn reach(&mut self, event: u64) -> anyhow::Result<Instant> {
        let mut missing = self.positions.iter().filter(|position| **position < event).count();
        while missing > 0 {
            let news = tokio::time::timeout(EVENT_TIMEOUT, self.news.recv()).await;
            let news = news.with_context(|| {
                format!("{missing} of {} followers miss event {event}", self.positions.len())
            })?;
            let (index, position) = news.context("all followers have gone")?;
            let before = std::mem::replace(&mut self.positions[index], position);
            missing -= usize::from(before < event && event <= position);
        }
        Ok(Instant::now())
    }
}

/// Tells its position with each batch. One that is cut off has no more to tell, which is noticed.
async fn follow(
    mut stream: EventStream,
    index: usize,
    tell: mpsc::Sender<(usize, u64)>,
    doors: Arc<Semaphore>,
) {
    let mut door = doors.acquire_owned().await.ok();
    while let Ok(Some(_)) = stream.next_batch().await {
        drop(door.take());
        if tell.send((index, stream.position())).await.is_err() {
            return;
        }
    }
}
