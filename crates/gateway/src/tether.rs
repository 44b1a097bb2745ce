//! Jobs that end with whoever submitted them.

use std::sync::Arc;

use service::protocol::Reason;

use crate::gateway::Gateway;
use crate::job_ref::JobRef;

/// What ties a job to its caller: dropping it before the job has ended cancels the job. It is made
/// together with the job, so that a caller that leaves before it hears of its job is missed too.
pub(crate) struct Tether {
    gateway: Arc<Gateway>,
    job: JobRef,
}

impl Tether {
    pub(crate) fn new(gateway: &Arc<Gateway>, job: JobRef) -> Self {
        Self { gateway: Arc::clone(gateway), job }
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        // A gateway that stops ends its streams itself; and a job that has ended stays as it is.
        if !self.gateway.stop.is_cancelled() {
            let (gateway, job) = (Arc::clone(&self.gateway), self.job);
            self.gateway.tasks.spawn(async move {
                // Nobody is left who could be told that it cannot be stored.
                let _ = gateway.cancel(job, Reason::CallerLost).await;
            });
        }
    }
}
