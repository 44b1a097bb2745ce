//! Pulling a repository that is known already.

use std::time::Instant;

use super::samples::Samples;
use super::{Effort, Row, World, git};

pub(super) async fn measure(world: &World, effort: Effort) -> anyhow::Result<Vec<Row>> {
    let large = world.place("large");
    git::make(&large, effort.files, effort.commits).await?;
    let address = format!("file://{}", large.display());
    let (mut fresh, mut known) = (Vec::new(), Vec::new());
    world.pull(&large).await?;
    for round in 0..effort.rounds {
        let to = world.place(&format!("fresh-{round}"));
        fresh.push(git::clone(&address, &to).await?);
        std::fs::remove_dir_all(&to)?;
        let start = Instant::now();
        world.pull(&large).await?;
        known.push(start.elapsed());
    }
    let (fresh, known) = (Samples::new(fresh), Samples::new(known));
    let what = format!("second pull, {} files, {} commits", effort.files, effort.commits);
    let row = Row::times(what, &known)
        .over("ms fresh git clone", fresh.median())
        .bar("10 x faster", |row| row.ratio() <= 0.1);
    Ok(vec![row])
}
