//! A gateway in this process, and what tests ask of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::{Config, StartError, Tokens};
use secrecy::SecretString;
use serde_json::{Value, json};
use service::auth::ClusterTokens;
use service::client::{Endpoint, EventStream, JobFilter, Patience, Submission};
use service::protocol::event::Event;
use service::protocol::job::{Job as View, JobState};
use service::protocol::sse::Frame;
use service::protocol::{JobId, Outcome, Payload};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const CLUSTER_TOKEN: &str = "the inside's own secret";

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) data: Arc<TempDir>,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), StartError>>,
}

/// How a test's gateway differs from the usual one.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) tokens: Option<&'static str>,
    pub(crate) reattach: Option<Duration>,
    pub(crate) max_event_bytes: Option<u64>,
    pub(crate) max_queued: Option<usize>,
    pub(crate) data: Option<Arc<TempDir>>,
    pub(crate) address: Option<SocketAddr>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let data = setup.data.unwrap_or_else(|| Arc::new(tempfile::tempdir().unwrap()));
        let address = setup.address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config {
            listen: address,
            data: data.path().to_owned(),
            cluster_token: SecretString::from(CLUSTER_TOKEN),
            accepted: ClusterTokens::of(&SecretString::from(CLUSTER_TOKEN)),
            tokens: setup.tokens.map(|text| Tokens::parse(text).unwrap()),
            max_queued: setup.max_queued.unwrap_or(1000),
            max_event_bytes: setup.max_event_bytes.unwrap_or(256 * 1024 * 1024),
            keep_jobs: Some(Duration::from_secs(24 * 3600)),
            reattach: setup.reattach.unwrap_or(Duration::from_secs(30)),
            store_wait: Duration::from_secs(5),
        };
        let stop = CancellationToken::new();
        let serving =
            tokio::spawn(gateway::serve(config, listener, stop.clone().cancelled_owned()));
        Self { address, data, stop, serving }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.url(""), None).unwrap()
    }

    pub(crate) fn as_caller(&self, token: &str) -> Endpoint {
        Endpoint::new(&self.url(""), Some(SecretString::from(token))).unwrap()
    }

    pub(crate) fn inside(&self) -> Endpoint {
        self.as_caller(CLUSTER_TOKEN)
    }

    pub(crate) fn http(&self) -> reqwest::Client {
        // Installs the provider that reqwest is told not to bring along.
        self.endpoint();
        reqwest::Client::builder().tls_certs_only([]).build().unwrap()
    }

    pub(crate) async fn stop(self) -> (SocketAddr, Arc<TempDir>) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        (self.address, self.data)
    }

    pub(crate) async fn restart(self) -> Self {
        self.restart_with(Setup::default()).await
    }

    pub(crate) async fn restart_with(self, setup: Setup) -> Self {
        let (address, data) = self.stop().await;
        Self::with(Setup { data: Some(data), address: Some(address), ..setup }).await
    }

    pub(crate) async fn submit(&self, body: Value) -> EventStream {
        submit(&self.endpoint(), &body).await
    }

    pub(crate) async fn view(&self, id: JobId) -> View {
        self.endpoint().job(id).await.unwrap()
    }

    /// Waits until the job is in this state.
    pub(crate) async fn until(&self, id: JobId, state: JobState) -> View {
        loop {
            let view = self.view(id).await;
            if view.state == state {
                return view;
            }
            assert!(!view.state.is_terminal(), "{view:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many workers of this kind are in this state.
    pub(crate) async fn workers(&self, kind: &str, state: &str, count: u64) {
        let http = self.http();
        loop {
            let text = http.get(self.url("/health")).send().await.unwrap().text().await.unwrap();
            let health: Value = serde_json::from_str(&text).unwrap();
            if health["workers"][kind][state] == json!(count) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) fn job(prompt: &str) -> Value {
    json!({ "prompt": prompt, "repoUrl": "https://bob:s3cret@host.example/org/repo" })
}

pub(crate) fn job_with(prompt: &str, extra: Value) -> Value {
    let mut body = job(prompt);
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

pub(crate) fn submission(body: &Value) -> Submission<'_> {
    Submission { path: "/api/workflow", body, job: None, idempotency_key: None }
}

pub(crate) async fn submit(endpoint: &Endpoint, body: &Value) -> EventStream {
    endpoint.submit(submission(body), Patience::GATEWAY).await.unwrap()
}

/// All of a job's events.
pub(crate) fn follow(gateway: &Gateway, id: JobId) -> EventStream {
    EventStream::new(gateway.endpoint(), id, 0, Patience::GATEWAY)
}

/// Reads until an event of this name, which is the last of those returned.
pub(crate) async fn read_until(stream: &mut EventStream, name: &str) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(batch) = stream.next_batch().await.unwrap() {
        frames.extend(batch);
        if frames.iter().any(|frame| frame.event == name) {
            return frames;
        }
    }
    panic!("no {name} in {frames:?}");
}

pub(crate) async fn read_all(mut stream: EventStream) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(batch) = stream.next_batch().await.unwrap() {
        frames.extend(batch);
    }
    frames
}

pub(crate) fn names(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.event.as_str()).collect()
}

pub(crate) fn event(frame: &Frame) -> Event {
    serde_json::from_str(&frame.data).unwrap()
}

pub(crate) fn outcome(frames: &[Frame]) -> Outcome {
    event(frames.last().unwrap()).payload.outcome().unwrap().clone()
}

/// The ids are 1, 2, 3, … and only the last event is a terminal one.
pub(crate) fn assert_whole(frames: &[Frame]) {
    let ids: Vec<u64> = frames.iter().map(|frame| frame.id).collect();
    assert_eq!(ids, (1..=frames.len() as u64).collect::<Vec<_>>());
    let ends = frames.iter().filter(|frame| service::protocol::event::is_terminal(&frame.event));
    assert_eq!(ends.count(), 1);
}

/// All jobs that an endpoint lists.
pub(crate) async fn list(endpoint: &Endpoint) -> Vec<JobId> {
    let page = endpoint.jobs(&JobFilter::default()).await.unwrap();
    page.jobs.into_iter().map(|job| job.id).collect()
}

/// The attempts that a stream says were started.
pub(crate) fn attempts(frames: &[Frame]) -> Vec<u32> {
    let attempt = |frame| match event(frame).payload {
        Payload::Started { attempt, .. } => Some(attempt),
        _ => None,
    };
    frames.iter().filter_map(attempt).collect()
}

/// The status and the sentence with which a wish for a job's end is answered.
pub(crate) async fn cancel(gateway: &Gateway, id: JobId) -> (u16, String) {
    let url = gateway.url(&format!("/api/jobs/{id}"));
    let answer = gateway.http().delete(url).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(body["id"], id.to_string(), "it is the job as well");
    (status, body["message"].as_str().unwrap().to_owned())
}

/// Nothing about any job can be written into a gateway's store until this is dropped.
pub(crate) struct Unwritable(rusqlite::Connection);

impl Unwritable {
    pub(crate) fn store_of(gateway: &Gateway) -> Self {
        let file = rusqlite::Connection::open(gateway.data.path().join("oneshift.db")).unwrap();
        file.busy_timeout(Duration::from_secs(5)).unwrap();
        let fail = "BEGIN SELECT RAISE(FAIL, 'as the test asks'); END";
        let sql = format!(
            "CREATE TRIGGER no_job BEFORE INSERT ON jobs {fail};
             CREATE TRIGGER no_change BEFORE UPDATE ON jobs {fail};"
        );
        file.execute_batch(&sql).unwrap();
        Self(file)
    }
}

impl Drop for Unwritable {
    fn drop(&mut self) {
        self.0.execute_batch("DROP TRIGGER no_job; DROP TRIGGER no_change").unwrap();
    }
}
