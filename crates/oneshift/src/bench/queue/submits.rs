//! How many submits a second a gateway makes durable.

use std::time::Duration;

use super::Queue;
use crate::bench::report::number;
use crate::bench::row::Group;
use crate::bench::samples::median;
use crate::bench::{Effort, Row, World, baseline, crowd};

/// What an accepted job takes up in the store's log, about.
const RECORD_BYTES: usize = 4096;

/// How long the baseline writes in each round.
const WRITES: Duration = Duration::from_millis(100);

/// Submits a second into an empty queue and into a long one.
pub(super) async fn measure(
    world: &World,
    group_of_many: &Group,
    many: &Queue,
    effort: Effort,
) -> anyhow::Result<Vec<Row>> {
    let (mut writes, mut into_none, mut into_many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        writes.push(baseline::durable_writes(world.place("writes"), RECORD_BYTES, WRITES).await?);
        let none = Queue::open(world, &format!("none-{round}")).await?;
        into_none.push(rate(&none, effort.submits).await?);
        none.close().await?;
        into_many.push(rate(many, effort.submits).await?);
    }
    let [writes, none, many] = [writes, into_none, into_many].map(median);
    let title = format!("durable submits by {} clients at once", crowd::CLIENTS);
    let group = Group::new(title, "one fsynced write after the other");
    let row = |what: String, rate| {
        group.row(what, "/s", rate).over(writes).bar(">= 2,000", |row| row.value() >= 2_000.0)
    };
    Ok(vec![
        row("none queued".to_owned(), none),
        row(format!("{} queued", number(effort.queued as f64)), many),
        group_of_many
            .row(format!("submits by {} clients", crowd::CLIENTS), "/s", many)
            .over(none)
            .bar(">= 0.80 x", |row| row.ratio() >= 0.8),
    ])
}

/// Submits a second.
async fn rate(queue: &Queue, count: usize) -> anyhow::Result<f64> {
    // So that all connections are open.
    queue.fill(crowd::CLIENTS * 2).await?;
    let place = &queue.place;
    let time = crowd::submit(&place.crowd, &place.request, count).await?;
    Ok(count as f64 / time.as_secs_f64())
}
