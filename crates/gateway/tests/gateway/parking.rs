//! Agents without quota: their jobs wait until it is there again.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use service::client::EventStream;
use service::protocol::job::JobState;
use service::protocol::sse::Frame;
use service::protocol::{JobId, Payload, Reason, State};

use crate::support::{
    Gateway, Setup, assert_whole, attempts, event, follow, job_with, names, outcome, read_all,
    read_until,
};
use crate::worker::Worker;

/// Longer than a test.
const LONG: u64 = 3600;

fn claude(prompt: &str) -> Value {
    job_with(prompt, json!({"agent": "claude"}))
}

fn other(prompt: &str) -> Value {
    job_with(prompt, json!({"agent": "command"}))
}

/// What the job's followers are told last of what it waits for.
fn reason(frames: &[Frame]) -> String {
    match event(frames.last().unwrap()).payload {
        Payload::Queued { reason, .. } => reason,
        payload => panic!("{payload:?}"),
    }
}

fn is_limited(reason: &str) -> bool {
    reason.starts_with("claude's credential is rate limited until 2")
}

/// Reads until the job is said to wait for the quota.
async fn until_limited(stream: &mut EventStream) -> String {
    loop {
        let reason = reason(&read_until(stream, "queued").await);
        if is_limited(&reason) {
            return reason;
        }
    }
}

/// Runs a job into its agent's limit, and to its end.
async fn use_up(gateway: &Gateway, seconds: u64) {
    let _worker = Worker::workflow(gateway).await;
    let outcome =
        outcome(&read_all(gateway.submit(claude(&format!("limit {seconds}"))).await).await);
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::RateLimited)));
    assert!(outcome.retryable && outcome.retry_at.is_some(), "{outcome:?}");
    gateway.workers("workflow", "idle", 0).await;
}

async fn metric(gateway: &Gateway, name: &str) -> Option<u64> {
    let text = gateway.http().get(gateway.url("/metrics")).send().await.unwrap();
    let text = text.text().await.unwrap();
    let name = format!("{name}{{agent=\"claude\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map(|number| number.parse().unwrap())
}

async fn reason_in_view(gateway: &Gateway, id: JobId) -> Option<String> {
    gateway.view(id).await.queued.map(|queued| queued.reason)
}

#[tokio::test]
async fn jobs_of_an_agent_without_quota_wait_and_say_so_while_others_run() {
    let gateway = Gateway::start().await;
    let mut early = gateway.submit(other("hold")).await;
    let holder = Worker::workflow(&gateway).await;
    read_until(&mut early, "started").await;
    use_up(&gateway, LONG).await;
    let mut waiting = gateway.submit(claude("hello")).await;
    let unnamed = gateway.submit(crate::support::job("hello")).await;
    until_limited(&mut waiting).await;
    let _worker = Worker::workflow(&gateway).await;
    let free = read_all(gateway.submit(other("hello")).await).await;
    assert_eq!(outcome(&free).state, State::Completed);
    for id in [waiting.job(), unnamed.job()] {
        let view = gateway.view(id).await;
        assert_eq!((view.state, view.attempt), (JobState::Queued, 0));
        assert!(is_limited(&view.queued.unwrap().reason));
    }
    assert_eq!(metric(&gateway, "oneshift_parked_jobs").await, Some(2));
    let until = metric(&gateway, "oneshift_parked_until_seconds").await.unwrap();
    let left = until - u64::try_from(Timestamp::now().as_second()).unwrap();
    assert!((1..=LONG).contains(&left), "{left}");
    // The one that was running is not stopped.
    holder.go_on();
    assert_eq!(outcome(&read_all(early).await).state, State::Completed);
}

#[tokio::test]
async fn jobs_that_wait_already_are_told_and_run_in_their_order_when_the_time_comes() {
    let gateway = Gateway::start().await;
    let mut limited = gateway.submit(claude("limit 2")).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut stream = gateway.submit(claude("hello")).await;
        let frames = read_until(&mut stream, "queued").await;
        assert_eq!(reason(&frames), "no workflow worker is attached");
        waiting.push(stream);
    }
    let _first = Worker::workflow(&gateway).await;
    read_until(&mut limited, "failed").await;
    for stream in &mut waiting {
        until_limited(stream).await;
    }
    let mut starts = Vec::new();
    for stream in waiting {
        // One worker after the other: the jobs start one after the other.
        let _next = Worker::workflow(&gateway).await;
        let frames = read_all(follow(&gateway, stream.job())).await;
        assert_whole(&frames);
        assert_eq!(
            names(&frames),
            ["accepted", "queued", "queued", "started", "agent", "completed"]
        );
        starts.push(event(&frames[3]).at);
    }
    assert!(starts.is_sorted(), "{starts:?}");
    assert_eq!(metric(&gateway, "oneshift_parked_jobs").await, None);
}

#[tokio::test]
async fn a_job_with_retries_is_tried_again_when_the_quota_is_there() {
    let gateway = Gateway::start().await;
    let _workers = [Worker::workflow(&gateway).await, Worker::workflow(&gateway).await];
    let body = job_with("limitonce 2", json!({"agent": "claude", "retries": 1}));
    let frames = read_all(gateway.submit(body).await).await;
    assert_whole(&frames);
    assert_eq!(names(&frames), ["accepted", "started", "queued", "started", "completed"]);
    assert_eq!(attempts(&frames), [1, 2]);
    let told = reason(&frames[..3]);
    assert!(is_limited(&told), "{told}");
    assert!(told.ends_with("Z; retry 1 of 1 follows then: as the script says"), "{told}");
    // Not before.
    let words = told.strip_prefix("claude's credential is rate limited until ").unwrap();
    let until: Timestamp = words.split(';').next().unwrap().parse().unwrap();
    assert!(event(&frames[3]).at >= until, "{frames:?}");
}

#[tokio::test]
async fn an_agent_stays_parked_across_a_restart_and_nobody_is_told_twice() {
    let gateway = Gateway::start().await;
    use_up(&gateway, LONG).await;
    let mut waiting = gateway.submit(claude("hello")).await;
    let id = waiting.job();
    let before = until_limited(&mut waiting).await;
    let gateway = gateway.restart().await;
    let _worker = Worker::workflow(&gateway).await;
    // Its followers are told after the one that waits already.
    let mut late = gateway.submit(claude("hello")).await;
    assert_eq!(until_limited(&mut late).await, before);
    assert_eq!(reason_in_view(&gateway, id).await, Some(before));
    let free = read_all(gateway.submit(other("hello")).await).await;
    assert_eq!(outcome(&free).state, State::Completed);
    gateway.endpoint().cancel(id).await.unwrap();
    let frames = read_all(follow(&gateway, id)).await;
    assert_whole(&frames);
    assert_eq!(names(&frames), ["accepted", "queued", "cancelled"]);
}

#[tokio::test]
async fn a_retry_that_waits_for_a_quota_waits_across_a_restart_too() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let body = job_with(&format!("limit {LONG}"), json!({"agent": "claude", "retries": 1}));
    let mut stream = gateway.submit(body).await;
    let id = stream.job();
    until_limited(&mut stream).await;
    let gateway = gateway.restart().await;
    let _worker = Worker::workflow(&gateway).await;
    let free = read_all(gateway.submit(other("hello")).await).await;
    assert_eq!(outcome(&free).state, State::Completed);
    let view = gateway.view(id).await;
    assert_eq!((view.state, view.attempt), (JobState::Queued, 1));
    assert!(is_limited(&view.queued.unwrap().reason));
    gateway.endpoint().cancel(id).await.unwrap();
    let outcome = outcome(&read_all(follow(&gateway, id)).await);
    assert_eq!((outcome.state, outcome.retry_at), (State::Cancelled, None));
}

#[tokio::test]
async fn a_limit_that_is_over_or_has_no_end_parks_nobody_and_is_retried_after_a_pause() {
    let gateway = Gateway::start().await;
    for prompt in ["limit -5", "fail rate_limited"] {
        let mut workers = Vec::new();
        for _ in 0..3 {
            workers.push(Worker::workflow(&gateway).await);
        }
        let body = job_with(prompt, json!({"agent": "claude", "retries": 2}));
        let frames = read_all(gateway.submit(body).await).await;
        assert_whole(&frames);
        assert_eq!(attempts(&frames), [1, 2, 3], "{prompt}");
        let reasons: Vec<String> = frames
            .iter()
            .filter(|frame| frame.event == "queued")
            .map(|frame| reason(std::slice::from_ref(frame)))
            .collect();
        let words = |n, seconds| format!("retry {n} of 2 in {seconds} s: as the script says");
        assert_eq!(reasons, [words(1, 1), words(2, 2)], "{prompt}");
        assert_eq!(outcome(&frames).reason, Some(Reason::RateLimited));
        assert_eq!(metric(&gateway, "oneshift_parked_jobs").await, None);
    }
}

#[tokio::test]
async fn a_limit_is_believed_for_six_hours_only() {
    let gateway = Gateway::start().await;
    let year = 365 * 24 * 3600;
    use_up(&gateway, year).await;
    let until = metric(&gateway, "oneshift_parked_until_seconds").await.unwrap();
    let left = until - u64::try_from(Timestamp::now().as_second()).unwrap();
    assert!((1..=6 * 3600).contains(&left), "{left}");
    let mut waiting = gateway.submit(claude("hello")).await;
    assert!(until_limited(&mut waiting).await.contains("; one job tries at 2"));
    let (address, data) = gateway.stop().await;
    // As if the six hours had passed while the gateway was away.
    let file = rusqlite::Connection::open(data.path().join("oneshift.db")).unwrap();
    assert_eq!(file.execute("UPDATE parkings SET until = until - 6 * 3600000", []).unwrap(), 1);
    drop(file);
    let gateway =
        Gateway::with(Setup { data: Some(data), address: Some(address), ..Setup::default() }).await;
    let later = gateway.submit(claude("hello")).await;
    let first = Worker::workflow(&gateway).await;
    assert_eq!(outcome(&read_all(follow(&gateway, waiting.job())).await).state, State::Completed);
    drop(first);
    let _second = Worker::workflow(&gateway).await;
    let free = read_all(gateway.submit(other("hello")).await).await;
    assert_eq!(outcome(&free).state, State::Completed);
    // One job has tried whether the limit still holds; the others follow a little later.
    let trial = "claude's credential was rate limited; one job tries whether it still is";
    assert_eq!(reason_in_view(&gateway, later.job()).await.as_deref(), Some(trial));
}

#[tokio::test]
async fn a_job_whose_token_or_group_is_in_its_way_hears_so_when_it_is_next() {
    const TOKENS: &str = r#"[{ "name": "single", "token": "single-single-single",
        "scopes": ["submit", "read"], "quotas": { "runningJobs": 1 } }]"#;
    let gateway = Gateway::with(Setup { tokens: Some(TOKENS), ..Setup::default() }).await;
    let single = gateway.as_caller("single-single-single");
    let mut streams = Vec::new();
    for prompt in ["hold", "hello", "hello"] {
        streams.push(crate::support::submit(&single, &other(prompt)).await);
    }
    let told = async |stream: &mut EventStream| reason(&read_until(stream, "queued").await);
    for stream in &mut streams {
        assert_eq!(told(stream).await, "no workflow worker is attached");
    }
    let _worker = Worker::workflow(&gateway).await;
    let quota = "its token has 1 running job, as many as its quota allows";
    assert_eq!(told(&mut streams[1]).await, quota);
    tokio::time::timeout(Duration::from_millis(1), streams[2].next_batch()).await.unwrap_err();
}
