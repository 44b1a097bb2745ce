//! What callers wait for while jobs are queued.

use std::time::{Duration, Instant};

use anyhow::Context;
use client::protocol::job::JobState;
use client::{EventStream, JobFilter, Patience};

use super::{Both, FEW, LABEL, Queue};
use crate::bench::crowd::submission;
use crate::bench::row::Group;
use crate::bench::samples::Samples;
use crate::bench::{Effort, Row};

/// One kind of call.
#[derive(Clone, Copy)]
enum Call {
    Submit,
    Follow,
    ListNewest,
    ListByLabel,
    ListRunning,
}

impl Call {
    const ALL: [(Self, &str); 5] = [
        (Self::Submit, "submit"),
        (Self::Follow, "follow, to the first event"),
        (Self::ListNewest, "list the newest 10"),
        (Self::ListByLabel, "list 10 by a label all have"),
        (Self::ListRunning, "list those that run: none"),
    ];
}

pub(super) async fn measure(
    group: &Group,
    both: &Both<Queue>,
    effort: Effort,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (call, name) in Call::ALL {
        let (mut few, mut many) = (Vec::new(), Vec::new());
        for _ in 0..effort.jobs {
            few.push(both.few.time(call).await?);
            many.push(both.many.time(call).await?);
        }
        let (few, many) = (Samples::new(few), Samples::new(many));
        rows.push(super::flat(group.times(name, &many).over(few.median())));
    }
    let (few, many) = (both.few.gateway.memory()?, both.many.gateway.memory()?);
    rows.push(group.row("memory of the gateway", "MB", many.now).over(few.now));
    Ok(rows)
}

impl Queue {
    async fn time(&self, call: Call) -> anyhow::Result<Duration> {
        let crowd = &self.place.crowd;
        let list = JobFilter { limit: Some(FEW as u32), ..JobFilter::default() };
        match call {
            Call::Submit => {
                let submission = submission(&self.place.request);
                let (job, time) = timed(crowd.submit_async(submission)).await?;
                // The queue stays as long as it was.
                crowd.cancel(job.id).await?;
                Ok(time)
            }
            Call::Follow => {
                let newest = crowd.jobs(&list).await?.jobs.into_iter().next();
                let job = newest.context("no job is queued")?.id;
                let mut events = EventStream::new(crowd.clone(), job, 0, Patience::WORKER);
                Ok(timed(events.next_batch()).await?.1)
            }
            Call::ListNewest => Ok(timed(crowd.jobs(&list)).await?.1),
            Call::ListByLabel => {
                let label = Some(format!("{}={}", LABEL.0, LABEL.1));
                Ok(timed(crowd.jobs(&JobFilter { label, ..list })).await?.1)
            }
            Call::ListRunning => {
                let state = Some(JobState::Running.name().to_owned());
                Ok(timed(crowd.jobs(&JobFilter { state, ..list })).await?.1)
            }
        }
    }
}

async fn timed<T, E>(call: impl Future<Output = Result<T, E>>) -> Result<(T, Duration), E> {
    let start = Instant::now();
    Ok((call.await?, start.elapsed()))
}
