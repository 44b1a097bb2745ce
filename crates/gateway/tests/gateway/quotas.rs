//! How much one caller may have.

use service::client::{ClientError, Endpoint, Submission};
use service::protocol::job::JobState;
use service::protocol::{ErrorCode, Payload, State};

use crate::support::{Gateway, Setup, event, job, outcome, read_all, submission, submit};
use crate::worker::Worker;

const TOKENS: &str = r#"[
    { "name": "slow", "token": "slow-slow-slow-slow", "scopes": ["submit", "read"],
      "quotas": { "submissionsPerMinute": 2 } },
    { "name": "small", "token": "small-small-small", "scopes": ["submit", "read"],
      "quotas": { "queuedJobs": 2 } },
    { "name": "single", "token": "single-single-single", "scopes": ["submit", "read"],
      "quotas": { "runningJobs": 1 } },
    { "name": "free", "token": "free-free-free-free", "scopes": ["submit", "read"] }
]"#;

async fn start() -> Gateway {
    Gateway::with(Setup { tokens: Some(TOKENS), ..Setup::default() }).await
}

/// The code, the `Retry-After` and the sentence that a submission is refused with.
async fn refusal(caller: &Endpoint) -> (ErrorCode, u16, u64, String) {
    let body = job("hello");
    match caller.submit_async(submission(&body)).await.unwrap_err() {
        ClientError::Rejected { status, body, retry_after_seconds } => {
            (body.error.code, status, retry_after_seconds.unwrap(), body.error.message)
        }
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn who_submits_too_often_is_told_when_to_come_back_and_others_are_not_held_up() {
    let gateway = start().await;
    let slow = gateway.as_caller("slow-slow-slow-slow");
    let body = job("hello");
    let keyed = Submission { idempotency_key: Some("k"), ..submission(&body) };
    slow.submit_async(keyed).await.unwrap();
    // The same job again is no new one.
    slow.submit_async(keyed).await.unwrap();
    submit(&slow, &body).await;
    let (code, status, retry_after, message) = refusal(&slow).await;
    assert_eq!((code, status), (ErrorCode::QuotaExceeded, 429));
    assert!((1..=30).contains(&retry_after), "{retry_after}");
    assert!(message.starts_with("this token has submitted as many jobs as it may"), "{message}");
    slow.submit_async(keyed).await.unwrap();
    submit(&gateway.as_caller("free-free-free-free"), &body).await;
}

#[tokio::test]
async fn who_has_too_many_jobs_in_the_queue_may_submit_again_when_one_leaves_it() {
    let gateway = start().await;
    let small = gateway.as_caller("small-small-small");
    let first = submit(&small, &job("hello")).await.job();
    submit(&small, &job("hello")).await;
    let (code, status, _, message) = refusal(&small).await;
    assert_eq!((code, status), (ErrorCode::QuotaExceeded, 429));
    assert_eq!(message, "2 jobs of this token wait already, as many as may");
    small.cancel(first).await.unwrap();
    submit(&small, &job("hello")).await;
    let gateway = gateway.restart_with(Setup { tokens: Some(TOKENS), ..Setup::default() }).await;
    assert_eq!(refusal(&gateway.as_caller("small-small-small")).await.0, ErrorCode::QuotaExceeded);
}

#[tokio::test]
async fn more_running_jobs_than_the_quota_wait_and_say_why() {
    let gateway = start().await;
    let single = gateway.as_caller("single-single-single");
    let (first_worker, second_worker) =
        (Worker::workflow(&gateway).await, Worker::workflow(&gateway).await);
    gateway.workers("workflow", "idle", 2).await;
    let first = submit(&single, &job("hold")).await;
    let second = submit(&single, &job("hello")).await;
    let other = submit(&gateway.as_caller("free-free-free-free"), &job("hello")).await;
    assert_eq!(outcome(&read_all(other).await).state, State::Completed);
    assert_eq!(single.job(second.job()).await.unwrap().state, JobState::Queued);
    first_worker.go_on();
    second_worker.go_on();
    assert_eq!(outcome(&read_all(first).await).state, State::Completed);
    let _third = Worker::workflow(&gateway).await;
    let frames = read_all(second).await;
    let reason = "its token has 1 running job, as many as its quota allows".to_owned();
    assert_eq!(event(&frames[1]).payload, Payload::Queued { position: 1, reason });
    assert_eq!(outcome(&frames).state, State::Completed);
}

#[tokio::test]
async fn a_full_queue_takes_nobodys_jobs() {
    let setup = Setup { max_queued: Some(1), tokens: Some(TOKENS), ..Setup::default() };
    let gateway = Gateway::with(setup).await;
    submit(&gateway.as_caller("free-free-free-free"), &job("hello")).await;
    let (code, status, _, message) = refusal(&gateway.as_caller("single-single-single")).await;
    assert_eq!((code, status), (ErrorCode::Unavailable, 503));
    assert_eq!(message, "the queue is full: 1 jobs wait already; come back later");
}
