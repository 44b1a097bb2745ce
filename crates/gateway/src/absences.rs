//! Workspaces that nobody is left in: who waits for a worker there must not wait for ever.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use service::protocol::{WorkerKind, WorkspaceId};

use crate::registry::Wish;

/// How long a workspace may be without workers of a kind while somebody waits for one. A worker that
/// has done its job is back within seconds, and one that lost its gateway tries every second.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// Since when workers that somebody waits for have not been there.
#[derive(Debug, Default)]
pub(crate) struct Absences(HashMap<(WorkerKind, WorkspaceId), Instant>);

impl Absences {
    /// For how long there has been nobody who fits the wish, as far as anybody has asked.
    pub(crate) fn noted(&mut self, wish: Wish, now: Instant) -> Duration {
        let Some(workspace) = wish.workspace else { return Duration::ZERO };
        let since = self.0.entry((wish.kind, workspace)).or_insert(now);
        now.saturating_duration_since(*since)
    }

    /// Somebody is there.
    pub(crate) fn end(&mut self, kind: WorkerKind, workspace: Option<WorkspaceId>) {
        if let Some(workspace) = workspace {
            self.0.remove(&(kind, workspace));
        }
    }
}
