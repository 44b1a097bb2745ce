//! The workers' lines, and what the gateway does about workers that it is not sure of.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use service::client::{Endpoint, EventStream, Patience};
use service::protocol::worker::{Attach, Busyness};
use service::protocol::{JobId, Reason, WorkerId, WorkerKind};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::gateway::{Core, Gateway};
use crate::job_ref::JobRef;
use crate::registry::Line;
use crate::runner::Runner;

/// A worker gives a silent line up after 16 s.
const COMMENT_EVERY: Duration = Duration::from_secs(5);

/// How long a worker may be set aside before it is asked what it does.
const LEASE_USE: Duration = Duration::from_secs(10);

/// How long a worker may take to say that it ends its job. It says so at once, unless it hangs; it
/// is then taken for lost, which harms nobody even if it is not.
pub(crate) const STOP_ANSWER: Duration = Duration::from_millis(1500);

/// How long a worker whose job is nobody's any more may take to end it and exit.
const RELEASE: Duration = Duration::from_secs(30);

/// A worker's open line; dropping it means that the worker is gone.
struct OpenLine {
    gateway: Arc<Gateway>,
    worker: WorkerId,
    line: Line,
}

impl Drop for OpenLine {
    fn drop(&mut self) {
        let mut core = self.gateway.core();
        core.lines.remove(&self.line);
        if core.registry.detach(self.worker, self.line) {
            tracing::debug!(worker = %self.worker, "a worker is gone");
            if let Some(run) = core.runners.values().find(|run| run.worker == Some(self.worker)) {
                run.line_broke.notify_one();
            }
        }
    }
}

/// What follows from a worker's coming, besides that it can be given work.
enum Welcome {
    Nothing,
    /// It came back with a job that waits for it.
    Resume(Box<Runner>),
    /// It came back without the job that it was about to be given.
    GiveBack(JobRef),
    /// Its job is nobody's any more.
    Release(Endpoint, JobId),
}

impl Gateway {
    /// A worker is here. The answer carries comments for as long as its line is open.
    pub(crate) fn attach(
        self: &Arc<Self>,
        attach: Attach,
        address: IpAddr,
    ) -> impl Stream<Item = Bytes> + Send + 'static {
        let worker = attach.id;
        tracing::debug!(%worker, kind = %attach.kind, node = attach.node, "a worker is here");
        let closed = CancellationToken::new();
        let (line, welcome) = {
            let mut core = self.core();
            if let Some(default) = attach.agents.first() {
                core.scheduler.set_default_agent(default);
            }
            let line = core.registry.attach(attach.clone(), address);
            core.absences.end(attach.kind, attach.workspace);
            core.lines.insert(line, closed.clone());
            if let Some(job) = attach.job {
                core.place(job.id, attach.workspace);
            }
            (line, self.welcome(&mut core, &attach))
        };
        let open = OpenLine { gateway: Arc::clone(self), worker, line };
        match welcome {
            Welcome::Nothing => {}
            Welcome::Resume(runner) => drop(self.tasks.spawn(runner.resume())),
            Welcome::GiveBack(job) => {
                let gateway = Arc::clone(self);
                self.tasks.spawn(async move { gateway.give_back(job).await });
            }
            Welcome::Release(endpoint, job) => self.release_worker(endpoint, job),
        }
        self.match_up();
        let stop = self.stop.clone();
        async_stream::stream! {
            let _open = open;
            loop {
                yield Bytes::from_static(b": attached\n\n");
                tokio::select! {
                    () = tokio::time::sleep(COMMENT_EVERY) => {}
                    () = closed.cancelled() => return,
                    () = stop.cancelled() => return,
                }
            }
        }
    }

    fn welcome(self: &Arc<Self>, core: &mut Core, attach: &Attach) -> Welcome {
        let Some(running) = attach.job else {
            return core.scheduler.orphan_of(attach.id).map_or(Welcome::Nothing, Welcome::GiveBack);
        };
        if attach.kind != WorkerKind::Workflow {
            return Welcome::Nothing;
        }
        let is_read =
            core.runners.get(&running.id).is_some_and(|run| run.worker == Some(attach.id));
        if is_read && core.scheduler.attempt(running.id) == running.attempt {
            return Welcome::Nothing;
        }
        let Some(contact) = core.registry.contact(attach.id) else { return Welcome::Nothing };
        let start = core.scheduler.reattached(running.id, running.attempt, attach.id);
        let Some(start) = start else {
            return Welcome::Release(self.workers.at(&contact.url), running.id);
        };
        let runner = Runner::new(Arc::clone(self), start, contact);
        core.runners.insert(running.id, runner.running());
        Welcome::Resume(Box::new(runner))
    }

    /// After a while, asks a worker that was set aside whether it has been given anything.
    pub(crate) fn look_after(self: &Arc<Self>, worker: WorkerId) {
        let gateway = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(LEASE_USE) => {}
                () = gateway.stop.cancelled() => return,
            }
            gateway.find_out(worker).await;
        });
    }

    /// Asks a worker that is not known to be idle what it does.
    pub(crate) async fn find_out(self: &Arc<Self>, worker: WorkerId) {
        let url = self.core().registry.occupied(worker).map(str::to_owned);
        let Some(url) = url else { return };
        match self.workers.at(&url).status().await.map(|status| status.status) {
            Ok(Busyness::Idle) => self.core().registry.set_idle(worker),
            Ok(Busyness::Busy) => return self.core().registry.set_busy(worker),
            Err(error) => {
                tracing::warn!(%worker, %error, "a worker cannot be reached");
                self.drop_worker(worker);
            }
        }
        self.match_up();
    }

    /// Forgets a worker and closes its line; if it lives, it attaches again.
    pub(crate) fn drop_worker(&self, worker: WorkerId) {
        let mut core = self.core();
        if let Some(line) = core.registry.drop_worker(worker)
            && let Some(closed) = core.lines.get(&line)
        {
            closed.cancel();
        }
    }

    /// Asks a worker to end its job; what comes of it is seen in its stream. Tells whether the
    /// worker hangs.
    pub(crate) fn stop_worker(
        &self,
        endpoint: &Endpoint,
        job: JobId,
        reason: Reason,
    ) -> JoinHandle<bool> {
        let endpoint = endpoint.clone();
        self.tasks.spawn(async move {
            let answer = timeout(STOP_ANSWER, endpoint.stop(job, reason)).await;
            if let Ok(Err(error)) = &answer {
                tracing::debug!(job.id = %job, %error, "a worker cannot be asked to end its job");
            }
            answer.is_err()
        })
    }

    /// Ends a job that is nobody's any more, and reads it to its end so that its worker exits.
    pub(crate) fn release_worker(&self, endpoint: Endpoint, job: JobId) {
        tracing::info!(job.id = %job, "a worker came back with a job that is nobody's any more");
        let stop = self.stop.clone();
        let release = async move {
            let _ = endpoint.cancel(job).await;
            let mut events = EventStream::new(endpoint.clone(), job, 0, Patience::WORKER);
            while let Ok(Some(_)) = events.next_batch().await {}
            // Nobody will ever want its outcome.
            let _ = endpoint.confirm(job, events.position()).await;
        };
        self.tasks.spawn(async move {
            tokio::select! {
                _ = timeout(RELEASE, release) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}
