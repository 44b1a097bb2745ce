//! `oneshift bench`: what this machine's Oneshift can do.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use super::up::Stops;
use crate::bench::{Effort, PARTS, World, measure};
use crate::cli::BenchArgs;
use crate::config::Config;
use crate::view::out;

/// Measures, and prints what came out. A bar that is missed is no failure of the command.
pub(crate) async fn bench(args: BenchArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let mut stops = Stops::listen()?;
    let bar = ProgressBar::new(PARTS);
    let style = ProgressStyle::with_template("[{bar:20}] {pos}/{len} {msg}");
    bar.set_style(style.expect("the template is a constant"));
    bar.set_message("starting the services");
    let world = World::new(config).await?;
    let report = tokio::select! {
        report = measure(&world, effort, &bar) => report.map(Some),
        () = stops.next() => Ok(None),
    };
    bar.finish_and_clear();
    let ended = world.end().await;
    let Some(report) = report? else { return Ok(crate::failure::DETACHED.into()) };
    ended?;
    if args.json {
        out::line(&serde_json::to_string_pretty(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in report.lines() {
        out::line(&line.paint())?;
    }
    Ok(ExitCode::SUCCESS)
}
