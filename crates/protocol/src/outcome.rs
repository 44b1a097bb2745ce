//! How a job ended, by all the evidence.

use std::fmt;

use jiff::Timestamp;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Success, failure or cancellation.
    pub state: State,
    /// Why; absent when there is nothing to add to success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same in a sentence.
    pub message: String,
    /// Whether the same job may well succeed when it is tried again.
    pub retryable: bool,
    /// When the quota that was refused is there again (RFC 3339, UTC), if the model's API told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub retry_at: Option<Timestamp>,
    /// The agent's exit code; 128 + n when signal n ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The agent's own name for the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The agent's closing words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// What the run used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How much changed in the checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// The commit that the job started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch or tag that the job started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The pull request's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<String>,
    /// Where the patch can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// How long each step took.
    #[serde(default)]
    pub durations: Durations,
}

impl Outcome {
    /// A success that has nothing to add.
    pub fn completed(message: impl Into<String>) -> Self {
        Self::new(State::Completed, None, message.into())
    }

    /// A failure; whether it is retryable follows from its reason.
    pub fn failed(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(State::Failed, Some(reason), message.into())
    }

    /// A cancellation, for the reason given.
    pub fn cancelled(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(State::Cancelled, Some(reason), message.into())
    }

    fn new(state: State, reason: Option<Reason>, message: String) -> Self {
        Self {
            state,
            reason,
            message,
            retryable: state == State::Failed && reason.is_some_and(Reason::is_retryable),
            retry_at: None,
            exit_code: None,
            session_id: None,
            result: None,
            usage: None,
            changes: None,
            commit: None,
            branch: None,
            pull_request: None,
            patch: None,
            durations: Durations::default(),
        }
    }

    /// The event that ends a job with this outcome.
    #[must_use]
    pub fn into_payload(self) -> crate::event::Payload {
        let outcome = Box::new(self);
        match outcome.state {
            State::Completed => crate::event::Payload::Completed { outcome },
            State::Failed => crate::event::Payload::Failed { outcome },
            State::Cancelled => crate::event::Payload::Cancelled { outcome },
        }
    }
}

/// How a job ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It did what was asked.
    Completed,
    /// It did not.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// Why a job ended as it did: a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The agent failed, or crashed.
    AgentError,
    /// The agent's program could not be started.
    AgentUnavailable,
    /// A tool that the agent wanted was refused to it.
    PermissionDenied,
    /// The model refused the task.
    Refused,
    /// `limits.maxTurns` was reached.
    TurnLimit,
    /// `limits.maxCostUsd` was reached.
    CostLimit,
    /// `limits.timeoutSeconds` was reached.
    Timeout,
    /// The agent, or the git server, was silent for too long.
    Stalled,
    /// The check command failed.
    CheckFailed,
    /// The agent ended well, but nothing in the checkout is different.
    NoChanges,
    /// The repository could not be read, for a reason that has no code of its own.
    CloneFailed,
    /// The operator's configuration does not allow what the job asks for.
    NotAllowed,
    /// The server has no such repository, or does not show it.
    RepositoryNotFound,
    /// The repository has no such branch or tag.
    BranchNotFound,
    /// The repository has no such folder, or it is a symlink.
    DirectoryNotFound,
    /// The server wants a login, or refuses the one given.
    LoginRefused,
    /// The server's host cannot be reached.
    HostUnreachable,
    /// The workspace's disk is full.
    DiskFull,
    /// The patch or a file is larger than what can be delivered.
    PatchTooLarge,
    /// The remote refused the push.
    PushRejected,
    /// The model's API refused for lack of quota, or because it was overloaded.
    RateLimited,
    /// The model's API refused the credential.
    ModelLoginRefused,
    /// The worker vanished.
    WorkerLost,
    /// Nobody read the worker's stream any more.
    CallerLost,
    /// The caller cancelled the job.
    CancelRequested,
    /// A newer job with the same concurrency key took its place.
    Superseded,
    /// The worker was told to stop and its drain time was over.
    WorkerStopped,
    /// Oneshift itself failed; the worker's log says why.
    InternalError,
    /// A reason of a newer version.
    #[serde(other)]
    Other,
}

/// The code, as in JSON.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Reason {
    /// The reason with this code; [`Reason::Other`] if this version knows none.
    #[must_use]
    pub fn of_code(code: &str) -> Self {
        let code: StrDeserializer<'_, serde::de::value::Error> = code.into_deserializer();
        Self::deserialize(code).unwrap_or(Self::Other)
    }

    /// Whether the same job may well succeed when it is tried again, without anybody's doing.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::WorkerLost
                | Self::WorkerStopped
                | Self::CallerLost
                | Self::RateLimited
                | Self::HostUnreachable
                | Self::CloneFailed
                | Self::Stalled
        )
    }
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Tokens read that no cache had.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Tokens read from the model's cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the model's cache.
    pub cache_write_tokens: u64,
    /// US dollars, as the agent reckons them.
    pub cost_usd: f64,
    /// Turns of the conversation.
    pub turns: u32,
}

/// How much changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Changes {
    /// Files that are new, different or gone.
    pub files: u64,
    /// Lines added.
    pub insertions: u64,
    /// Lines removed.
    pub deletions: u64,
}

/// How long each step took, in milliseconds; absent for a step that did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Durations {
    /// The pull.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_ms: Option<u64>,
    /// The agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute_ms: Option<u64>,
    /// The check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_ms: Option<u64>,
    /// The delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_known_by_its_code() {
        assert_eq!(Reason::WorkerStopped.to_string(), "worker_stopped");
        assert_eq!(Reason::of_code("worker_stopped"), Reason::WorkerStopped);
        assert_eq!(Reason::of_code("of a newer version"), Reason::Other);
    }
}
