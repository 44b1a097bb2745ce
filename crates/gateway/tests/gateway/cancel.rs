//! Wishes for a job's end that cannot be stored.

use std::time::Duration;

use serde_json::{Value, json};
use service::protocol::job::JobState;
use service::protocol::{JobId, Reason, State};

use crate::support::{Gateway, Unwritable, assert_whole, cancel, job, outcome, read_all};
use crate::worker::Worker;

/// Longer than anything here takes; what takes longer has been forgotten.
const PATIENCE: Duration = Duration::from_secs(60);

async fn assert_refused(gateway: &Gateway, id: JobId) {
    let url = gateway.url(&format!("/api/jobs/{id}"));
    let answer = gateway.http().delete(url).timeout(PATIENCE).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let said: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(said["error"]["code"], json!("unavailable"));
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("the job is being stopped, but"), "{message}");
}

#[tokio::test]
async fn a_cancellation_that_cannot_be_stored_is_refused_and_done_as_soon_as_it_can() {
    let gateway = Gateway::start().await;
    let stream = gateway.submit(job("hello")).await;
    let id = stream.job();
    let unwritable = Unwritable::store_of(&gateway);
    assert_refused(&gateway, id).await;
    assert_refused(&gateway, id).await;
    assert_eq!(gateway.view(id).await.state, JobState::Queued);
    // It is out of the queue all the same.
    let _worker = Worker::workflow(&gateway).await;
    gateway.workers("workflow", "idle", 1).await;
    drop(unwritable);
    let frames = read_all(stream).await;
    assert_whole(&frames);
    let outcome = outcome(&frames);
    assert_eq!((outcome.state, outcome.reason), (State::Cancelled, Some(Reason::CancelRequested)));
}

#[tokio::test]
async fn a_job_whose_cancellation_was_refused_may_go_on_after_a_restart_and_be_cancelled_then() {
    let gateway = Gateway::start().await;
    let id = gateway.submit(job("hello")).await.job();
    let unwritable = Unwritable::store_of(&gateway);
    assert_refused(&gateway, id).await;
    let (address, data) = gateway.stop().await;
    drop(unwritable);
    let (address, data) = (Some(address), Some(data));
    let setup = crate::support::Setup { address, data, ..Default::default() };
    let gateway = Gateway::with(setup).await;
    assert_eq!(gateway.view(id).await.state, JobState::Queued);
    assert_eq!(cancel(&gateway, id).await, (200, "the job has ended: cancelled".to_owned()));
}

#[tokio::test]
async fn a_running_job_whose_cancellation_cannot_be_stored_is_stopped_all_the_same() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let stream = gateway.submit(job("hold")).await;
    let id = stream.job();
    gateway.until(id, JobState::Running).await;
    let unwritable = Unwritable::store_of(&gateway);
    assert_refused(&gateway, id).await;
    drop(unwritable);
    assert_eq!(outcome(&read_all(stream).await).state, State::Cancelled);
}
