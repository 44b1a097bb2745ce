//! The test that waits for leaks.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use end_to_end::{Setup, Stack};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::crowd::{Counter, Submitted};
use crate::house::House;
use crate::killer::Killer;
use crate::plan::Plan;
use crate::random::Random;
use crate::samples::{FLAT, Process, Sample, mebibytes_below};
use crate::{ALONE, number, say};

/// The run without further ado, which only shows that the soak works.
const SECONDS: u32 = 6;

/// A shorter run says nothing of leaks: caches fill, and the allocator settles.
const ENOUGH: u32 = 600;

/// How many jobs there are at any time.
const CALLERS: u32 = 10;

/// Between two victims. The gateway and `oneshift up` are spared: it is them that must not grow.
const PAUSE: Duration = Duration::from_secs(5);
const SPARED: [&str; 2] = ["gateway", "oneshift"];

/// Between two looks whether a job has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How many samples are taken, how long apart at least, and what part of them is for warming up.
const SAMPLES: u32 = 240;
const SHORTEST: Duration = Duration::from_millis(500);
const WARM_UP: usize = 4;

/// How many of them are shown.
const SHOWN: usize = 12;

#[tokio::test]
async fn memory_and_open_files_stay_flat() {
    let _alone = ALONE.lock().await;
    let seconds: u32 = number("ONESHIFT_SOAK_SECONDS").unwrap_or(SECONDS);
    let seed = number("ONESHIFT_CHAOS_SEED").unwrap_or_else(Random::seed);
    say(&format!("soak: ONESHIFT_CHAOS_SEED={seed}, {seconds} s"));
    // Folders that are kept for half a minute: from then on as many go as come.
    let setup = Setup::new().env("ONESHIFT_RETENTION_HOURS", "0.01").env("ONESHIFT_LOG", "warn");
    let Some(mut house) = House::start(setup, format!("soak-{seed}")).await else { return };
    let mut killer = Killer::new(seed, PAUSE, &SPARED);
    let counter = house.counter.clone();
    let end = Instant::now() + Duration::from_secs(seconds.into());
    let (accepted, is_over) = (Cell::new(0), Cell::new(false));
    let watch = Watch::of(&house.stack);
    let work = async {
        let calls = (0..CALLERS).map(|n| call(&counter, seed ^ u64::from(n), &accepted, end));
        let all = join_all(calls).await.into_iter().flatten().collect();
        is_over.set(true);
        all
    };
    let (all, samples, ()) = tokio::join!(
        work,
        watch.until(end, &accepted),
        killer.rampage(&mut house.stack, |_| is_over.get())
    );
    let (verdict, remains) = house.judge(all).await;
    say(&format!("soak: {} kills: {}", killer.victims.total(), killer.victims));
    verdict.report("soak");
    let risen = show(&samples);
    verdict.assert_kept(remains);
    assert!(seconds < ENOUGH || risen.is_empty(), "not flat: {risen:#?}");
}

/// Submits one job after the other, each when the one before has ended.
async fn call(counter: &Counter, seed: u64, accepted: &Cell<u32>, end: Instant) -> Vec<Submitted> {
    let (mut random, mut all) = (Random::new(seed), Vec::new());
    while Instant::now() < end {
        let number = accepted.get();
        accepted.set(number + 1);
        let mut plan = Plan::random(number, &mut random);
        plan.is_followed = true;
        let submitted = counter.submit(plan).await;
        while submitted.follower.as_ref().is_some_and(|follower| !follower.is_finished()) {
            sleep(LOOK).await;
        }
        all.push(submitted);
    }
    all
}

/// What is watched.
struct Watch {
    start: Instant,
    gateway: u32,
    supervisor: u32,
    data: PathBuf,
    workspace: PathBuf,
}

impl Watch {
    fn of(stack: &Stack) -> Self {
        Self {
            start: Instant::now(),
            gateway: stack.processes("gateway")[0],
            supervisor: stack.supervisor().id(),
            data: stack.data(),
            workspace: stack.workspace(),
        }
    }

    async fn until(&self, end: Instant, jobs: &Cell<u32>) -> Vec<Sample> {
        let mut samples = Vec::new();
        let pause = ((end - self.start) / SAMPLES).max(SHORTEST);
        while Instant::now() < end {
            sleep(pause).await;
            samples.push(Sample {
                at: self.start.elapsed().as_secs_f64(),
                jobs: jobs.get(),
                gateway: Process::now(self.gateway),
                supervisor: Process::now(self.supervisor),
                store: mebibytes_below(&self.data),
                workspace: mebibytes_below(&self.workspace),
            });
        }
        samples
    }
}

/// Prints what was measured; returns what has risen by more than its margin since the warm-up.
fn show(samples: &[Sample]) -> Vec<String> {
    say(
        "soak:       s    jobs  gateway MiB files threads  oneshift up MiB files threads  store MiB  workspace MiB",
    );
    for Sample { at, jobs, gateway, supervisor, store, workspace } in
        samples.iter().rev().step_by((samples.len() / SHOWN).max(1)).rev()
    {
        say(&format!(
            "soak: {at:7.0} {jobs:7}  {:11.1} {:5} {:7}  {:15.1} {:5} {:7}  {store:9.1}  {workspace:13.1}",
            gateway.memory,
            gateway.files,
            gateway.threads,
            supervisor.memory,
            supervisor.files,
            supervisor.threads,
        ));
    }
    let warm = &samples[samples.len() / WARM_UP..];
    let mut risen = Vec::new();
    for series in FLAT {
        let (rise, margin) = (series.rise(warm), series.margin(warm));
        let line = format!("{} rose by {rise:.2}, of {margin:.2} allowed", series.name);
        say(&format!("soak: {line}"));
        if rise > margin {
            risen.push(line);
        }
    }
    if samples.iter().any(|sample| sample.gateway.files == 0.0) {
        risen.push("open files cannot be seen here; only root may".to_owned());
    }
    risen
}
