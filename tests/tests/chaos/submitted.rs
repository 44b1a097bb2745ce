//! Who submits.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::door::{Door, Followed};
use crate::random::Random;

/// A job that was accepted.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) key: String,
    pub(crate) request: Value,
    pub(crate) job: String,
    pub(crate) follower: Option<JoinHandle<Followed>>,
}

/// Spreads `count` submissions over `time`, and returns when both are over.
pub(crate) async fn submit_all(
    door: &Door,
    repository: &str,
    seed: u64,
    (count, time): (u32, Duration),
) -> Vec<Submitted> {
    let (start, mut random, mut all) = (Instant::now(), Random::new(seed), Vec::new());
    for n in 0..count {
        sleep_until(start + time * n / count).await;
        // The agent sleeps for as long as the prompt's first line says.
        let request = json!({
            "prompt": format!("0.{}\njob {n}", random.below(5)),
            "repoUrl": repository,
            "retries": 2 + random.below(4),
        });
        let key = format!("chaos-{seed}-{n}");
        let job = door.submit(&key, &request).await;
        if random.one_in(8) {
            assert_eq!(door.submit(&key, &request).await, job, "one key is one job");
        }
        let follower = random.one_in(5).then(|| {
            let (door, job) = (door.clone(), job.clone());
            tokio::spawn(async move { door.follow(&job).await })
        });
        all.push(Submitted { key, request, job, follower });
    }
    sleep_until(start + time).await;
    all
}
