//! Who submits.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::door::{Door, Followed};
use crate::plan::{Cancel, Plan};

/// A job that was accepted.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) plan: Plan,
    pub(crate) key: String,
    pub(crate) request: Value,
    pub(crate) job: String,
    /// When it was first asked for, and when it was known to be accepted.
    pub(crate) asked: Instant,
    pub(crate) accepted: Instant,
    /// The end that the answer to its cancellation told, or that it had none yet.
    pub(crate) cancel: Option<Option<String>>,
    pub(crate) follower: Option<JoinHandle<Followed>>,
}

/// Where jobs are submitted, and for which repository.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub(crate) door: Door,
    pub(crate) repository: String,
    /// What tells this run's idempotency keys from another's.
    pub(crate) name: String,
}

impl Counter {
    /// Spreads the submissions over `time`, whether or not the gateway is there, and returns when
    /// all are accepted, and cancelled where that is planned.
    pub(crate) async fn submit_all(&self, plans: Vec<Plan>, time: Duration) -> Vec<Submitted> {
        let (start, count) = (Instant::now(), u32::try_from(plans.len()).expect("they are few"));
        let submit = async |(n, plan): (usize, Plan)| {
            let n = u32::try_from(n).expect("they are few");
            sleep_until(start + time * n / count).await;
            self.submit(plan).await
        };
        join_all(plans.into_iter().enumerate().map(submit)).await
    }

    /// Submits one job and does what else is planned with it, but for following it to its end.
    pub(crate) async fn submit(&self, plan: Plan) -> Submitted {
        let (door, request) = (&self.door, plan.request(&self.repository));
        let key = format!("{}-{}", self.name, plan.number);
        let asked = Instant::now();
        let job = door.submit(&key, &request);
        let job = if plan.is_repeated {
            let (job, again) = tokio::join!(job, door.submit(&key, &request));
            assert_eq!(job, again, "one key is one job");
            job
        } else {
            job.await
        };
        let accepted = Instant::now();
        let follower = plan.is_followed.then(|| {
            let (door, job) = (door.clone(), job.clone());
            tokio::spawn(async move { door.follow(&job).await })
        });
        let cancel = match plan.cancel {
            Some(cancel) => Some(self.cancel(&job, cancel).await),
            None => None,
        };
        Submitted { plan, key, request, job, asked, accepted, cancel, follower }
    }

    async fn cancel(&self, job: &str, cancel: Cancel) -> Option<String> {
        sleep(Duration::from_millis(cancel.after)).await;
        let told = self.door.cancel(job).await;
        if cancel.is_repeated {
            let again = self.door.cancel(job).await;
            assert!(told.is_none() || told == again, "{job} ended twice: {told:?}, {again:?}");
        }
        told
    }
}
