//! Starts the jobs whose pauses are over, when they are.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::sleep_until;

use crate::gateway::Gateway;

impl Gateway {
    /// Waits for one pause after the other, until the gateway stops.
    pub(crate) async fn end_pauses(self: Arc<Self>) {
        loop {
            let due = self.core().scheduler.next_due();
            let over = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {
                    self.core().scheduler.wake(Instant::now());
                    self.match_up();
                }
                () = self.pauses_changed.notified() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }
}
