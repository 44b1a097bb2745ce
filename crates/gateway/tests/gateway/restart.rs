//! What outlives the gateway.

use std::time::Duration;

use service::protocol::job::JobState;
use service::protocol::{Reason, State};

use crate::support::{
    Gateway, Setup, assert_whole, follow, job, job_with, names, outcome, read_all, read_until,
};
use crate::worker::Worker;

#[tokio::test]
async fn a_queued_job_is_run_by_the_next_gateway() {
    let gateway = Gateway::start().await;
    let id = gateway.submit(job("hello")).await.job();
    let gateway = gateway.restart().await;
    let _worker = Worker::workflow(&gateway).await;
    let frames = read_all(follow(&gateway, id)).await;
    assert_whole(&frames);
    assert_eq!(outcome(&frames).state, State::Completed);
}

#[tokio::test]
async fn a_running_job_goes_on_and_its_follower_misses_nothing() {
    let gateway = Gateway::start().await;
    let worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("flood 50\nhold\npatch it\nflood 50")).await;
    let id = stream.job();
    let mut frames = read_until(&mut stream, "agent").await;
    let gateway = gateway.restart().await;
    worker.go_on();
    frames.extend(read_all(stream).await);
    assert_whole(&frames);
    assert_eq!(frames.len(), 2 + 101 + 1);
    assert_eq!(outcome(&frames).state, State::Completed);
    assert_eq!(read_all(follow(&gateway, id)).await, frames);
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "it");
    assert_eq!(gateway.view(id).await.attempt, 1);
}

#[tokio::test]
async fn a_job_that_ended_while_the_gateway_was_away_is_told_afterwards() {
    let gateway = Gateway::start().await;
    let worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("hello\nhold\nhello")).await;
    let id = stream.job();
    read_until(&mut stream, "agent").await;
    let (address, data) = gateway.stop().await;
    worker.go_on();
    let setup = Setup { data: Some(data), address: Some(address), ..Setup::default() };
    let gateway = Gateway::with(setup).await;
    let frames = read_all(follow(&gateway, id)).await;
    assert_eq!(names(&frames), ["accepted", "started", "agent", "agent", "completed"]);
}

#[tokio::test]
async fn a_job_whose_worker_does_not_come_back_is_lost() {
    let gateway = Gateway::start().await;
    let worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("agent\nhold")).await;
    let id = stream.job();
    read_until(&mut stream, "step").await;
    let (address, data) = gateway.stop().await;
    worker.kill();
    let reattach = Some(Duration::from_millis(300));
    let setup = Setup { data: Some(data), address: Some(address), reattach, ..Setup::default() };
    let gateway = Gateway::with(setup).await;
    let frames = read_all(follow(&gateway, id)).await;
    assert_whole(&frames);
    let outcome = outcome(&frames);
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::WorkerLost)));
}

#[tokio::test]
async fn a_worker_whose_job_was_given_up_is_told_to_stop() {
    let gateway = Gateway::start().await;
    let mut worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("agent\nhold")).await;
    let id = stream.job();
    read_until(&mut stream, "step").await;
    let (_, data) = gateway.stop().await;
    let reattach = Some(Duration::ZERO);
    let elsewhere = Setup { data: Some(data), reattach, ..Setup::default() };
    let gateway = Gateway::with(elsewhere).await;
    gateway.until(id, JobState::Failed).await;
    // The worker knows only the first address; the second gateway moves there.
    let (_, data) = gateway.stop().await;
    let address = Some(worker.gateway);
    let gateway = Gateway::with(Setup { data: Some(data), address, ..Setup::default() }).await;
    (&mut worker.exit).await.unwrap();
    assert_eq!(gateway.view(id).await.state, JobState::Failed);
}

#[tokio::test]
async fn a_cancellation_is_not_forgotten() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("hello\ndeaf")).await;
    let id = stream.job();
    read_until(&mut stream, "agent").await;
    gateway.endpoint().cancel(id).await.unwrap();
    let gateway = gateway.restart().await;
    let frames = read_all(follow(&gateway, id)).await;
    assert_whole(&frames);
    assert_eq!(outcome(&frames).reason, Some(Reason::CancelRequested));
}

#[tokio::test]
async fn a_running_job_can_be_cancelled_right_after_a_restart() {
    let gateway = Gateway::start().await;
    let worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("hello\nhold")).await;
    let id = stream.job();
    read_until(&mut stream, "agent").await;
    let (_, data) = gateway.stop().await;
    worker.kill();
    let gateway = Gateway::with(Setup { data: Some(data), ..Setup::default() }).await;
    gateway.endpoint().cancel(id).await.unwrap();
    let frames = read_all(follow(&gateway, id)).await;
    assert_whole(&frames);
    assert_eq!(outcome(&frames).state, State::Cancelled);
}

#[tokio::test]
async fn a_retry_goes_on_with_its_pause_and_can_be_cancelled_in_it() {
    let gateway = Gateway::start().await;
    let _first = Worker::workflow(&gateway).await;
    let body = job_with("failonce", serde_json::json!({ "retries": 1 }));
    let mut stream = gateway.submit(body).await;
    let id = stream.job();
    let frames = read_until(&mut stream, "queued").await;
    assert!(frames.last().unwrap().data.contains("retry 1 of 1 in 1 s: too many"), "{frames:?}");
    let (address, data) = gateway.stop().await;
    // Later than any pause may end: as if the clock had been set back by a day.
    let file = rusqlite::Connection::open(data.path().join("oneshift.db")).unwrap();
    let later = "UPDATE jobs SET not_before = not_before + 86400000 WHERE not_before > created_at";
    assert_eq!(file.execute(later, []).unwrap(), 1);
    drop(file);
    let setup = Setup { data: Some(data), address: Some(address), ..Setup::default() };
    let gateway = Gateway::with(setup).await;
    let _second = Worker::workflow(&gateway).await;
    let other = gateway.submit(job("hello")).await;
    assert_eq!(outcome(&read_all(other).await).state, State::Completed);
    assert_eq!(gateway.view(id).await.state, JobState::Queued);
    gateway.endpoint().cancel(id).await.unwrap();
    let frames = read_all(follow(&gateway, id)).await;
    assert_whole(&frames);
    assert_eq!(outcome(&frames).state, State::Cancelled);
}

#[tokio::test]
async fn a_job_that_ended_long_ago_is_forgotten_and_others_are_not() {
    let gateway = Gateway::start().await;
    let [old, young, queued] = [
        gateway.submit(job("hello")).await.job(),
        gateway.submit(job("hello")).await.job(),
        gateway.submit(job("hello")).await.job(),
    ];
    for id in [old, young] {
        gateway.endpoint().cancel(id).await.unwrap();
    }
    let (_, data) = gateway.stop().await;
    let file = rusqlite::Connection::open(data.path().join("oneshift.db")).unwrap();
    let day = "UPDATE jobs SET created_at = 0, finished_at = finished_at - 86400001 WHERE id = ?";
    file.execute(day, [old.to_string()]).unwrap();
    file.execute("UPDATE jobs SET created_at = 0 WHERE id = ?", [queued.to_string()]).unwrap();
    drop(file);
    let gateway = Gateway::with(Setup { data: Some(data), ..Setup::default() }).await;
    while gateway.endpoint().job(old).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(crate::support::list(&gateway.endpoint()).await, [queued, young]);
    assert_eq!(gateway.view(queued).await.state, JobState::Queued);
}
