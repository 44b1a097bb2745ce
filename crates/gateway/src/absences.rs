//! Jobs that wait for a worker in a workspace that nobody is left in: they must not wait for ever.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use service::protocol::{JobId, WorkerKind, WorkspaceId};

use crate::registry::Wish;

/// How long a job waits in a workspace without workers of a kind while there are some elsewhere. One
/// that has done its job is back within seconds, and one that lost its gateway tries every second.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// Since when jobs have asked in vain.
#[derive(Debug, Default)]
pub(crate) struct Absences(HashMap<(WorkerKind, WorkspaceId, JobId), Instant>);

impl Absences {
    /// For how long there has been nobody who fits the wish of a job, as far as it has asked.
    pub(crate) fn noted(&mut self, wish: Wish, job: JobId, now: Instant) -> Duration {
        let Some(workspace) = wish.workspace else { return Duration::ZERO };
        let since = self.0.entry((wish.kind, workspace, job)).or_insert(now);
        now.saturating_duration_since(*since)
    }

    /// Somebody is there.
    pub(crate) fn end(&mut self, kind: WorkerKind, workspace: Option<WorkspaceId>) {
        self.0.retain(|(of_kind, place, _), _| *of_kind != kind || Some(*place) != workspace);
    }

    /// There is nobody of this kind anywhere: nobody is waited for in vain.
    pub(crate) fn suspend(&mut self, kind: WorkerKind) {
        self.0.retain(|(of_kind, _, _), _| *of_kind != kind);
    }

    /// The job's attempt is over.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.0.retain(|(_, _, waiting), _| *waiting != job);
    }
}
