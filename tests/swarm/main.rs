//! Oneshift on a real Docker Swarm: engines of their own in network namespaces of their own, the
//! product's images and script, real jobs.
//!
//! The tests share one cluster, since making it takes minutes; so they run one after the other, in
//! the order given here, and have a `main` of their own that takes the cluster down at the end.

mod cluster;
mod engine;
mod images;
mod jobs;
mod network;
mod scenarios;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use cluster::Cluster;
use libtest_mimic::{Arguments, Failed, Trial};
use scenarios::Scenario;

/// Whether the cluster was to be started already: what failed once takes minutes to fail again.
static HAS_TRIED: AtomicBool = AtomicBool::new(false);

/// The one cluster, once a test has needed it.
static CLUSTER: Mutex<Option<Cluster>> = Mutex::new(None);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = scenarios::ALL.iter().map(|(name, scenario)| {
        let scenario = *scenario;
        Trial::test(*name, move || run(scenario))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(cluster);
    conclusion.exit_code()
}

fn run(scenario: Scenario) -> Result<(), Failed> {
    if let Some(why) = engine::missing() {
        end_to_end::skipped("a test on a real Docker Swarm", &why);
        return Ok(());
    }
    let mut place = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_none() {
        if HAS_TRIED.swap(true, Ordering::Relaxed) {
            return Err("the cluster did not start, see above".into());
        }
        *place = Some(Cluster::start());
    }
    scenario(place.as_mut().expect("it was just made"));
    Ok(())
}
