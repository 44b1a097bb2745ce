//! The gateway: the store, the scheduler and the registry, and what happens between them.
//!
//! Decisions are made under one lock that is never held across an await; what they ask for is done
//! outside of it, in tasks that the gateway owns.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service::client::{ClientError, Endpoint};
use service::protocol::worker::Lease;
use service::protocol::{JobId, Outcome, Payload, State, WorkerId, WorkerKind, WorkspaceId};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::absences::Absences;
use crate::cluster::Desk;
use crate::config::Config;
use crate::job_ref::JobRef;
use crate::live::Live;
use crate::rates::Rates;
use crate::registry::{Line, Registry, Ticket, Wish};
use crate::runner::Runner;
use crate::scheduler::{Back, Scheduler, Verdict, cancellation};
use crate::store::{Change, Changed, Store, StoreError, Transition};
use crate::tokens::Tokens;
use crate::turns::Turns;

/// Pause before a write that failed is tried again: a full disk is not emptied in less.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Everything the routes and the tasks share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) store: Store,
    pub(crate) live: Arc<Live>,
    pub(crate) tokens: Option<Tokens>,
    /// An endpoint that shows workers the cluster token; its address is of no account.
    pub(crate) workers: Endpoint,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Jobs that ended since the start, by state.
    pub(crate) endings: Endings,
    pub(crate) turns: Turns,
    /// Where the operator reports and finds its orders.
    pub(crate) desk: Desk,
    /// Told when a job has begun to pause.
    pub(crate) pauses_changed: Notify,
    /// Told when jobs may have news of what they wait for.
    pub(crate) news: Notify,
    core: Mutex<Core>,
}

/// What is decided together.
#[derive(Debug, Default)]
pub(crate) struct Core {
    pub(crate) scheduler: Scheduler,
    pub(crate) registry: Registry,
    pub(crate) rates: Rates,
    /// Those who wait for a worker.
    pub(crate) calls: HashMap<Ticket, oneshot::Sender<Lease>>,
    pub(crate) absences: Absences,
    /// Jobs that a runner sees to.
    pub(crate) runners: HashMap<JobId, Running>,
    /// The workspaces in which running jobs have their files, as far as is known since the start.
    pub(crate) places: HashMap<JobId, WorkspaceId>,
    /// The open lines of workers; cancelling closes one.
    pub(crate) lines: HashMap<Line, CancellationToken>,
}

impl Core {
    fn new(max_queued: usize, tokens: Option<&Tokens>) -> Self {
        let quotas = || tokens.into_iter().flat_map(Tokens::quotas);
        let mut rates = Rates::default();
        for (token, quotas) in quotas() {
            if let Some(per_minute) = quotas.submissions_per_minute {
                rates.limit(token, per_minute);
            }
        }
        Self { scheduler: Scheduler::new(max_queued, quotas()), rates, ..Self::default() }
    }

    /// A job has files in this workspace, unless it has ended meanwhile.
    pub(crate) fn place(&mut self, job: JobId, workspace: Option<WorkspaceId>) {
        if let Some(workspace) = workspace.filter(|_| self.scheduler.is_running(job)) {
            self.places.insert(job, workspace);
        }
    }

    /// No runner sees to the job any more, and nothing of it in a workspace is needed.
    fn leave(&mut self, job: JobId) {
        self.runners.remove(&job);
        self.places.remove(&job);
        self.absences.forget(job);
    }
}

/// A job that a runner sees to.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    /// Who has it; nobody any more while what a lost worker left is salvaged.
    pub(crate) worker: Option<WorkerId>,
    /// Whether it has had a worker set aside for its agent.
    pub(crate) has_leased_agent: bool,
    pub(crate) cancel: CancellationToken,
    /// Told when the worker's line is closed.
    pub(crate) line_broke: Arc<Notify>,
}

/// Jobs that ended, by state.
#[derive(Debug, Default)]
pub(crate) struct Endings([AtomicU64; 3]);

impl Endings {
    fn add(&self, state: State) {
        self.0[state as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, state: State) -> u64 {
        self.0[state as usize].load(Ordering::Relaxed)
    }
}

impl Gateway {
    /// A gateway that knows no job and no worker yet.
    pub(crate) fn new(
        store: Store,
        live: Arc<Live>,
        config: &Config,
    ) -> Result<Arc<Self>, ClientError> {
        let tokens = config.tokens.clone();
        let cluster_token = config.cluster_token.clone();
        Ok(Arc::new(Self {
            store,
            live,
            core: Mutex::new(Core::new(config.max_queued, tokens.as_ref())),
            tokens,
            workers: Endpoint::new("http://localhost", Some(cluster_token))?,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            endings: Endings::default(),
            turns: Turns::default(),
            desk: Desk::default(),
            pauses_changed: Notify::new(),
            news: Notify::new(),
        }))
    }

    /// A panic while deciding leaves at worst one job undecided until the next start.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings together jobs and workers that wait, and wakes those who wait for a worker.
    pub(crate) fn match_up(self: &Arc<Self>) {
        let mut leased = Vec::new();
        {
            let mut core = self.core();
            let due = core.scheduler.next_due();
            self.start_jobs(&mut core);
            if core.scheduler.next_due() != due {
                self.pauses_changed.notify_one();
            }
            if core.scheduler.has_news() {
                self.news.notify_one();
            }
            while let Some((ticket, lease)) = core.registry.next_grant() {
                let worker = lease.worker;
                let call = core.calls.remove(&ticket);
                match call.map(|call| call.send(lease)) {
                    Some(Ok(())) => leased.push(worker),
                    Some(Err(_)) | None => core.registry.set_idle(worker),
                }
            }
        }
        for worker in leased {
            self.look_after(worker);
        }
    }

    fn start_jobs(self: &Arc<Self>, core: &mut Core) {
        let wish = Wish { kind: WorkerKind::Workflow, workspace: None };
        while core.scheduler.has_ready() {
            let Some(lease) = core.registry.take_idle(wish) else { return };
            let Some(start) = core.scheduler.start_next(Instant::now()) else { return };
            let runner = Runner::new(Arc::clone(self), start, lease);
            core.runners.insert(start.job.id, runner.running());
            self.tasks.spawn(runner.dispatch());
        }
    }

    /// Commits a change, however long the store needs; `None` when the gateway stops before that.
    pub(crate) async fn commit(&self, change: Change) -> Option<Changed> {
        let change = Arc::new(change);
        loop {
            match self.store.change(Arc::clone(&change)).await {
                Ok(changed) => return Some(changed),
                Err(StoreError::Closed) => return None,
                Err(StoreError::Failed(_)) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(STORE_PAUSE) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// Ends a job that nothing works on. `None` when the gateway stops before that is on disk.
    pub(crate) async fn end(self: &Arc<Self>, job: JobRef, outcome: Outcome) -> Option<()> {
        let state = outcome.state;
        let changed = self.commit(Change::new(job, Transition::End(Box::new(outcome)))).await?;
        self.ended(job, state, changed);
        Some(())
    }

    /// The same, for one who waits for it.
    ///
    /// # Errors
    /// When it cannot be stored now; it will be, if the gateway lives until it can.
    pub(crate) async fn end_now(
        self: &Arc<Self>,
        job: JobRef,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let change = Change::new(job, Transition::End(Box::new(outcome.clone())));
        match self.store.change(change).await {
            Ok(changed) => {
                self.ended(job, outcome.state, changed);
                Ok(())
            }
            Err(error) => {
                let gateway = Arc::clone(self);
                self.tasks.spawn(async move { gateway.end(job, outcome).await });
                Err(error)
            }
        }
    }

    /// Forgets a job whose end is on disk, then shows its followers the end: who acts on what they
    /// see finds the job out of the way.
    fn ended(self: &Arc<Self>, job: JobRef, state: State, changed: Changed) {
        {
            let mut core = self.core();
            core.scheduler.ended(job.id);
            core.leave(job.id);
        }
        if let Some(end) = changed.end {
            self.endings.add(state);
            self.live.publish(job.id, &end);
        }
        self.match_up();
    }

    /// Sees to what follows from an attempt's end; `change` holds what is still to be written of it.
    /// `None` when the gateway stops before that is on disk.
    pub(crate) async fn attempt_ended(
        self: &Arc<Self>,
        mut change: Change,
        outcome: Outcome,
    ) -> Option<()> {
        let job = change.job;
        let (verdict, position, attempt, parked) = {
            let mut core = self.core();
            let attempt = core.scheduler.attempt(job.id);
            let parked = core.park(job.id, &outcome);
            let verdict = core.scheduler.attempt_ended(job.id, outcome.clone(), Instant::now());
            (verdict, core.scheduler.position(job.id), attempt, parked)
        };
        if let Some(parked) = parked {
            self.remember(parked).await;
        }
        match verdict {
            Some(Verdict::End(outcome)) => {
                let state = outcome.state;
                tracing::info!(job.id = %job.id, ?state, reason = ?outcome.reason, "the job ended");
                change.transition = Transition::End(outcome);
                let changed = self.commit(change).await?;
                self.ended(job, state, changed);
                Some(())
            }
            Some(Verdict::Requeue { reason, retries_used, pause }) => {
                tracing::warn!(job.id = %job.id, reason, "the job is queued again");
                let outcome = Some(Box::new(outcome));
                change.transition = Transition::Requeue { attempt, retries_used, pause, outcome };
                self.requeue(change.event(Payload::Queued { position, reason })).await
            }
            None => Some(()),
        }
    }

    /// Puts a job back that no worker took after all.
    pub(crate) async fn give_back(self: &Arc<Self>, job: JobRef) {
        let back = self.core().scheduler.give_back(job.id);
        if let Some((attempt, retries_used)) = back {
            let pause = Duration::ZERO;
            let outcome = None;
            let transition = Transition::Requeue { attempt, retries_used, pause, outcome };
            self.requeue(Change::new(job, transition)).await;
            self.announce_wait(job).await;
        }
    }

    async fn requeue(self: &Arc<Self>, change: Change) -> Option<()> {
        let job = change.job;
        self.commit(change).await?;
        let back = {
            let mut core = self.core();
            core.leave(job.id);
            core.scheduler.requeued(job.id, Instant::now())
        };
        self.pauses_changed.notify_one();
        if let Back::End(reason) = back {
            // The wish for it is on disk, or was refused.
            self.end(job, cancellation(reason)).await;
        }
        self.match_up();
        Some(())
    }

    /// Whether the gateway has anything to do.
    pub(crate) fn is_busy(&self) -> bool {
        self.core().scheduler.counts() != (0, 0)
    }
}
