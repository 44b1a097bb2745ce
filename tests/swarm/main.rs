//! Oneshift on a real Docker Swarm: engines of their own on machines of their own, made of
//! namespaces; the product's images and script, real jobs.
//!
//! The tests share one cluster, since making it takes a minute; so they run one after the other, in
//! the order given here, and have a `main` of their own that takes the cluster down at the end. A
//! test that fails takes it down as well, and the next one begins with another.

mod cluster;
mod deploy;
mod engine;
mod images;
mod jobs;
mod machine;
mod network;
mod place;
mod scenarios;
mod tasks;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use cluster::Cluster;
use libtest_mimic::{Arguments, Failed, Trial};
use scenarios::Scenario;

/// The one cluster, once a test has needed it.
static CLUSTER: Mutex<Shared> = Mutex::new(Shared { cluster: None, cannot_start: false });

struct Shared {
    cluster: Option<Cluster>,
    /// What failed once takes a minute to fail again.
    cannot_start: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // All on this thread, with which the engines end.
    arguments.test_threads = Some(1);
    let trials = scenarios::ALL.iter().map(|(name, scenario)| {
        let (name, scenario) = (*name, *scenario);
        Trial::test(name, move || run(name, scenario))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner).cluster.take();
    drop(cluster);
    conclusion.exit_code()
}

#[allow(clippy::print_stdout, reason = "the runner tells no times")]
fn run(name: &str, scenario: Scenario) -> Result<(), Failed> {
    if let Some(why) = engine::missing() {
        end_to_end::skipped(&format!("{name}, on a real Docker Swarm"), &why);
        return Ok(());
    }
    let mut shared = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.cannot_start {
        return Err("the cluster did not start, see above".into());
    }
    let start = Instant::now();
    if shared.cluster.is_none() {
        shared.cannot_start = true;
        shared.cluster = Some(Cluster::start());
        shared.cannot_start = false;
        println!("the cluster started in {} s", start.elapsed().as_secs());
    }
    let mut cluster = shared.cluster.take().expect("it is there or was just made");
    let start = Instant::now();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(&mut cluster))) {
        println!("after {} s:\n{}", start.elapsed().as_secs(), cluster.describe());
        drop(cluster);
        resume_unwind(panic);
    }
    println!("in {:.1} s", start.elapsed().as_secs_f64());
    shared.cluster = Some(cluster);
    Ok(())
}
