//! Workers on bad lines: the handover breaks off, the worker hangs, or it comes back too late.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use service::client::Attachment;
use service::one_shot::Exit;
use service::protocol::job::JobState;
use service::protocol::worker::{Attach, RunningJob};
use service::protocol::{State, WorkerId, WorkerKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Gateway, assert_whole, attempts, cancel, job, outcome, read_all, read_until};
use crate::worker::Worker;

/// What happens to the first connection; all others are passed through.
#[derive(Clone, Copy, PartialEq)]
enum First {
    /// It is passed through as well.
    Passes,
    /// It is cut before the worker has seen anything of it.
    CutBefore,
    /// It is cut when the worker answers.
    CutAfter,
}

/// What happens to the whole line.
#[derive(Clone, Copy, PartialEq)]
enum Weather {
    Fair,
    /// Connections stay open, and nothing passes any more.
    Frozen,
    /// Nothing listens any more.
    Gone,
}

/// A line to a worker.
struct Line {
    port: u16,
    weather: watch::Sender<Weather>,
    _serving: AbortOnDropHandle<()>,
}

impl Line {
    async fn to(worker: &Worker, first: First) -> Self {
        let target: SocketAddr = worker.url.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (weather, forecast) = watch::channel(Weather::Fair);
        let serving = tokio::spawn(serve(listener, target, first, forecast));
        Self { port, weather, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Tells the gateway that a worker is at this end.
    async fn attach(&self, gateway: &Gateway) -> (WorkerId, Attachment) {
        let attach = attach(WorkerId::random(), self.port);
        (attach.id, gateway.inside().attach(&attach).await.unwrap())
    }
}

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    first: First,
    mut weather: watch::Receiver<Weather>,
) {
    let count = Arc::new(AtomicUsize::new(0));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let client = tokio::select! {
            client = listener.accept() => client.unwrap().0,
            gone = weather.wait_for(|weather| *weather == Weather::Gone) => {
                gone.unwrap();
                return;
            }
        };
        let first = match count.fetch_add(1, Ordering::Relaxed) {
            0 => first,
            _ => First::Passes,
        };
        let mut weather = weather.clone();
        connections.spawn(async move {
            let mut client = client;
            let frozen = async {
                if weather.wait_for(|weather| *weather == Weather::Frozen).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            // Whatever was passed on is kept open while it is frozen.
            let mut worker = TcpStream::connect(target).await.unwrap();
            tokio::select! {
                () = pass(&mut client, &mut worker, first) => return,
                () = frozen => {}
            }
            std::future::pending::<()>().await;
        });
    }
}

async fn pass(client: &mut TcpStream, worker: &mut TcpStream, first: First) {
    let mut bytes = [0; 16 * 1024];
    match first {
        First::Passes => drop(copy_bidirectional(client, worker).await),
        First::CutBefore => drop(client.read(&mut bytes).await),
        First::CutAfter => loop {
            tokio::select! {
                read = client.read(&mut bytes) => {
                    let read = read.unwrap();
                    worker.write_all(&bytes[..read]).await.unwrap();
                }
                _ = worker.readable() => return,
            }
        },
    }
}

fn attach(id: WorkerId, port: u16) -> Attach {
    Attach {
        id,
        kind: WorkerKind::Workflow,
        port,
        workspace: None,
        node: "node-2".to_owned(),
        agents: Vec::new(),
        version: "1".to_owned(),
        job: None,
        is_leaving: false,
        succeeds: None,
    }
}

#[tokio::test]
async fn a_job_whose_handover_broke_off_after_the_worker_took_it_is_followed_there() {
    let gateway = Gateway::start().await;
    let mut worker = Worker::unattached(&gateway).await;
    let line = Line::to(&worker, First::CutAfter).await;
    let _attached = line.attach(&gateway).await;
    let frames = read_all(gateway.submit(job("hello\npatch it")).await).await;
    assert_whole(&frames);
    assert_eq!((attempts(&frames), outcome(&frames).state), (vec![1], State::Completed));
    assert_eq!((&mut worker.exit).await.unwrap(), Exit::Reported(State::Completed));
}

#[tokio::test]
async fn a_job_whose_handover_broke_off_before_that_goes_to_another_and_costs_no_attempt() {
    let gateway = Gateway::start().await;
    let worker = Worker::unattached(&gateway).await;
    let line = Line::to(&worker, First::CutBefore).await;
    let _attached = line.attach(&gateway).await;
    let mut stream = gateway.submit(job("hello")).await;
    read_until(&mut stream, "queued").await;
    let _other = Worker::workflow(&gateway).await;
    let frames = read_all(stream).await;
    assert_eq!((attempts(&frames), outcome(&frames).state), (vec![1], State::Completed));
    assert!(!worker.exit.is_finished(), "the first worker has had the job as well");
}

#[tokio::test]
async fn a_worker_that_hangs_is_replaced_long_before_its_connections_time_out() {
    let gateway = Gateway::start().await;
    let worker = Worker::unattached(&gateway).await;
    let line = Line::to(&worker, First::Passes).await;
    let (_, attached) = line.attach(&gateway).await;
    let mut stream = gateway.submit(job("hello\nholdonce")).await;
    read_until(&mut stream, "agent").await;
    line.weather.send_replace(Weather::Frozen);
    drop(attached);
    let other = Worker::workflow(&gateway).await;
    // By their connections alone it would take 65 s.
    let replaced = tokio::time::timeout(Duration::from_secs(45), read_all(stream)).await;
    let frames = replaced.expect("the worker is replaced");
    assert_eq!((attempts(&frames), outcome(&frames).state), (vec![2], State::Completed));
    drop(other);
}

/// A worker that looks idle and hangs.
async fn hanging(gateway: &Gateway) -> (Worker, Line, Attachment) {
    let worker = Worker::unattached(gateway).await;
    let line = Line::to(&worker, First::Passes).await;
    line.weather.send_replace(Weather::Frozen);
    let (_, attached) = line.attach(gateway).await;
    (worker, line, attached)
}

#[tokio::test]
async fn a_job_that_is_given_to_a_worker_that_hangs_goes_to_another() {
    let gateway = Gateway::start().await;
    let _hanging = hanging(&gateway).await;
    let stream = gateway.submit(job("hello")).await;
    gateway.workers("workflow", "busy", 1).await;
    let _other = Worker::workflow(&gateway).await;
    // Until the answer is given up it would take 30 s, and the same again until the worker is.
    let replaced = tokio::time::timeout(Duration::from_secs(25), read_all(stream)).await;
    let frames = replaced.expect("the worker is replaced");
    assert_eq!((attempts(&frames), outcome(&frames).state), (vec![2], State::Completed));
}

#[tokio::test]
async fn a_job_that_is_given_to_a_worker_that_hangs_can_be_cancelled() {
    let gateway = Gateway::start().await;
    let _hanging = hanging(&gateway).await;
    let stream = gateway.submit(job("hello")).await;
    gateway.until(stream.job(), JobState::Running).await;
    let (status, _) = cancel(&gateway, stream.job()).await;
    assert!(matches!(status, 200 | 202), "{status}");
    // Until the answer is given up it would take 30 s.
    let ended = tokio::time::timeout(Duration::from_secs(15), read_all(stream)).await;
    let frames = ended.expect("the job is cancelled");
    assert_whole(&frames);
    assert_eq!(outcome(&frames).state, State::Cancelled);
}

#[tokio::test]
async fn a_worker_that_comes_back_with_an_earlier_attempt_is_told_to_stop() {
    let gateway = Gateway::start().await;
    let mut first = Worker::unattached(&gateway).await;
    let line = Line::to(&first, First::Passes).await;
    let (id, attached) = line.attach(&gateway).await;
    let mut stream = gateway.submit(job("hello\nhold\nhello")).await;
    let job = stream.job();
    let mut frames = read_until(&mut stream, "agent").await;
    drop(attached);
    line.weather.send_replace(Weather::Gone);
    let second = Worker::workflow(&gateway).await;
    frames.extend(read_until(&mut stream, "started").await);
    let port = first.url.rsplit(':').next().unwrap().parse().unwrap();
    let back = Attach { job: Some(RunningJob { id: job, attempt: 1 }), ..attach(id, port) };
    let _back = gateway.inside().attach(&back).await.unwrap();
    assert_eq!((&mut first.exit).await.unwrap(), Exit::Reported(State::Cancelled));
    second.go_on();
    frames.extend(read_all(stream).await);
    assert_whole(&frames);
    assert_eq!((attempts(&frames), outcome(&frames).state), (vec![1, 2], State::Completed));
}
