//! A job that says far more than is kept of it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use client::EventStream;
use client::protocol::WorkerKind;
use client::protocol::job::JobState;

use super::memory::{process, resident};
use super::report::number;
use super::row::Group;
use super::{Effort, Row, World, agent, baseline, world};
use crate::supervisor::{Service, Stack};

/// A line of a file that is printed.
const LINE: usize = 8 * 1024;

/// Pause between two looks at the memory; the kernel remembers the most of each process.
const LOOK: Duration = Duration::from_millis(20);

/// Those that all of it goes through.
const SERVICES: [Service; 3] = [
    Service::Gateway,
    Service::Worker(WorkerKind::Workflow),
    Service::Worker(WorkerKind::ClaudeExec),
];

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let lines = effort.flood_bytes / LINE as u64;
    let megabytes = lines as f64 * LINE as f64 / 1e6;
    let prompt = agent::lines(lines, LINE);
    let bare = baseline::agent(world.own_program(), &world.place(""), &prompt).await?.0;
    let settings = [("ONESHIFT_MAX_EVENT_BYTES", effort.log_bytes.to_string())];
    let stack = world.stack(&world.site("flood", settings)?, world::ONE_EACH).await?;
    world::idle(stack.inside(), WorkerKind::Workflow, 1).await?;
    let mut before = [0.0; 3];
    look(&stack, &mut before).await;
    let mut most = before;
    let start = Instant::now();
    let stream = world::submit(stack.inside(), &world.request(&prompt)?).await?;
    let kept = tokio::select! {
        kept = read(stream) => kept? as f64 / 1e6,
        never = keep_looking(&stack, &mut most) => match never {},
    };
    let seconds = start.elapsed().as_secs_f64();
    stack.stop(std::future::ready(())).await;
    let limit = effort.log_bytes as f64 / 1e6;
    let printed = number(megabytes);
    let group = Group::new(format!("one job that prints {printed} MB"), "a bare pipe");
    let mut rows = vec![
        group
            .row("POST to completed", "MB/s", megabytes / seconds)
            .over(megabytes / bare.as_secs_f64()),
        group
            .row("kept of it, besides its outcome", "MB", kept)
            .bar("bounded", |row| row.value() <= limit),
    ];
    let group = Group::new("memory during that job, at most", "before it");
    for ((service, most), before) in SERVICES.iter().zip(most).zip(before) {
        let row = group.row(service.name(), "MB", most).over(before);
        rows.push(row.bar("<= 100", |row| row.value() <= 100.0));
    }
    Ok(rows)
}

/// Reads a job to its end, which must be well; returns how many bytes of events there are of it,
/// which must be known to be not all.
async fn read(mut stream: EventStream) -> anyhow::Result<usize> {
    let (mut bytes, mut is_truncated, mut last) = (0, false, String::new());
    while let Some(frames) = stream.next_batch().await? {
        for frame in frames {
            bytes += frame.data.len();
            is_truncated |= frame.event == "agent" && frame.data.contains(r#""truncated""#);
            last = frame.event;
        }
    }
    ensure!(last == JobState::Completed.name(), "a job that says much ended with {last:?}");
    ensure!(is_truncated, "a job that says too much has no notice of that");
    Ok(bytes)
}

/// Remembers the most memory that each service was seen to have had.
async fn keep_looking(stack: &Stack, most: &mut [f64; 3]) -> std::convert::Infallible {
    loop {
        look(stack, most).await;
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(stack: &Stack, most: &mut [f64; 3]) {
    for (service, most) in SERVICES.into_iter().zip(most) {
        // One that is between two processes is looked at the next time.
        if let Ok(pid) = process(stack, service).await
            && let Ok(resident) = resident(pid)
        {
            *most = most.max(resident.peak);
        }
    }
}
