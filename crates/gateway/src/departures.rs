//! Idle workers that were told to stop, and may still be needed: a job's files are where they were
//! pulled, and a node that is being drained gets no new workers.

use std::sync::Arc;
use std::time::Duration;

use service::protocol::{WorkerId, WorkspaceId};
use tokio::time::Instant;

use crate::gateway::{Core, Gateway};
use crate::registry::Departing;

/// How long a worker's question is held; shorter than what common proxies allow.
const HOLD: Duration = Duration::from_secs(20);

/// Pause between two looks: workers are told to stop a few times a day.
const LOOK: Duration = Duration::from_millis(200);

impl Gateway {
    /// Whether an idle worker that was told to stop may go; waits until it may, for a while.
    pub(crate) async fn depart(self: &Arc<Self>, worker: WorkerId) -> bool {
        let end = Instant::now() + HOLD;
        while !self.core().may_go(worker) {
            if Instant::now() > end {
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                // It will find out from the next gateway, or leave if there is none.
                () = self.stop.cancelled() => return false,
            }
        }
        true
    }
}

impl Core {
    fn may_go(&mut self, worker: WorkerId) -> bool {
        let may_go = match self.registry.depart(worker) {
            Departing::Unneeded => true,
            Departing::LastOf(workspace) => !self.is_needed(workspace),
            Departing::Expected => false,
        };
        if may_go {
            // Nobody is to be sent there between the answer and the worker's end.
            self.registry.set_busy(worker);
        }
        may_go
    }

    fn is_needed(&self, workspace: WorkspaceId) -> bool {
        self.places.values().any(|place| *place == workspace)
    }
}
