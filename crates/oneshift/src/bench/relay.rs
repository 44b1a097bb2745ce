//! How fast an agent's output comes through the whole chain.

use std::time::{Duration, Instant};

use super::row::Group;
use super::{Effort, Row, World, agent, baseline};

/// A line of a log, and a line of a file that is printed.
const SHORT: usize = 80;
const LONG: usize = 8 * 1024;

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let short = Volume { lines: effort.short_lines, length: SHORT };
    let long = Volume { lines: effort.long_lines, length: LONG };
    let events = short.lines as f64 / short.through_the_chain(world).await?.as_secs_f64();
    let bare_lines = short.lines as f64 / short.through_a_pipe(world).await?.as_secs_f64();
    let megabytes = long.megabytes() / long.through_the_chain(world).await?.as_secs_f64();
    let bare_megabytes = long.megabytes() / long.through_a_pipe(world).await?.as_secs_f64();
    let group = Group::new("relay from the agent to the caller", "a bare pipe");
    Ok(vec![
        group
            .row(format!("events, lines of {SHORT} bytes"), "/s", events)
            .over(bare_lines)
            .bar(">= 100,000", |row| row.value() >= 100_000.0),
        group
            .row(format!("bytes, lines of {} KiB", LONG / 1024), "MB/s", megabytes)
            .over(bare_megabytes)
            .bar(">= 50", |row| row.value() >= 50.0),
    ])
}

struct Volume {
    lines: u64,
    length: usize,
}

impl Volume {
    fn prompt(&self) -> String {
        agent::lines(self.lines, self.length)
    }

    fn megabytes(&self) -> f64 {
        self.lines as f64 * self.length as f64 / 1e6
    }

    /// From the first line to the last one, as a follower of the gateway sees them.
    async fn through_the_chain(&self, world: &World) -> anyhow::Result<Duration> {
        world.idle().await?;
        let mut stream = world.submit(&self.prompt()).await?;
        let (mut first, mut last, mut lines) = (None, Instant::now(), 0);
        let mut ending = String::new();
        while let Some(frames) = stream.next_batch().await? {
            let now = Instant::now();
            for frame in frames {
                if frame.event == "output" {
                    first.get_or_insert(now);
                    (last, lines) = (now, lines + 1);
                } else {
                    ending = frame.data;
                }
            }
        }
        anyhow::ensure!(
            lines == self.lines,
            "{lines} of {} lines came through; the job ended with {ending}",
            self.lines
        );
        Ok(last.duration_since(first.unwrap_or(last)))
    }

    async fn through_a_pipe(&self, world: &World) -> anyhow::Result<Duration> {
        let folder = world.place("");
        Ok(baseline::agent(world.own_program(), &folder, &self.prompt()).await?.0)
    }
}
