//! The test that kills.

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

/// How many victims there are in so long a run, which is longer by what it takes to start
/// `oneshift up` again.
pub(crate) fn strikes(seconds: u32) -> u32 {
    seconds * 1000 / u32::try_from(PAUSE.as_millis()).expect("it is short")
}

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
    let counter = house.counter.clone();
    let (all, ()) = tokio::join!(
        counter.submit_all(plans, Duration::from_secs(seconds.into())),
        killer.rampage(&mut house.stack, |so_far| so_far == strikes(seconds)),
    );
    let (verdict, mut remains) = house.judge(all).await;
    let victims = &killer.victims;
    say(&format!("chaos: seed {seed}: {} kills: {victims}", victims.total()));
    verdict.report("chaos");
    remains.log.splice(..0, killer.log);
    verdict.assert_kept(remains);
}
