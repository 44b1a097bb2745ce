//! Running jobs lease the workers of their steps.

use std::sync::Arc;
use std::time::Duration;

use service::ApiError;
use service::protocol::worker::{Lease, LeaseRequest};
use service::protocol::{ErrorCode, JobId, RequestError, WorkerKind};
use tokio::sync::oneshot;

use crate::gateway::{Core, Gateway};
use crate::registry::{Answer, Ticket, Wish};

/// How long a request for a worker is held; shorter than what common proxies allow.
const HOLD: Duration = Duration::from_secs(20);

/// A place in the line for a worker; dropping it gives it up.
struct Place {
    gateway: Arc<Gateway>,
    ticket: Ticket,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut core = self.gateway.core();
        core.registry.withdraw(self.ticket);
        core.calls.remove(&self.ticket);
    }
}

impl Gateway {
    /// Sets an idle worker aside, waiting for one if need be.
    ///
    /// # Errors
    /// `conflict` when the job is not running, `unavailable` when no worker became idle in time.
    pub(crate) async fn lease(self: &Arc<Self>, request: LeaseRequest) -> Result<Lease, ApiError> {
        if request.kind == WorkerKind::Workflow {
            let message = "kind workflow is not for lease: the gateway itself gives jobs to them";
            return Err(RequestError::field(ErrorCode::NotAllowed, "kind", message).into());
        }
        let wish = Wish { kind: request.kind, workspace: request.workspace };
        let call = self.core().call(wish, &request)?;
        tokio::select! {
            in_time = tokio::time::timeout(HOLD, self.answered(call)) => {
                in_time.ok().flatten().ok_or_else(|| none_idle(request.kind, 0))
            }
            () = self.stop.cancelled() => Err(none_idle(request.kind, 1)),
        }
    }

    /// Sets an idle worker aside for a job whose own worker is lost, before all others who wait.
    pub(crate) async fn lease_first(self: &Arc<Self>, wish: Wish, job: JobId) -> Option<Lease> {
        let call = {
            let mut core = self.core();
            let answer = core.registry.ask_first(wish, job);
            core.called(answer)
        };
        self.answered(call).await
    }

    /// Waits for the worker; giving up gives the place in the line up.
    async fn answered(self: &Arc<Self>, call: Call) -> Option<Lease> {
        match call {
            Call::Granted(lease) => {
                self.look_after(lease.worker);
                Some(lease)
            }
            Call::Waits(ticket, called) => {
                let _place = Place { gateway: Arc::clone(self), ticket };
                called.await.ok()
            }
        }
    }
}

/// A worker, or a place in the line for one.
enum Call {
    Granted(Lease),
    Waits(Ticket, oneshot::Receiver<Lease>),
}

impl Core {
    /// Gets a running job in line for a worker.
    fn call(&mut self, wish: Wish, request: &LeaseRequest) -> Result<Call, ApiError> {
        let job = request.job;
        let is_lost = self.runners.get(&job).is_some_and(|run| run.worker.is_none());
        if is_lost || !self.scheduler.is_running(job) {
            let message = format!("job {job} is not running here");
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        let answer = self.registry.ask(wish, job);
        Ok(self.called(answer))
    }

    fn called(&mut self, answer: Answer) -> Call {
        match answer {
            Answer::Granted(lease) => Call::Granted(lease),
            Answer::Waits(ticket) => {
                let (call, called) = oneshot::channel();
                self.calls.insert(ticket, call);
                Call::Waits(ticket, called)
            }
        }
    }
}

fn none_idle(kind: WorkerKind, retry_after: u32) -> ApiError {
    let message = format!("no {kind} worker that fits is idle; ask again");
    ApiError::new(ErrorCode::Unavailable, message).retry_after(retry_after)
}
