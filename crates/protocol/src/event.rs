//! What happens to a job, as its event stream tells it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::JobId;
use crate::outcome::{Changes, Outcome, Reason, Usage};

/// One event: the `data:` of one SSE frame. Its `id:` is its position in the job's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What happened.
    #[serde(flatten)]
    pub payload: Payload,
    /// To which job.
    pub job_id: JobId,
    /// When (RFC 3339, UTC).
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
}

/// What happened; `type` names it, as does the frame's `event:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Payload {
    /// The job is on disk (gateway) or has its worker (workers).
    Accepted {},
    /// The job waits.
    Queued {
        /// Its place in the queue, from 1.
        position: u64,
        /// What it waits for, in words.
        reason: String,
    },
    /// A worker took the job.
    Started {
        /// From 1; more than 1 after a worker was lost or a retry.
        attempt: u32,
        /// The worker's id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// The machine that it runs on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// A step began or ended.
    Step(Box<StepEvent>),
    /// How far a step has come; at most 10 a second.
    Progress {
        /// Which step.
        step: Step,
        /// What is being counted: `receiving`, `resolving`, `checkout`.
        phase: String,
        /// How many are done.
        current: u64,
        /// Of how many; 0 when not known.
        total: u64,
        /// Bytes received so far.
        bytes: u64,
    },
    /// The agent did something, or a worker has something to remark.
    Agent(AgentEvent),
    /// Raw text from a step's program.
    Output {
        /// Which step.
        step: Step,
        /// `stdout`, `stderr`, or `patch` for a piece of the delivered patch.
        stream: Stream,
        /// The text; bytes that are not UTF-8 are replaced, except in a patch.
        text: String,
        /// `base64` when a piece of a patch is not UTF-8.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        encoding: Option<Encoding>,
    },
    /// The job succeeded; the last event.
    Completed {
        /// How it ended.
        outcome: Box<Outcome>,
    },
    /// The job failed; the last event.
    Failed {
        /// How it ended.
        outcome: Box<Outcome>,
    },
    /// The job was cancelled; the last event.
    Cancelled {
        /// How it ended.
        outcome: Box<Outcome>,
    },
}

impl Payload {
    /// The event's name, as in `event:` and `type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted {} => "accepted",
            Self::Queued { .. } => "queued",
            Self::Started { .. } => "started",
            Self::Step(_) => "step",
            Self::Progress { .. } => "progress",
            Self::Agent(_) => "agent",
            Self::Output { .. } => "output",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// The outcome, if this is a job's last event.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Completed { outcome }
            | Self::Failed { outcome }
            | Self::Cancelled { outcome } => Some(outcome),
            _ => None,
        }
    }
}

/// Whether an event of this name ends its job's log.
#[must_use]
pub fn is_terminal(name: &str) -> bool {
    matches!(name, "completed" | "failed" | "cancelled")
}

/// A part of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Bringing the repository into the workspace.
    Pull,
    /// Running the agent.
    Execute,
    /// Running the check command.
    Check,
    /// Turning the changes into what the caller asked for.
    Deliver,
}

impl Step {
    /// The step's name, as in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Execute => "execute",
            Self::Check => "check",
            Self::Deliver => "deliver",
        }
    }
}

/// A step's beginning or end, with what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepEvent {
    /// Which step.
    pub step: Step,
    /// Where it stands.
    pub state: StepState,
    /// Why it failed or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// After a pull: the commit that was checked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// After a pull: the branch or tag it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// After a delivery: how much changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// After a check: its command's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

impl StepEvent {
    /// An event that says no more than where the step stands.
    #[must_use]
    pub fn new(step: Step, state: StepState) -> Self {
        Self {
            step,
            state,
            reason: None,
            message: None,
            duration_ms: None,
            commit: None,
            branch: None,
            changes: None,
            exit_code: None,
        }
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    /// It runs.
    Started,
    /// It did what it should.
    Completed,
    /// It did not; the reason says why.
    Failed,
    /// There was nothing for it to do.
    Skipped,
}

/// What the agent did; `kind` names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum AgentEvent {
    /// The agent says something.
    Message {
        /// Its words.
        text: String,
    },
    /// The agent thinks aloud.
    Thinking {
        /// Its thoughts.
        text: String,
    },
    /// The agent uses a tool.
    ToolCall {
        /// Matches the call with its result.
        id: String,
        /// The tool's name.
        name: String,
        /// The tool's input, as the agent gave it.
        #[schema(value_type = Object)]
        input: serde_json::Value,
    },
    /// The tool answered.
    ToolResult {
        /// Matches the call with its result.
        id: String,
        /// What it said.
        text: String,
        /// Whether it says that it failed.
        is_error: bool,
    },
    /// What the run has used so far.
    Usage {
        /// The sums.
        usage: Usage,
    },
    /// Something that a reader should know and that ends nothing.
    Notice {
        /// A stable code, such as `submodules_left`, `lfs_pointers_left`, `model_retry`.
        code: String,
        /// A sentence for people.
        message: String,
    },
}

/// Where a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Stream {
    /// The program's standard output.
    Stdout,
    /// The program's standard error.
    Stderr,
    /// The patch; its pieces, joined in order, are what `git apply` takes.
    Patch,
}

/// How a piece of output is written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Encoding {
    /// RFC 4648, with padding.
    Base64,
}
