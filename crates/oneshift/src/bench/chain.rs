//! The whole chain over what it is made of.

use std::time::Instant;

use super::followed::Followed;
use super::row::Group;
use super::samples::Samples;
use super::{Effort, Row, World, agent, baseline, git};

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    let from = world.small.display().to_string();
    // In turns, so that both see the same machine.
    for round in 0..effort.jobs {
        let to = world.place(&format!("clone-{round}"));
        let start = Instant::now();
        git::clone(&from, &to).await?;
        baseline::agent(world.own_program(), &to, agent::NOTHING).await?;
        bare.push(start.elapsed());
        std::fs::remove_dir_all(&to)?;
        world.idle().await?;
        let start = Instant::now();
        Followed::new(world.submit(agent::NOTHING).await?).end().await?;
        whole.push(start.elapsed());
    }
    let (bare, whole) = (Samples::new(bare), Samples::new(whole));
    let group = Group::new("the whole chain", "bare git clone and agent");
    let overhead = whole.median() - bare.median();
    Ok(vec![
        group.times("POST to completed", &whole).over(bare.median()),
        group.row("more than the baseline", "ms", overhead).bar("<= 15", |row| row.value() <= 15.0),
    ])
}
