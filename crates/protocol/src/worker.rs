//! How workers and the gateway find each other.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{JobId, WorkerId, WorkspaceId};

/// The three kinds of one-job workers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerKind {
    /// Puts the steps in order.
    Workflow,
    /// Pulls and delivers.
    GitPull,
    /// Runs the agent and the check.
    ClaudeExec,
}

impl WorkerKind {
    /// All kinds, in the order of a job's way through them.
    pub const ALL: [Self; 3] = [Self::Workflow, Self::GitPull, Self::ClaudeExec];

    /// The kind's name, which is also its binary's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::GitPull => "git-pull",
            Self::ClaudeExec => "claude-exec",
        }
    }
}

impl fmt::Display for WorkerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Body of `POST /internal/workers`: a worker says who it is. The answer stays open as long as the
/// worker lives. Fields that this version does not know are ignored, so that workers and gateway may
/// be updated one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attach {
    /// The process.
    pub id: WorkerId,
    /// What it does.
    pub kind: WorkerKind,
    /// Where it listens; the address is the one that the connection comes from.
    pub port: u16,
    /// The workspace that it sees, if its kind needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    /// The machine that it runs on.
    pub node: String,
    /// The version of its program.
    pub version: String,
    /// A claude-exec's agents, the one that it chooses by itself first. Empty if it does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// The job that it has already, after a reconnect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<RunningJob>,
    /// Whether it was told to stop: it takes no job that has no files in its workspace yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_leaving: bool,
    /// The worker whose place it takes, as the same process begun anew: that one is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeds: Option<WorkerId>,
}

/// The job that a worker is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningJob {
    /// The job.
    pub id: JobId,
    /// Which attempt of it.
    pub attempt: u32,
}

/// Body of `POST /internal/leases`: a running job wants an idle worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseRequest {
    /// Of which kind.
    pub kind: WorkerKind,
    /// For which job.
    pub job: JobId,
    /// In which workspace, if a step has been done in one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
}

/// An idle worker, set aside for a few seconds for the one who asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The worker.
    pub worker: WorkerId,
    /// Its base address, such as `http://10.40.0.7:3000`.
    pub url: String,
    /// The workspace that it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    /// The machine that it runs on.
    pub node: String,
}

/// Body of `POST /internal/departures`: a worker is about to go. Fields that this version does not know
/// are ignored, as those of [`Attach`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departure {
    /// The worker.
    pub worker: WorkerId,
    /// Why it goes.
    #[serde(default)]
    pub cause: Cause,
}

/// Why a worker is about to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// It was told to stop. One that is idle asks whether it may; one that has a job lets the gateway
    /// know that it will be gone after it.
    #[default]
    ToldToStop,
    /// Its job is done.
    JobDone,
}

/// Its answer, which may take about 20 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dismissal {
    /// Whether nobody needs the worker: it is idle, and no running job has its files in the worker's
    /// workspace, or others of the same kind are there who stay. Otherwise it is to ask again.
    pub may_go: bool,
}

/// Answer of `GET /status` of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether it has its job.
    pub status: Busyness,
}

/// Whether a worker has its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Busyness {
    /// It waits for one.
    Idle,
    /// It has one.
    Busy,
}
