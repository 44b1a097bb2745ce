//! Real workers that do what a test's prompt says, and that can be killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use service::auth::ClusterTokens;
use service::client::Endpoint;
use service::one_shot::{Exit, Job, OneShot, OneShotConfig, Shift};
use service::protocol::event::{AgentEvent, Encoding, StepEvent, StepState, Stream};
use service::protocol::outcome::{Changes, Usage};
use service::protocol::request::{DeliverRequest, ExecuteRequest, PullRequest, WorkflowRequest};
use service::protocol::{Outcome, Payload, Reason, Step, WorkerId, WorkerKind, WorkspaceId};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::support::{CLUSTER_TOKEN, Gateway};

/// A worker with a runtime of its own, so that it can be killed.
pub(crate) struct Worker {
    runtime: Option<tokio::runtime::Runtime>,
    /// A job that holds goes on when this has a permit.
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) exit: JoinHandle<Exit>,
    /// What stands for its signals.
    stop: mpsc::Sender<()>,
    pub(crate) id: WorkerId,
    pub(crate) url: String,
    /// Where it attaches.
    pub(crate) gateway: SocketAddr,
}

impl Worker {
    pub(crate) async fn workflow(gateway: &Gateway) -> Self {
        Self::start(gateway, WorkerKind::Workflow, None).await
    }

    /// One that the gateway does not hear of from itself.
    pub(crate) async fn unattached(gateway: &Gateway) -> Self {
        Self::attached_to(Vec::new(), gateway, (WorkerKind::Workflow, None), "").await
    }

    /// A git-pull whose deliveries do what the lines of `script` say.
    pub(crate) async fn delivering(
        gateway: &Gateway,
        workspace: Option<WorkspaceId>,
        script: &str,
    ) -> Self {
        let gateways = vec![gateway.inside()];
        Self::attached_to(gateways, gateway, (WorkerKind::GitPull, workspace), script).await
    }

    pub(crate) async fn start(
        gateway: &Gateway,
        kind: WorkerKind,
        workspace: Option<WorkspaceId>,
    ) -> Self {
        Self::attached_to(vec![gateway.inside()], gateway, (kind, workspace), "").await
    }

    async fn attached_to(
        gateways: Vec<Endpoint>,
        gateway: &Gateway,
        (kind, workspace): (WorkerKind, Option<WorkspaceId>),
        script: &str,
    ) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let config = OneShotConfig {
            id: WorkerId::random(),
            kind,
            listen: "127.0.0.1:0".parse().unwrap(),
            gateways,
            cluster_token: Some(SecretString::from(CLUSTER_TOKEN)),
            accepted: ClusterTokens::of(&SecretString::from(CLUSTER_TOKEN)),
            workspace,
            node: "node-1".to_owned(),
            drain: Duration::from_secs(30),
            reader_wait: Duration::from_secs(20),
            exit_with_job: false,
            succeeds: None,
            is_leaving: false,
        };
        let id = config.id;
        let gate = Arc::new(Semaphore::new(0));
        let deliver = Deliver { gate: Arc::clone(&gate), script: script.to_owned() };
        let script = Script { gate: Arc::clone(&gate) };
        let (bound, listening) = tokio::sync::oneshot::channel();
        let (stop, stops) = mpsc::channel(1);
        let running = runtime.spawn(async move {
            let listener = TcpListener::bind(config.listen).await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            let one_shot = OneShot::new(config).shift(script).shift(Pull).shift(Execute);
            let one_shot = one_shot.shift(deliver);
            one_shot.run(listener, stops).await.unwrap()
        });
        let url = format!("http://{}", listening.await.unwrap());
        let (runtime, exit, gateway) = (Some(runtime), running, gateway.address);
        Self { runtime, gate, exit, stop, id, url, gateway }
    }

    pub(crate) fn go_on(&self) {
        self.gate.add_permits(1);
    }

    /// As SIGTERM.
    pub(crate) async fn tell_to_stop(&self) {
        self.stop.send(()).await.unwrap();
    }

    /// Waits until it has exited by itself.
    pub(crate) async fn exits(&mut self) -> Exit {
        (&mut self.exit).await.unwrap()
    }

    /// As `kill -STOP`: its sockets stay open, and it does nothing, until what is returned is
    /// dropped.
    pub(crate) fn freeze(&self) -> std::sync::mpsc::Sender<()> {
        let (thaw, thawed) = std::sync::mpsc::channel();
        // Its only thread waits.
        self.runtime.as_ref().unwrap().spawn(async move { thawed.recv().unwrap_err() });
        thaw
    }

    /// As `kill -9`: all its sockets close, nothing is said.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Does what the lines of the prompt say.
struct Script {
    gate: Arc<Semaphore>,
}

impl Shift for Script {
    type Request = WorkflowRequest;
    const ROUTE: &'static str = "workflow";

    async fn run(&self, request: WorkflowRequest, job: Job) -> Outcome {
        for line in request.prompt.lines() {
            let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
            match command {
                "hello" => say(&job, "hello"),
                "say" => say(&job, rest),
                "agent" => {
                    let step = StepEvent::new(Step::Execute, StepState::Started);
                    job.emit(Payload::Step(Box::new(step)));
                }
                "pulled" => pulled(&job, rest),
                "used" => used(&job, rest.parse().unwrap()),
                "deliver" => delivery(&job, rest),
                "patch" => patch(&job, rest, None),
                "patchonce" if job.attempt() == 1 => patch(&job, rest, None),
                "patch64" => patch(&job, rest, Some(Encoding::Base64)),
                "flood" => (0..rest.parse().unwrap()).for_each(|n: u32| say(&job, &n.to_string())),
                "hold" => {
                    tokio::select! {
                        stop = job.stopped() => return stop.into_outcome(),
                        permit = self.gate.acquire() => permit.unwrap().forget(),
                    }
                }
                "url" => {
                    say(&job, request.repo_url.expose().expose_secret());
                }
                "deaf" => std::future::pending().await,
                "fail" => {
                    let reason: Reason = serde_json::from_value(json!(rest)).unwrap();
                    return Outcome::failed(reason, "as the script says");
                }
                "limit" => return limited(rest),
                "limitonce" if job.attempt() == 1 => return limited(rest),
                "failonce" if job.attempt() == 1 => {
                    return Outcome::failed(Reason::RateLimited, "too many");
                }
                "holdonce" if job.attempt() == 1 => {
                    return job.stopped().await.into_outcome();
                }
                _ => {}
            }
        }
        Outcome::completed("done")
    }
}

fn pulled(job: &Job, commit: &str) {
    let mut step = StepEvent::new(Step::Pull, StepState::Completed);
    (step.commit, step.branch) = (Some(commit.to_owned()), Some("main".to_owned()));
    step.duration_ms = Some(11);
    job.emit(Payload::Step(Box::new(step)));
}

fn used(job: &Job, output_tokens: u64) {
    let usage = Usage { output_tokens, ..Usage::default() };
    job.emit(Payload::Agent(AgentEvent::Usage { usage }));
}

/// Says where a delivery stands; when it is complete, that one file has changed.
fn delivery(job: &Job, state: &str) {
    let state: StepState = serde_json::from_value(json!(state)).unwrap();
    let mut step = StepEvent::new(Step::Deliver, state);
    if state == StepState::Completed {
        step.changes = Some(CHANGES);
    }
    job.emit(Payload::Step(Box::new(step)));
}

const CHANGES: Changes = Changes { files: 1, insertions: 2, deletions: 3 };

/// The quota is there again after so many seconds.
fn limited(seconds: &str) -> Outcome {
    let seconds = jiff::SignedDuration::from_secs(seconds.parse().unwrap());
    let retry_at = Some(jiff::Timestamp::now() + seconds);
    Outcome { retry_at, ..Outcome::failed(Reason::RateLimited, "as the script says") }
}

fn say(job: &Job, text: &str) {
    job.emit(Payload::Agent(AgentEvent::Message { text: text.to_owned() }));
}

fn patch(job: &Job, text: &str, encoding: Option<Encoding>) {
    let (step, text) = (Step::Deliver, text.to_owned());
    job.emit(Payload::Output { step, stream: Stream::Patch, text, encoding });
}

struct Pull;

impl Shift for Pull {
    type Request = PullRequest;
    const ROUTE: &'static str = "pull";

    async fn run(&self, _: PullRequest, _: Job) -> Outcome {
        Outcome::completed("pulled")
    }
}

/// An agent that goes on until it is stopped. Its prompt may say that it then takes for ever.
struct Execute;

impl Shift for Execute {
    type Request = ExecuteRequest;
    const ROUTE: &'static str = "execute";

    async fn run(&self, request: ExecuteRequest, job: Job) -> Outcome {
        job.emit(Payload::Step(Box::new(StepEvent::new(Step::Execute, StepState::Started))));
        let stop = job.stopped().await;
        if request.prompt == "deaf" {
            std::future::pending().await
        }
        say(&job, "last words");
        let mut outcome = stop.into_outcome();
        outcome.usage = Some(Usage { output_tokens: 77, ..Usage::default() });
        outcome.session_id = Some("a session".to_owned());
        (outcome.exit_code, outcome.result) = (Some(143), Some("not yet".to_owned()));
        outcome.durations.execute_ms = Some(22);
        outcome
    }
}

struct Deliver {
    gate: Arc<Semaphore>,
    script: String,
}

impl Shift for Deliver {
    type Request = DeliverRequest;
    const ROUTE: &'static str = "deliver";

    async fn run(&self, request: DeliverRequest, job: Job) -> Outcome {
        for line in self.script.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("deliver", "completed") => {
                    delivery(&job, "completed");
                    let mut outcome = Outcome::completed("delivered");
                    outcome.changes = Some(CHANGES);
                    outcome.durations.deliver_ms = Some(33);
                    return outcome;
                }
                ("deliver", state) => delivery(&job, state),
                ("patch", text) => patch(&job, text, None),
                ("base", base) => assert_eq!(request.base.as_deref(), Some(base)),
                ("fail", _) => return Outcome::failed(Reason::DiskFull, "the disk is full"),
                ("hold", _) => {
                    tokio::select! {
                        stop = job.stopped() => return stop.into_outcome(),
                        permit = self.gate.acquire() => permit.unwrap().forget(),
                    }
                }
                (other, _) => panic!("{other} is no line of a delivery"),
            }
        }
        std::future::pending().await
    }
}
