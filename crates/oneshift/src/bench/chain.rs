//! The whole chain over what it is made of.

use std::time::Instant;

use super::samples::Samples;
use super::{Effort, Row, World, agent, baseline, git, world};

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
        world::to_the_end(world.submit(agent::NOTHING).await?).await?;
        whole.push(start.elapsed());
    }
    let (bare, whole) = (Samples::new(bare), Samples::new(whole));
    let row = |row: Row| row.over("ms git clone + agent", bare.median());
    let overhead = whole.median() - bare.median();
    Ok(vec![
        row(Row::times("whole chain, POST to completed", &whole)),
        Row::new("whole chain minus bare git and agent", "ms", overhead)
            .bar("<= 15 ms", |row| row.value() <= 15.0),
    ])
}
