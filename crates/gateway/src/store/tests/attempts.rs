//! What one attempt leaves, and what becomes of it in the next.

use service::protocol::outcome::Changes;

use super::*;

async fn take(bench: &Bench, job: JobRef, attempt: u32) {
    let take = Transition::Take { attempt, worker: WorkerId::random() };
    bench.store.change(Change::new(job, take)).await.unwrap();
}

async fn lease(bench: &Bench, job: JobRef) {
    let lease = Transition::AgentLeased { workspace: None };
    bench.store.change(Change::new(job, lease)).await.unwrap();
}

/// The agent begins, leaves a patch, and its worker is lost; the job waits for another attempt.
async fn lost_with_a_patch(bench: &Bench, job: JobRef) {
    let begin = Transition::AgentStarted { workspace: None };
    bench.store.change(Change::new(job, begin)).await.unwrap();
    let mut outcome = Outcome::failed(Reason::WorkerLost, "lost");
    outcome.changes = Some(Changes { files: 1, insertions: 2, deletions: 3 });
    outcome.durations.execute_ms = Some(5);
    let mut change = Change::new(job, requeue(Some(outcome)));
    change.pieces = vec![b"old".to_vec()];
    bench.store.change(change).await.unwrap();
}

async fn end(bench: &Bench, job: JobRef, outcome: Outcome) -> (Outcome, String) {
    let mut change = Change::new(job, Transition::End(Box::new(outcome)));
    // What there is of this attempt's patch is none.
    change.drops_pieces = true;
    bench.store.change(change).await.unwrap();
    let outcome = bench.store.job(job.id).await.unwrap().unwrap().job.outcome.unwrap();
    let patch = bench.store.patch(job.row, 0).await.unwrap().concat();
    (outcome, String::from_utf8(patch).unwrap())
}

fn cancelled() -> Outcome {
    let mut outcome = Outcome::cancelled(Reason::CancelRequested, "cancelled");
    outcome.durations.pull_ms = Some(1);
    outcome
}

#[tokio::test]
async fn an_attempt_whose_agent_never_began_leaves_what_the_one_before_had_to_show() {
    let bench = Bench::open();
    let job = bench.job().await;
    take(&bench, job, 1).await;
    lost_with_a_patch(&bench, job).await;
    // Nobody took it, then a worker is lost while it pulls, then when it has leased an agent.
    let lost = || Some(Outcome::failed(Reason::WorkerLost, "again"));
    for (outcome, leases) in [(None, false), (lost(), false), (lost(), true)] {
        take(&bench, job, 2).await;
        if leases {
            lease(&bench, job).await;
        }
        let mut change = Change::new(job, requeue(outcome));
        change.drops_pieces = true;
        bench.store.change(change).await.unwrap();
    }
    take(&bench, job, 3).await;
    lease(&bench, job).await;
    assert!(bench.store.open_jobs().await.unwrap()[0].agent_started, "it may have begun");
    let (outcome, patch) = end(&bench, job, cancelled()).await;
    assert_eq!((outcome.state, outcome.reason), (State::Cancelled, Some(Reason::CancelRequested)));
    assert_eq!(outcome.changes.map(|changes| changes.files), Some(1));
    assert_eq!((patch.as_str(), outcome.patch.is_some()), ("old", true));
}

#[tokio::test]
async fn what_an_attempt_left_is_gone_once_the_next_ones_agent_has_begun() {
    let bench = Bench::open();
    for (is_told_at_once, leases) in [(false, false), (false, true), (true, false), (true, true)] {
        let job = bench.job().await;
        take(&bench, job, 1).await;
        lost_with_a_patch(&bench, job).await;
        take(&bench, job, 2).await;
        if leases {
            lease(&bench, job).await;
        }
        let mut outcome = cancelled();
        if is_told_at_once {
            outcome.durations.execute_ms = Some(1);
        } else {
            let begin = Transition::AgentStarted { workspace: None };
            bench.store.change(Change::new(job, begin)).await.unwrap();
        }
        let (outcome, patch) = end(&bench, job, outcome).await;
        assert_eq!((patch.as_str(), outcome.patch, outcome.changes), ("", None, None));
    }
}
