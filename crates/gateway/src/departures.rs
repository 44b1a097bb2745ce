//! Workers that are about to go, and may still be needed: a job's files are where they were pulled,
//! and who comes next may come elsewhere.

use std::sync::Arc;
use std::time::Duration;

use service::protocol::{WorkerId, WorkspaceId};
use tokio::time::Instant;

use crate::gateway::{Core, Gateway};
use crate::registry::Departing;

/// How long a worker's question is held; shorter than what common proxies allow.
const HOLD: Duration = Duration::from_secs(20);

/// How long a worker may take to attach that asks before it has: both are done at once. One that is
/// not attached then never will be.
const ATTACHMENT: Duration = Duration::from_secs(5);

/// How long the others of a node that is being drained may take to say that they were told to stop as
/// well: until then it looks as if they stayed. Swarm tells them at the same time.
const SETTLING: Duration = Duration::from_secs(2);

/// Pause between two looks: workers are told to stop a few times a day.
const LOOK: Duration = Duration::from_millis(200);

/// How long a worker that has done its job, and is the last of its kind in a workspace, waits for the
/// next one to come there; and for its own job's end, after a delivery.
const RELIEF: Duration = Duration::from_secs(1);

/// Pause between two looks of such a one, which keeps its supervisor waiting.
const RELIEF_LOOK: Duration = Duration::from_millis(20);

impl Gateway {
    /// Whether a worker that was told to stop may go. While an idle one may not, it is waited for the
    /// moment at which it may, for some time; one that has a job was just to be known of.
    pub(crate) async fn depart(self: &Arc<Self>, worker: WorkerId) -> bool {
        let start = Instant::now();
        loop {
            match self.core().dismiss(worker, start.elapsed()) {
                Leave::Given => return true,
                Leave::Never => return false,
                Leave::NotYet if start.elapsed() > HOLD => return false,
                Leave::NotYet => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                // It will find out from the next gateway, or leave if there is none.
                () = self.stop.cancelled() => return false,
            }
        }
    }

    /// Whether a worker that has done its job may go. If it may not, somebody must stay in its place.
    pub(crate) async fn retire(self: &Arc<Self>, worker: WorkerId) -> bool {
        let end = Instant::now() + RELIEF;
        while !self.core().may_retire(worker) {
            if Instant::now() > end {
                return false;
            }
            tokio::time::sleep(RELIEF_LOOK).await;
        }
        true
    }
}

/// Whether a worker may go.
enum Leave {
    Given,
    NotYet,
    /// Not before the end of its job, and then it needs nobody's leave.
    Never,
}

impl Core {
    /// `waited` is for how long the worker has asked.
    fn dismiss(&mut self, worker: WorkerId, waited: Duration) -> Leave {
        let is_held = match self.registry.depart(worker) {
            Departing::Busy => return Leave::Never,
            Departing::Unknown => waited < ATTACHMENT,
            Departing::Expected => true,
            Departing::LastOf(workspace) => self.is_needed(workspace),
            Departing::OneOf(workspace) => waited < SETTLING && self.is_needed(workspace),
            Departing::Unneeded => false,
        };
        if is_held {
            return Leave::NotYet;
        }
        // Nobody is to be sent there between the answer and the worker's end.
        self.registry.set_busy(worker);
        Leave::Given
    }

    fn may_retire(&mut self, worker: WorkerId) -> bool {
        let may_go = match self.registry.retire(worker) {
            // Its line broke, and it is about to come back.
            Departing::Unknown => false,
            Departing::LastOf(workspace) => !self.is_needed(workspace),
            _ => true,
        };
        if may_go {
            // Its line is open for a moment yet.
            self.registry.set_leaving(worker);
        }
        may_go
    }

    fn is_needed(&self, workspace: WorkspaceId) -> bool {
        self.places.values().any(|place| *place == workspace)
    }
}
