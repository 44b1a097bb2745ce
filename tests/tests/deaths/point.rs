//! The table's columns: who dies, how, and when.

use rustix::process::Signal;

/// A point of a job's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Nobody has submitted it yet.
    BeforeAccept,
    /// It is accepted, and waits for the only workflow worker, whose own job's agent runs.
    Queued,
    /// Half of the repository has arrived.
    Pulling,
    /// Its agent runs.
    AgentRuns,
    /// Its check runs.
    CheckRuns,
    /// Its agent has told its result and lingers.
    LastLine,
    /// The delivery has begun, and waits for the job's folder.
    Delivering,
    /// Its worker has the outcome, and the gateway cannot store it yet.
    Unstored,
    /// Its end is stored, and its client has read only the first event.
    Unread,
}

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Workflow,
    GitPull,
    ClaudeExec,
    Gateway,
    /// `oneshift up`, which is started again at once.
    Supervisor,
}

impl Victim {
    /// The name of its processes.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::GitPull => "git-pull",
            Self::ClaudeExec => "claude-exec",
            Self::Gateway => "gateway",
            Self::Supervisor => "oneshift",
        }
    }

    /// Whether it is a worker that has its job then.
    pub(crate) fn is_busy_at(self, point: Point) -> bool {
        use Point::{
            AgentRuns, BeforeAccept, CheckRuns, Delivering, LastLine, Pulling, Queued, Unread,
        };
        match self {
            Self::Workflow => !matches!(point, BeforeAccept | Unread),
            Self::GitPull => matches!(point, Pulling | Delivering),
            Self::ClaudeExec => matches!(point, Queued | AgentRuns | CheckRuns | LastLine),
            Self::Gateway | Self::Supervisor => false,
        }
    }
}

/// How it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// By SIGKILL.
    Killed,
    /// By SIGTERM, without any drain time.
    Terminated,
    /// By SIGTERM, when it cannot end before what holds the job is out of the way.
    Asked,
    /// By SIGTERM, with all the time that it needs.
    Drained,
}

impl Blow {
    pub(crate) fn signal(self) -> Signal {
        match self {
            Self::Killed => Signal::KILL,
            Self::Terminated | Self::Asked | Self::Drained => Signal::TERM,
        }
    }
}
