//! A job as `GET /api/jobs/{id}` shows it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::JobId;
use crate::outcome::Outcome;

/// A job and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
    /// When it was accepted (RFC 3339, UTC).
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When its current attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub finished_at: Option<Timestamp>,
    /// The current attempt; 0 before the first.
    pub attempt: u32,
    /// The name of the token that submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_by: Option<String>,
    /// What was asked, without credentials.
    #[schema(value_type = Object)]
    pub request: serde_json::Value,
    /// While it waits: where, and what for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Queued>,
    /// The id of its last event.
    pub last_event: u64,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// A place in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Queued {
    /// From 1; how many go before it, as far as can be told cheaply.
    pub position: u64,
    /// What the job waits for, in words.
    pub reason: String,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum JobState {
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// It did what was asked.
    Completed,
    /// It did not.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

impl JobState {
    /// Whether the job has had its last event.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The state's name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<crate::outcome::State> for JobState {
    fn from(state: crate::outcome::State) -> Self {
        match state {
            crate::outcome::State::Completed => Self::Completed,
            crate::outcome::State::Failed => Self::Failed,
            crate::outcome::State::Cancelled => Self::Cancelled,
        }
    }
}

/// What is known of earlier wishes for a job's end when one more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is the first one.
    First,
    /// There was one already.
    Repeated,
    /// The job had ended before.
    Late,
}

/// The answer to a wish for a job's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cancellation {
    /// The job as it stands now.
    #[serde(flatten)]
    pub job: Job,
    /// What comes of the wish, in a sentence.
    pub message: String,
}

impl Cancellation {
    /// The answer for the job as it stands after the wish.
    #[must_use]
    pub fn new(job: Job, wish: Wish) -> Self {
        let state = job.state.name();
        let message = match wish {
            Wish::Late => format!("the job had ended before: {state}; nothing is changed"),
            _ if job.state.is_terminal() => format!("the job has ended: {state}"),
            Wish::First => "the job is being stopped; its last event tells its end".to_owned(),
            Wish::Repeated => {
                "the job was being stopped already; its last event tells its end".to_owned()
            }
        };
        Self { job, message }
    }
}

/// A page of jobs, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Pass it as `?cursor=` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
