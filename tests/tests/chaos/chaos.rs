//! The test that kills.

use std::cell::Cell;
use std::time::Duration;

use end_to_end::Setup;

use crate::house::House;
use crate::killer::Killer;
use crate::plan::Plan;
use crate::random::Random;
use crate::{ALONE, number, say};

/// The run without further ado.
pub(crate) const SEED: u64 = 2;
pub(crate) const SECONDS: u32 = 12;

/// The least number of jobs; a long run submits [`JOBS_PER_SECOND`].
const JOBS: u32 = 300;
const JOBS_PER_SECOND: u32 = 3;

/// Between two victims.
const PAUSE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn whatever_is_killed_no_accepted_job_is_lost_or_doubled() {
    let _alone = ALONE.lock().await;
    let (seconds, seed) = (number("ONESHIFT_CHAOS_SECONDS"), number("ONESHIFT_CHAOS_SEED"));
    let seed = seed.unwrap_or_else(|| if seconds.is_none() { SEED } else { Random::seed() });
    let seconds: u32 = seconds.unwrap_or(SECONDS);
    let jobs = JOBS.max(seconds.saturating_mul(JOBS_PER_SECOND));
    say(&format!("chaos: ONESHIFT_CHAOS_SEED={seed}, {jobs} jobs in {seconds} s"));
    let Some(mut house) = House::start(Setup::new(), format!("chaos-{seed}")).await else { return };
    let mut random = Random::new(!seed);
    let plans = (0..jobs).map(|number| Plan::random(number, &mut random)).collect();
    let mut killer = Killer::new(seed, PAUSE, &[]);
    let (is_over, counter) = (Cell::new(false), house.counter.clone());
    let submit = async {
        let all = counter.submit_all(plans, Duration::from_secs(seconds.into())).await;
        is_over.set(true);
        all
    };
    let (all, ()) = tokio::join!(submit, killer.rampage(&mut house.stack, &is_over));
    let (verdict, log) = house.judge(all).await;
    let victims = &killer.victims;
    say(&format!("chaos: seed {seed}: {} kills: {victims}", victims.total()));
    verdict.report("chaos");
    verdict.assert_kept([killer.log, log].concat());
}
