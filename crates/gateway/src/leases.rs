//! Running jobs lease the workers of their steps.

use std::sync::Arc;
use std::time::Duration;

use service::ApiError;
use service::protocol::worker::{Lease, LeaseRequest};
use service::protocol::{ErrorCode, RequestError, WorkerKind};
use tokio::sync::oneshot;

use crate::gateway::Gateway;
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
        let (call, called) = oneshot::channel();
        let wish = Wish { kind: request.kind, workspace: request.workspace };
        let answer = {
            let mut core = self.core();
            if !core.scheduler.is_running(request.job) {
                let message = format!("job {} is not running here", request.job);
                return Err(ApiError::new(ErrorCode::Conflict, message));
            }
            let answer = core.registry.ask(wish);
            if let Answer::Waits(ticket) = answer {
                core.calls.insert(ticket, call);
            }
            answer
        };
        let ticket = match answer {
            Answer::Granted(lease) => {
                self.look_after(lease.worker);
                return Ok(lease);
            }
            Answer::Waits(ticket) => ticket,
        };
        let _place = Place { gateway: Arc::clone(self), ticket };
        let in_time = tokio::select! {
            in_time = tokio::time::timeout(HOLD, called) => in_time,
            () = self.stop.cancelled() => return Err(none_idle(request.kind, 1)),
        };
        match in_time {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(_)) | Err(_) => Err(none_idle(request.kind, 0)),
        }
    }
}

fn none_idle(kind: WorkerKind, retry_after: u32) -> ApiError {
    let message = format!("no {kind} worker that fits is idle; ask again");
    ApiError::new(ErrorCode::Unavailable, message).retry_after(retry_after)
}
