//! The one-job server, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::net::SocketAddr;
use std::time::Duration;

use client::{Endpoint, EventStream, NamedJob, Patience, Submission};
use protocol::event::is_terminal;
use protocol::request::{JobRequest, MAX_BODY_BYTES};
use protocol::sse::Frame;
use protocol::{ErrorCode, JobId, Outcome, Payload, Reason, RequestError, State, WorkerKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service::Environment;
use service::one_shot::{Exit, Job, OneShot, OneShotConfig, Shift};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

/// What the test's worker is to do.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Play {
    scene: String,
}

impl JobRequest for Play {
    fn validate(&self) -> Result<(), RequestError> {
        Ok(())
    }

    fn to_wire(&self) -> Value {
        json!({ "scene": self.scene })
    }
}

struct Stage;

impl Shift for Stage {
    type Request = Play;
    const ROUTE: &'static str = "play";

    fn admit(&self, request: &Play) -> Result<(), RequestError> {
        if request.scene == "forbidden" {
            let message = "scene is not allowed here";
            return Err(RequestError::field(ErrorCode::NotAllowed, "scene", message));
        }
        Ok(())
    }

    async fn run(&self, request: Play, job: Job) -> Outcome {
        match request.scene.as_str() {
            "wait" => job.stopped().await.into_outcome(),
            "hang" => std::future::pending().await,
            "panic" => panic!("as asked"),
            "many" | "flood" => {
                // A flood is more than a connection's buffers hold.
                let count = if request.scene == "many" { 3000 } else { 30_000 };
                for _ in 0..count {
                    job.emit(output());
                }
                job.stopped().await.into_outcome()
            }
            _ => Outcome::failed(Reason::CheckFailed, "as asked"),
        }
    }
}

fn output() -> Payload {
    Payload::Output {
        step: protocol::Step::Execute,
        stream: protocol::event::Stream::Stdout,
        text: "x".repeat(1000),
        encoding: None,
    }
}

struct Running {
    endpoint: Endpoint,
    exit: JoinHandle<std::io::Result<Exit>>,
    signal: mpsc::Sender<()>,
}

async fn start<const N: usize>(settings: [(&str, &str); N]) -> Running {
    let environment = Environment::from_pairs(settings);
    let config = OneShotConfig::read(&environment, WorkerKind::GitPull).unwrap();
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (signal, signals) = mpsc::channel(1);
    let exit = tokio::spawn(OneShot::new(config).shift(Stage).run(listener, signals));
    Running { endpoint: Endpoint::new(&base, None).unwrap(), exit, signal }
}

async fn play(endpoint: &Endpoint, scene: &str) -> Result<EventStream, client::ClientError> {
    let body = json!({ "scene": scene });
    let submission =
        Submission { path: "/api/play", body: &body, job: None, idempotency_key: None };
    endpoint.submit(submission, Patience::WORKER).await
}

async fn read_all(mut events: EventStream) -> Vec<Frame> {
    let mut all = Vec::new();
    while let Some(frames) = events.next_batch().await.unwrap() {
        all.extend(frames);
    }
    all
}

fn ids(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.id).collect()
}

fn last_outcome(frames: &[Frame]) -> Outcome {
    let last = frames.last().unwrap();
    assert!(is_terminal(&last.event));
    let event: protocol::Event = serde_json::from_str(&last.data).unwrap();
    event.payload.outcome().unwrap().clone()
}

#[tokio::test]
async fn a_job_is_streamed_from_accepted_to_its_outcome_and_the_worker_ends() {
    let worker = start([]).await;
    let frames = read_all(play(&worker.endpoint, "fail").await.unwrap()).await;
    let names: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(names, ["accepted", "started", "failed"]);
    assert_eq!(ids(&frames), [1, 2, 3]);
    let exit = worker.exit.await.unwrap().unwrap();
    assert_eq!(exit, Exit::Reported(State::Failed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_100_jobs_at_the_same_instant_exactly_one_is_accepted() {
    let worker = start([]).await;
    let mut posts = JoinSet::new();
    for _ in 0..100 {
        let endpoint = worker.endpoint.clone();
        posts.spawn(async move { play(&endpoint, "wait").await });
    }
    let (mut accepted, mut busy) = (Vec::new(), 0);
    while let Some(post) = posts.join_next().await {
        match post.unwrap() {
            Ok(events) => accepted.push(events),
            Err(
                error @ client::ClientError::Rejected {
                    status: 503,
                    retry_after_seconds: Some(_),
                    ..
                },
            ) => {
                assert_eq!(error.code(), Some(ErrorCode::Busy));
                busy += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((accepted.len(), busy), (1, 99));
    let events = accepted.pop().unwrap();
    worker.endpoint.cancel(events.job()).await.unwrap();
    let outcome = last_outcome(&read_all(events).await);
    assert_eq!((outcome.state, outcome.reason), (State::Cancelled, Some(Reason::CancelRequested)));
    assert_eq!(worker.exit.await.unwrap().unwrap(), Exit::Reported(State::Cancelled));
}

#[tokio::test]
async fn a_wrong_request_is_refused_and_does_not_use_the_worker_up() {
    let worker = start([]).await;
    let http = |body| raw_post(&worker.endpoint, body);
    for (body, status, field) in [
        ("{", 400, None),
        ("[]", 400, None),
        ("{\"scene\": 1}", 422, Some("scene")),
        ("{\"scene\": \"x\", \"stage\": 1}", 422, Some("stage")),
        ("{}", 422, Some("scene")),
        ("{\"scene\": \"forbidden\"}", 422, Some("scene")),
        ("{\"scene\": \"x\"} trailing", 400, None),
    ] {
        let (got, error) = http(body.as_bytes().to_vec()).await;
        assert_eq!(got, status, "{body}: {error}");
        assert_eq!(error["error"]["field"].as_str(), field, "{body}: {error}");
    }
    let (status, error) = http(b"{\"scene\": \"\xff\"}".to_vec()).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("malformed")));
    let (status, error) = http(vec![b' '; 2 * 1024 * 1024]).await;
    assert_eq!((status, &error["error"]["code"]), (413, &json!("body_too_large")));
    let frames = read_all(play(&worker.endpoint, "fail").await.unwrap()).await;
    assert_eq!(last_outcome(&frames).reason, Some(Reason::CheckFailed));
}

#[tokio::test]
async fn what_another_service_passes_on_may_have_grown_over_the_limit_of_callers() {
    let worker = start([]).await;
    let body = json!({ "scene": "x".repeat(MAX_BODY_BYTES) });
    let submission =
        |job| Submission { path: "/api/play", body: &body, job, idempotency_key: None };
    let refused = worker.endpoint.submit(submission(None), Patience::WORKER).await;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::BodyTooLarge));
    let named = NamedJob { id: JobId::random(), attempt: 1, needs_confirmation: false };
    let events = worker.endpoint.submit(submission(Some(named)), Patience::WORKER).await.unwrap();
    assert_eq!(last_outcome(&read_all(events).await).reason, Some(Reason::CheckFailed));
}

/// Posts raw bytes and returns the status and the JSON answer.
async fn raw_post(endpoint: &Endpoint, body: Vec<u8>) -> (u16, Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = endpoint.base().trim_start_matches("http://");
    let (mut reader, mut writer) =
        tokio::net::TcpStream::connect(address).await.unwrap().into_split();
    let length = body.len();
    let head = format!(
        "POST /api/play HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    let writing = tokio::spawn(async move {
        // The server may refuse before it has read everything.
        let _ = writer.write_all(head.as_bytes()).await;
        let _ = writer.write_all(&body).await;
        writer
    });
    let mut answer = Vec::new();
    let _ = reader.read_to_end(&mut answer).await;
    drop(writing.await);
    let text = String::from_utf8(answer).unwrap();
    let (head, json) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(json).unwrap())
}

#[tokio::test]
async fn a_panic_is_an_outcome_that_names_no_internals() {
    let worker = start([]).await;
    let frames = read_all(play(&worker.endpoint, "panic").await.unwrap()).await;
    let outcome = last_outcome(&frames);
    assert_eq!(outcome.reason, Some(Reason::InternalError));
    assert!(!outcome.message.contains("as asked"), "{}", outcome.message);
}

#[tokio::test]
async fn a_reader_may_come_back_anywhere_and_gets_exactly_the_rest() {
    let worker = start([]).await;
    let mut events = play(&worker.endpoint, "many").await.unwrap();
    while events.position() < 3002 {
        events.next_batch().await.unwrap();
    }
    let mut readers = Vec::new();
    for after in [0, 1, 2, 64, 65, 66, 1500, 3000, 3001] {
        let endpoint = worker.endpoint.clone();
        let mut reader = EventStream::new(endpoint, events.job(), after, Patience::WORKER);
        let frames = reader.next_batch().await.unwrap().unwrap();
        readers.push((after, frames, reader));
    }
    worker.endpoint.cancel(events.job()).await.unwrap();
    for (after, mut frames, reader) in readers {
        frames.extend(read_all(reader).await);
        assert_eq!(ids(&frames), (after + 1..=3003).collect::<Vec<u64>>());
    }
}

#[tokio::test]
async fn a_job_that_is_stopped_says_for_which_reason() {
    for (reason, state, message) in [
        (Reason::CancelRequested, State::Cancelled, "the caller cancelled the job"),
        (Reason::Superseded, State::Cancelled, "a newer job"),
        (Reason::WorkerStopped, State::Failed, "was told to stop"),
        (Reason::WorkerLost, State::Failed, "was taken for lost"),
        (Reason::DiskFull, State::Failed, "the job was asked to end: disk_full"),
    ] {
        let worker = start([]).await;
        let events = play(&worker.endpoint, "wait").await.unwrap();
        worker.endpoint.stop(events.job(), reason).await.unwrap();
        let outcome = last_outcome(&read_all(events).await);
        assert_eq!((outcome.state, outcome.reason), (state, Some(reason)));
        assert!(outcome.message.contains(message), "{}", outcome.message);
    }
}

#[tokio::test]
async fn a_job_that_nobody_reads_ends_as_caller_lost_and_the_worker_exits_unreported() {
    let worker = start([("ONESHIFT_READER_WAIT_SECONDS", "1")]).await;
    drop(play(&worker.endpoint, "wait").await.unwrap());
    assert_eq!(worker.exit.await.unwrap().unwrap(), Exit::Unreported);
}

#[tokio::test]
async fn a_reader_that_is_connected_but_never_reads_is_nobody() {
    use tokio::io::AsyncWriteExt;
    let worker = start([("ONESHIFT_READER_WAIT_SECONDS", "1")]).await;
    let address = worker.endpoint.base().trim_start_matches("http://");
    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    let post = "POST /api/play HTTP/1.1\r\nhost: localhost\r\ncontent-length: 17\r\n\r\n{\"scene\":\"flood\"}";
    silent.write_all(post.as_bytes()).await.unwrap();
    assert_eq!(worker.exit.await.unwrap().unwrap(), Exit::Unreported);
    drop(silent);
}

#[tokio::test]
async fn a_reader_that_is_back_in_time_keeps_the_job_alive() {
    let worker = start([("ONESHIFT_READER_WAIT_SECONDS", "2")]).await;
    let events = play(&worker.endpoint, "wait").await.unwrap();
    let job = events.job();
    drop(events);
    let back = EventStream::new(worker.endpoint.clone(), job, 0, Patience::WORKER);
    let reading = tokio::spawn(read_all(back));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    worker.endpoint.cancel(job).await.unwrap();
    assert_eq!(last_outcome(&reading.await.unwrap()).reason, Some(Reason::CancelRequested));
}

#[tokio::test]
async fn an_idle_worker_ends_at_the_first_signal() {
    let worker = start([]).await;
    worker.signal.send(()).await.unwrap();
    assert_eq!(worker.exit.await.unwrap().unwrap(), Exit::Idle);
}

#[tokio::test]
async fn a_busy_worker_that_is_drained_fails_its_job_as_worker_stopped() {
    let worker = start([("ONESHIFT_DRAIN_SECONDS", "0")]).await;
    let events = play(&worker.endpoint, "wait").await.unwrap();
    worker.signal.send(()).await.unwrap();
    let outcome = last_outcome(&read_all(events).await);
    assert_eq!((outcome.reason, outcome.retryable), (Some(Reason::WorkerStopped), true));
}

#[tokio::test]
async fn a_job_that_ignores_its_stop_is_ended_without_its_help() {
    let worker = start([("ONESHIFT_DRAIN_SECONDS", "0")]).await;
    let events = play(&worker.endpoint, "hang").await.unwrap();
    worker.endpoint.cancel(events.job()).await.unwrap();
    assert_eq!(last_outcome(&read_all(events).await).state, State::Cancelled);
}

#[tokio::test]
async fn the_same_attempt_posted_again_is_the_same_job_and_another_is_refused() {
    let worker = start([]).await;
    let (job, body) = (JobId::random(), json!({ "scene": "wait" }));
    let post = |attempt| {
        let submission = Submission {
            path: "/api/play",
            body: &body,
            job: Some(NamedJob { id: job, attempt, needs_confirmation: false }),
            idempotency_key: None,
        };
        worker.endpoint.submit(submission, Patience::WORKER)
    };
    let first = post(1).await.unwrap();
    let again = post(1).await.unwrap();
    assert_eq!((first.job(), again.job()), (job, job));
    assert_eq!(post(2).await.unwrap_err().code(), Some(ErrorCode::Busy));
}

#[tokio::test]
async fn an_outcome_that_must_be_confirmed_is_kept_until_it_is() {
    let worker = start([]).await;
    let (id, body) = (JobId::random(), json!({ "scene": "fail" }));
    let job = Some(NamedJob { id, attempt: 1, needs_confirmation: true });
    let submission = Submission { path: "/api/play", body: &body, job, idempotency_key: None };
    let events = worker.endpoint.submit(submission, Patience::WORKER).await.unwrap();
    assert_eq!(ids(&read_all(events).await), [1, 2, 3]);
    let again = EventStream::new(worker.endpoint.clone(), id, 1, Patience::WORKER);
    assert_eq!(ids(&read_all(again).await), [2, 3]);
    assert!(!worker.exit.is_finished());
    worker.endpoint.confirm(id, 3).await.unwrap();
    assert_eq!(worker.exit.await.unwrap().unwrap(), Exit::Reported(State::Failed));
}

#[tokio::test]
async fn a_strangers_web_page_cannot_give_a_job_to_a_worker_without_a_token() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let worker = start([]).await;
    let host = worker.endpoint.base().strip_prefix("http://").unwrap();
    let mut line = tokio::net::TcpStream::connect(host).await.unwrap();
    let body = r#"{"scene":"fail"}"#;
    let request = format!(
        "POST /api/play HTTP/1.1\r\nHost: {host}\r\nOrigin: https://evil.example\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    line.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(play(&worker.endpoint, "fail").await.is_ok());
}

#[tokio::test]
async fn a_bad_position_is_refused() {
    let worker = start([]).await;
    let events = play(&worker.endpoint, "wait").await.unwrap();
    for after in [3, u64::MAX] {
        let mut events =
            EventStream::new(worker.endpoint.clone(), events.job(), after, Patience::WORKER);
        assert_eq!(events.next_batch().await.unwrap_err().code(), Some(ErrorCode::Malformed));
    }
    let mut unknown =
        EventStream::new(worker.endpoint.clone(), JobId::random(), 0, Patience::WORKER);
    assert_eq!(unknown.next_batch().await.unwrap_err().code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn the_inside_asks_for_the_cluster_token() {
    let worker = start([("ONESHIFT_CLUSTER_TOKEN", "hush")]).await;
    let error = play(&worker.endpoint, "fail").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unauthorized));
    let inside = Endpoint::new(worker.endpoint.base(), Some("hush".into())).unwrap();
    assert_eq!(inside.status().await.unwrap().status, protocol::worker::Busyness::Idle);
    read_all(play(&inside, "fail").await.unwrap()).await;
}
