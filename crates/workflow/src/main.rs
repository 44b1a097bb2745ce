//! One-job worker that puts the steps of a job in order: pull, execute, deliver.

mod config;
mod flow;
mod heard;
mod step;
mod verdict;
mod workers;

use std::process::ExitCode;

use service::one_shot::OneShot;
use service::protocol::WorkerKind;
use service::worker_main;

fn main() -> ExitCode {
    worker_main(WorkerKind::Workflow, |environment, config| {
        let workers = config::workers(environment, &config)?;
        Ok(OneShot::new(config).shift(flow::Workflow::new(workers)))
    })
}
