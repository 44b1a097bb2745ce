//! A worker's life: wait for the job, see it through, exit.

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use client::Endpoint;
use protocol::event::Payload;
use protocol::worker::Cause;
use protocol::{Outcome, Reason, State};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::attach::stay_attached;
use super::config::OneShotConfig;
use super::job::{Job, Stop};
use super::openapi;
use super::routes::{self, Prepare, Work, Worker};
use super::shift::Shift;
use super::slot::Slot;
use crate::hardening::Supervisor;
use crate::serve::{self, serve};

/// How long a job may take to end after it was asked to, before it is ended without its help.
const STOP_GRACE: Duration = Duration::from_secs(8);

/// How long the last bytes may take to reach their readers once one reader has all.
const LINGER: Duration = Duration::from_secs(5);

/// How long an outcome waits for its reader when the supervisor is dead, and the gateway with it: a
/// workflow of the same supervisor may still read its steps' outcomes.
const FAREWELL: Duration = Duration::from_secs(1);

/// Before a gateway that still needs an idle worker is asked again; usually it has taken its time.
const DEPARTURE_PAUSE: Duration = Duration::from_millis(200);

/// A worker serves its gateway, its caller and a few curious people.
const MAX_CONNECTIONS: usize = 256;

/// How long a reader may take nothing: long, because a gateway whose disk is full has to.
const UNREAD: Duration = Duration::from_secs(300);

/// A one-job server; add what it can do with [`OneShot::shift`].
pub struct OneShot {
    config: OneShotConfig,
    shifts: Vec<(&'static str, Prepare)>,
    openapi: Vec<openapi::Route>,
    supervisor: Option<Supervisor>,
    agents: Vec<String>,
    has_successor: bool,
}

/// How a worker's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was stopped before any job came.
    Idle,
    /// Its job's outcome was read; this is its state.
    Reported(State),
    /// Nobody read the outcome.
    Unreported,
}

impl OneShot {
    /// A server that can do nothing yet.
    #[must_use]
    pub fn new(config: OneShotConfig) -> Self {
        Self {
            config,
            shifts: Vec::new(),
            openapi: Vec::new(),
            agents: Vec::new(),
            supervisor: None,
            has_successor: false,
        }
    }

    /// Says who keeps the worker running, if anybody does: when that one is dead, nothing is worth
    /// waiting for.
    #[must_use]
    pub fn kept_by(self, supervisor: Option<Supervisor>) -> Self {
        Self { supervisor, ..self }
    }

    /// Has the process begin anew after its job when it was told to stop, or when no other worker of
    /// its kind is left in a workspace in which jobs have files. Only for workers that run nothing of a
    /// job's own.
    #[must_use]
    pub fn with_successor(self) -> Self {
        Self { has_successor: true, ..self }
    }

    /// Whether somebody could need a successor.
    pub(crate) fn may_be_followed(&self) -> bool {
        self.has_successor && !gateways_that_count_on(&self.config).is_empty()
    }

    /// Says which agents the worker has, the one that it chooses by itself first.
    #[must_use]
    pub fn with_agents(mut self, agents: impl IntoIterator<Item = String>) -> Self {
        self.agents = agents.into_iter().collect();
        self
    }

    /// Adds a kind of job. All kinds share the one place for a job.
    #[must_use]
    pub fn shift<S: Shift>(mut self, shift: S) -> Self {
        self.openapi.push(openapi::Route::new::<S::Request>(S::ROUTE));
        self.shifts.push((S::ROUTE, routes::prepare(Arc::new(shift))));
        self
    }

    /// What the worker reads from the environment.
    #[must_use]
    pub fn config(&self) -> &OneShotConfig {
        &self.config
    }

    /// Serves on `listener` until the job is done and read, or `stop` yields while idle. Each item
    /// of `stop` is one signal: the first starts the drain time of a busy worker, the next ends it.
    ///
    /// # Errors
    /// When the listener has no address.
    pub async fn run(
        self,
        listener: TcpListener,
        stop: mpsc::Receiver<()>,
    ) -> std::io::Result<Exit> {
        self.run_and_retire(listener, stop).await.map(|(exit, _)| exit)
    }

    /// The same; says also whether somebody must stay in its place.
    pub(crate) async fn run_and_retire(
        self,
        listener: TcpListener,
        stop: mpsc::Receiver<()>,
    ) -> std::io::Result<(Exit, bool)> {
        let port = listener.local_addr()?.port();
        let slot = Arc::new(Slot::default());
        if self.config.is_leaving {
            slot.set_leaving();
        }
        let (start, jobs) = mpsc::channel(1);
        let worker = Worker {
            slot: Arc::clone(&slot),
            kind: self.config.kind,
            start,
            openapi: self.openapi.into(),
        };
        let router = routes::router(worker, self.shifts, &self.config);
        let config = Arc::new(self.config);
        let agents: Arc<[String]> = self.agents.into();
        let mut lines = JoinSet::new();
        for gateway in config.gateways.clone() {
            let (config, slot) = (Arc::clone(&config), Arc::clone(&slot));
            lines.spawn(stay_attached(gateway, config, Arc::clone(&agents), port, slot));
        }
        let done = CancellationToken::new();
        let limits = serve::Limits { connections: MAX_CONNECTIONS, unread: UNREAD, linger: LINGER };
        let server = tokio::spawn(serve(listener, router, limits, done.clone().cancelled_owned()));
        let (supervisor, has_successor) = (self.supervisor, self.has_successor);
        let may_stay =
            |exit, slot: &Slot| has_successor && exit != Exit::Idle && !slot.is_leaving();
        let life = Life {
            config: Arc::clone(&config),
            slot: Arc::clone(&slot),
            jobs,
            stop,
            supervisor,
            drain_end: None,
        };
        let exit = life.live().await;
        let must_stay = may_stay(exit, &slot) && !may_retire(&config).await;
        done.cancel();
        let _ = server.await;
        Ok((exit, must_stay))
    }
}

impl Exit {
    /// The process's exit code: 0 when an outcome was reported, whatever it was, so that a
    /// supervisor does not take a failed job for a broken worker; `with_job` asks for the job's own.
    #[must_use]
    pub fn code(self, with_job: bool) -> ExitCode {
        match self {
            Self::Idle | Self::Reported(State::Completed) => ExitCode::SUCCESS,
            Self::Reported(_) if !with_job => ExitCode::SUCCESS,
            Self::Reported(_) | Self::Unreported => ExitCode::FAILURE,
        }
    }
}

/// The parts of a worker that decide when it ends.
struct Life {
    config: Arc<OneShotConfig>,
    slot: Arc<Slot>,
    jobs: mpsc::Receiver<(Job, Work)>,
    stop: mpsc::Receiver<()>,
    supervisor: Option<Supervisor>,
    /// The end of the drain time, once the worker was told to stop.
    drain_end: Option<Instant>,
}

impl Life {
    async fn live(mut self) -> Exit {
        let Some((job, work)) = self.wait_for_job().await else { return Exit::Idle };
        let span = tracing::info_span!("job", job.id = %job.id(), job.attempt = job.attempt());
        let outcome = self.see_through(&job, work).instrument(span).await;
        self.report(outcome.state).await
    }

    /// The job; none if the worker was told to stop and nobody needs it.
    async fn wait_for_job(&mut self) -> Option<(Job, Work)> {
        if !self.slot.is_leaving() {
            tokio::select! {
                Some(job) = self.jobs.recv() => return Some(job),
                _ = self.stop.recv() => {}
            }
        }
        let drain_end = self.leave();
        if !self.is_forsaken() {
            let permission = timeout_at(drain_end, permission(&self.config));
            tokio::select! {
                biased;
                Some(job) = self.jobs.recv() => return Some(job),
                _ = self.stop.recv() => {}
                _ = permission => {}
            }
        }
        if self.slot.close_if_idle() {
            return None;
        }
        // It has just come, and gets what is left of the drain time.
        self.jobs.recv().await
    }

    /// Notes that the worker was told to stop; returns the end of the drain time, which begins with the
    /// first time that it was.
    fn leave(&mut self) -> Instant {
        self.slot.set_leaving();
        *self.drain_end.get_or_insert_with(|| Instant::now() + self.config.drain)
    }

    /// Runs the job to its end, whatever the end is.
    async fn see_through(&mut self, job: &Job, work: Work) -> Outcome {
        tracing::info!("the job begins");
        job.emit(Payload::Accepted {});
        job.emit(Payload::Started {
            attempt: job.attempt(),
            worker: Some(self.config.id.to_string()),
            node: Some(self.config.node.clone()),
        });
        let mut work = tokio::spawn(work(job.clone()).in_current_span());
        let aborted = AbortOnDrop(work.abort_handle());
        let watching = self.watch(job);
        let outcome = tokio::select! {
            ended = &mut work => ended.unwrap_or_else(|error| {
                tracing::error!(%error, "the job's work panicked");
                Outcome::failed(Reason::InternalError, "the worker failed; its log says why")
            }),
            stop = watching => stop.into_outcome(),
        };
        drop(aborted);
        tracing::info!(state = ?outcome.state, reason = ?outcome.reason, "the job ended");
        job.end(outcome.clone());
        outcome
    }

    /// Asks the job to end when its reader is gone or the worker must stop, and resolves when it has
    /// been asked, by whomever, and has not ended in good time.
    async fn watch(&mut self, job: &Job) -> Stop {
        let wait = self.config.reader_wait;
        let slot = Arc::clone(&self.slot);
        let mut abandoned = pin!(slot.abandoned(wait));
        let mut drained = pin!(self.drained());
        let mut stopped = pin!(job.stopped());
        let stop = tokio::select! {
            stop = &mut stopped => stop,
            () = &mut abandoned => {
                let seconds = wait.as_secs();
                let message = format!("nobody has read this job's events for {seconds} s");
                job.request_stop(Stop::new(Reason::CallerLost, message));
                stopped.await
            }
            () = &mut drained => {
                job.request_stop(Stop::new(Reason::WorkerStopped, "the worker was told to stop"));
                stopped.await
            }
        };
        tokio::time::sleep(STOP_GRACE).await;
        tracing::error!("the job did not end when it was asked to");
        stop
    }

    /// Waits for a signal, then for the end of the drain time or the next signal.
    async fn drained(&mut self) {
        if !self.slot.is_leaving() && self.stop.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        let drain_end = self.leave();
        let end = if self.is_forsaken() { Instant::now() } else { drain_end };
        let config = Arc::clone(&self.config);
        let telling = tokio::spawn(async move { announce_leaving(&config).await });
        let _telling = AbortOnDrop(telling.abort_handle());
        let left = end.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000);
        tracing::info!(seconds = left, "told to stop; the job may go on for that long");
        let _ = timeout_at(end, self.stop.recv()).await;
    }

    /// Waits until a reader has the outcome.
    async fn report(&mut self, state: State) -> Exit {
        let slot = Arc::clone(&self.slot);
        let mut abandoned = pin!(slot.abandoned(self.config.reader_wait));
        let forsaken = async {
            while !self.is_forsaken() && self.stop.recv().await.is_some() {}
            if !self.is_forsaken() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            biased;
            () = slot.delivered() => Exit::Reported(state),
            () = &mut abandoned => Exit::Unreported,
            () = forsaken => Exit::Unreported,
        }
    }

    /// Whether the supervisor has died. No other will know this worker.
    fn is_forsaken(&self) -> bool {
        self.supervisor.is_some_and(Supervisor::is_gone)
    }
}

/// Lets the gateways know that a worker that has a job will be gone after it: who counts on it must
/// stay.
async fn announce_leaving(config: &OneShotConfig) {
    for gateway in gateways_that_count_on(config) {
        // One that cannot be reached hears of it when the worker attaches again.
        let _ = gateway.depart(config.id, Cause::ToldToStop).await;
    }
}

/// Those for which it matters whether the worker stays: a job's files are in a workspace.
fn gateways_that_count_on(config: &OneShotConfig) -> &[Endpoint] {
    if config.workspace.is_some() { &config.gateways } else { &[] }
}

/// Whether no gateway needs a worker that has done its job. One that cannot be reached needs nobody.
async fn may_retire(config: &OneShotConfig) -> bool {
    for gateway in gateways_that_count_on(config) {
        if matches!(gateway.depart(config.id, Cause::JobDone).await, Ok(false)) {
            return false;
        }
    }
    true
}

/// Waits until no gateway needs an idle worker: what jobs have in its workspace may be for it to
/// deliver. One that cannot be reached needs nobody.
async fn permission(config: &OneShotConfig) {
    for gateway in gateways_that_count_on(config) {
        while matches!(gateway.depart(config.id, Cause::ToldToStop).await, Ok(false)) {
            // A gateway that stops itself says so at once.
            tokio::time::sleep(DEPARTURE_PAUSE).await;
        }
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
