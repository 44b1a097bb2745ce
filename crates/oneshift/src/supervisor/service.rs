//! The services that are started here.

use std::fmt;

use client::protocol::WorkerKind;

/// One of Oneshift's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// The front door.
    Gateway,
    /// One of the three kinds of one-job workers.
    Worker(WorkerKind),
}

impl Service {
    /// All services, in the order of a job's way through them.
    pub(crate) const ALL: [Self; 4] = [
        Self::Gateway,
        Self::Worker(WorkerKind::Workflow),
        Self::Worker(WorkerKind::GitPull),
        Self::Worker(WorkerKind::ClaudeExec),
    ];

    /// The service's name, which is also its binary's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Worker(kind) => kind.name(),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
