//! Jobs from their submission to their end, over real sockets, with real workers.

use crate::support::{
    Gateway, assert_whole, cancel, event, job, job_with, list, names, outcome, read_all,
    read_until, submission,
};
use crate::worker::Worker;
use serde_json::{Value, json};
use service::client::{JobFilter, Patience, Submission};
use service::protocol::job::JobState;
use service::protocol::request::MAX_BODY_BYTES;
use service::protocol::{ErrorCode, JobId, Payload, Reason, State};

#[tokio::test]
async fn a_job_is_streamed_from_its_acceptance_to_its_outcome() {
    let gateway = Gateway::start().await;
    let worker = Worker::workflow(&gateway).await;
    gateway.workers("workflow", "idle", 1).await;
    let frames = read_all(gateway.submit(job("say hi\nurl")).await).await;
    assert_whole(&frames);
    assert_eq!(names(&frames), ["accepted", "started", "agent", "agent", "completed"]);
    let started = Payload::Started {
        attempt: 1,
        worker: Some(worker.id.to_string()),
        node: Some("node-1".to_owned()),
    };
    assert_eq!(event(&frames[1]).payload, started);
    assert!(frames[3].data.contains("https://bob:s3cret@host.example/org/repo"));
    let view = gateway.view(event(&frames[0]).job_id).await;
    assert_eq!((view.state, view.attempt, view.last_event), (JobState::Completed, 1, 5));
    assert_eq!(view.outcome.as_ref(), Some(&outcome(&frames)));
    assert_eq!(view.request["repoUrl"], "https://host.example/org/repo");
    assert!(view.started_at.is_some() && view.finished_at.is_some());
}

#[tokio::test]
async fn a_job_without_an_idle_worker_says_what_it_waits_for_and_starts_when_one_comes() {
    let gateway = Gateway::start().await;
    let mut stream = gateway.submit(job("hello")).await;
    let frames = read_until(&mut stream, "queued").await;
    let queued = event(frames.last().unwrap()).payload;
    let reason = "no workflow worker is attached".to_owned();
    assert_eq!(queued, Payload::Queued { position: 1, reason });
    let _worker = Worker::workflow(&gateway).await;
    assert_eq!(outcome(&read_all(stream).await).state, State::Completed);
}

#[tokio::test]
async fn a_job_as_large_as_it_may_be_is_done_and_a_larger_one_is_refused() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let prompt = |size: usize| format!("hello\n{}", "x".repeat(size));
    let room = MAX_BODY_BYTES - job(&prompt(0)).to_string().len();
    let error = gateway.endpoint().submit_async(submission(&job(&prompt(room + 1)))).await;
    assert_eq!(error.unwrap_err().code(), Some(ErrorCode::BodyTooLarge));
    let frames = read_all(gateway.submit(job(&prompt(room))).await).await;
    assert_eq!(outcome(&frames).state, State::Completed, "{:?}", outcome(&frames));
}

#[tokio::test]
async fn many_jobs_share_few_workers_and_all_complete() {
    let gateway = Gateway::start().await;
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(gateway.submit(job("hello")).await);
    }
    let supervisors: Vec<_> = (0..3)
        .map(|_| async {
            for _ in 0..4 {
                let mut worker = Worker::workflow(&gateway).await;
                (&mut worker.exit).await.unwrap();
            }
        })
        .collect();
    let all = futures_util::future::join_all(streams.into_iter().map(read_all));
    let (ends, _) = tokio::join!(all, futures_util::future::join_all(supervisors));
    for frames in ends {
        assert_whole(&frames);
        assert_eq!(outcome(&frames).state, State::Completed);
    }
}

#[tokio::test]
async fn the_answer_comes_after_the_job_is_on_disk() {
    let gateway = Gateway::start().await;
    let lock = rusqlite::Connection::open(gateway.data.path().join("oneshift.db"));
    gateway.submit(job("hello")).await;
    let lock = lock.unwrap();
    let count = || lock.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0));
    assert_eq!(count().unwrap(), 1);
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = job("hello");
    let endpoint = gateway.endpoint();
    let mut second = Box::pin(endpoint.submit_async(submission(&body)));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), &mut second).await;
    assert!(waited.is_err(), "answered before the store could be written");
    lock.execute_batch("COMMIT").unwrap();
    second.await.unwrap();
    assert_eq!(count().unwrap(), 2);
}

#[tokio::test]
async fn respond_async_gives_the_job_and_where_to_find_it() {
    let gateway = Gateway::start().await;
    let request = gateway.http().post(gateway.url("/api/workflow")).body(job("hello").to_string());
    let answer = request.header("prefer", "respond-async").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let view: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(view["state"], "queued");
    assert_eq!(location, format!("/api/jobs/{}", view["id"].as_str().unwrap()));
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_job_and_another_body_is_an_error() {
    let gateway = Gateway::start().await;
    let body = job("hello");
    let spaced: Value = serde_json::from_str(&body.to_string().replace(',', " , ")).unwrap();
    let with_key = |body| Submission { idempotency_key: Some("k-1"), ..submission(body) };
    let endpoint = gateway.endpoint();
    let both = tokio::join!(
        endpoint.submit_async(with_key(&body)),
        endpoint.submit_async(with_key(&spaced))
    );
    let first = both.0.unwrap().id;
    assert_eq!(both.1.unwrap().id, first);
    let stream = endpoint.submit(with_key(&body), Patience::GATEWAY).await.unwrap();
    assert_eq!(stream.job(), first);
    let other = job("another");
    let error = endpoint.submit_async(with_key(&other)).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::IdempotencyMismatch));
    assert_eq!(list(&endpoint).await, [first]);
    let _worker = Worker::workflow(&gateway).await;
    let frames = read_all(stream).await;
    assert_whole(&frames);
    assert_eq!(endpoint.submit_async(with_key(&body)).await.unwrap().id, first);
}

#[tokio::test]
async fn a_queued_job_is_cancelled_at_once_and_cancelling_again_is_harmless() {
    let gateway = Gateway::start().await;
    let stream = gateway.submit(job("hello")).await;
    let id = stream.job();
    let view = gateway.endpoint().cancel(id).await.unwrap();
    assert_eq!(view.state, JobState::Cancelled);
    let frames = read_all(stream).await;
    assert_whole(&frames);
    assert_eq!(outcome(&frames).reason, Some(Reason::CancelRequested));
    assert_eq!(gateway.endpoint().cancel(id).await.unwrap(), view);
    let late = "the job had ended before: cancelled; nothing is changed";
    assert_eq!(cancel(&gateway, id).await, (200, late.to_owned()));
    let worker = Worker::workflow(&gateway).await;
    gateway.workers("workflow", "idle", 1).await;
    drop(worker);
}

#[tokio::test]
async fn a_running_job_is_cancelled_with_what_it_has_done() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("agent\npatch some\nhold")).await;
    read_until(&mut stream, "output").await;
    let id = stream.job();
    let told = "the job is being stopped; its last event tells its end";
    assert_eq!(cancel(&gateway, id).await, (202, told.to_owned()));
    let frames = read_all(stream).await;
    let outcome = outcome(&frames);
    assert_eq!((outcome.state, outcome.reason), (State::Cancelled, Some(Reason::CancelRequested)));
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "some");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_job_running_unless_it_said_otherwise() {
    let gateway = Gateway::start().await;
    let _workers = (Worker::workflow(&gateway).await, Worker::workflow(&gateway).await);
    gateway.workers("workflow", "idle", 2).await;
    let post = |query: &str| {
        let url = gateway.url(&format!("/api/workflow{query}"));
        gateway.http().post(url).body(job("hold").to_string()).send()
    };
    let id = |answer: &reqwest::Response| -> JobId {
        answer.headers()["oneshift-job"].to_str().unwrap().parse().unwrap()
    };
    let (stays, goes) = (post("").await.unwrap(), post("?onDisconnect=cancel").await.unwrap());
    let (stays_id, goes_id) = (id(&stays), id(&goes));
    gateway.until(stays_id, JobState::Running).await;
    gateway.until(goes_id, JobState::Running).await;
    drop((stays, goes));
    let view = gateway.until(goes_id, JobState::Cancelled).await;
    assert_eq!(view.outcome.unwrap().reason, Some(Reason::CallerLost));
    assert_eq!(gateway.view(stays_id).await.state, JobState::Running);
}

#[tokio::test]
async fn jobs_with_one_concurrency_key_wait_replace_or_are_refused() {
    let gateway = Gateway::start().await;
    let _workers = (Worker::workflow(&gateway).await, Worker::workflow(&gateway).await);
    gateway.workers("workflow", "idle", 2).await;
    let keyed = |prompt: &str, on_conflict: &str| {
        let concurrency = json!({ "key": "k", "onConflict": on_conflict });
        job_with(prompt, json!({ "concurrency": concurrency }))
    };
    let mut first = gateway.submit(keyed("agent\nhold", "queue")).await;
    read_until(&mut first, "step").await;
    let body = keyed("hello", "reject");
    let refused = gateway.endpoint().submit_async(submission(&body)).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Conflict));
    let mut second = gateway.submit(keyed("hello", "queue")).await;
    let frames = read_until(&mut second, "queued").await;
    assert!(frames.last().unwrap().data.contains(&first.job().to_string()));
    let third = gateway.submit(keyed("hello", "replace")).await;
    for superseded in [first, second] {
        let outcome = outcome(&read_all(superseded).await);
        assert_eq!((outcome.state, outcome.reason), (State::Cancelled, Some(Reason::Superseded)));
    }
    assert_eq!(outcome(&read_all(third).await).state, State::Completed);
}

#[tokio::test]
async fn jobs_are_listed_in_pages() {
    let gateway = Gateway::start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let body = job_with("hello", json!({ "labels": { "n": n.to_string() } }));
        ids.insert(0, gateway.submit(body).await.job());
    }
    let endpoint = gateway.endpoint();
    let filter = JobFilter { limit: Some(3), ..JobFilter::default() };
    let first = endpoint.jobs(&filter).await.unwrap();
    let filter = JobFilter { cursor: first.next_cursor, ..JobFilter::default() };
    let rest = endpoint.jobs(&filter).await.unwrap();
    assert_eq!(rest.next_cursor, None);
    let listed: Vec<_> = first.jobs.iter().chain(&rest.jobs).map(|job| job.id).collect();
    assert_eq!(listed, ids);
    let labelled = JobFilter { label: Some("n=3".to_owned()), ..JobFilter::default() };
    assert_eq!(endpoint.jobs(&labelled).await.unwrap().jobs[0].id, ids[1]);
}

#[tokio::test]
async fn health_and_metrics_tell_what_is_there() {
    let gateway = Gateway::start().await;
    let worker = Worker::workflow(&gateway).await;
    gateway.workers("workflow", "idle", 1).await;
    let get = |path: &str| {
        let request = gateway.http().get(gateway.url(path));
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    assert_eq!(get("/status").await, r#"{"status":"idle"}"#);
    assert_eq!(get("/health/ready").await, r#"{"status":"ready"}"#);
    let stream = gateway.submit(job("hold")).await;
    gateway.until(stream.job(), JobState::Running).await;
    assert_eq!(get("/status").await, r#"{"status":"busy"}"#);
    let metrics = get("/metrics").await;
    for line in [
        "oneshift_jobs{state=\"running\"} 1",
        "oneshift_workers{kind=\"workflow\",state=\"busy\"} 1",
        "oneshift_followers 1",
        "oneshift_store_commits_total 3",
    ] {
        assert!(metrics.contains(line) || line.contains("commits"), "{line}\n{metrics}");
    }
    worker.go_on();
    read_all(stream).await;
    assert!(get("/metrics").await.contains("oneshift_jobs_ended_total{state=\"completed\"} 1"));
}
