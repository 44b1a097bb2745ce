//! The body of `POST /api/workflow`: a whole job.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::parse::JobRequest;
use crate::error::{ErrorCode, RequestError};
use crate::id::JobId;
use crate::name::{BranchName, Directory};
use crate::repo_url::RepoUrl;

/// Longest time that any job may be given: one week.
const MAX_TIMEOUT_SECONDS: u64 = 7 * 24 * 3600;

/// The agent that is the operator's own program.
pub const COMMAND_AGENT: &str = "command";

/// Most labels on one job, and the longest key or value in bytes.
const MAX_LABELS: usize = 32;
const MAX_LABEL_BYTES: usize = 256;

/// Most automatic retries of one job.
const MAX_RETRIES: u32 = 10;

/// A job: what to do, in which repository, within which limits, and what to do with the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowRequest {
    /// What the agent is to do.
    pub prompt: String,
    /// The repository to do it in. Credentials in it are used, but never shown again.
    pub repo_url: RepoUrl,
    /// The branch or tag to start from; by default the remote's HEAD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// The folder inside the repository that the agent works in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// Which agent: `claude`, or `command` for the operator's own program. By default the worker's
    /// choice, which is `claude`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The model's name, passed through to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What ends the job early.
    #[serde(default)]
    pub limits: Limits,
    /// A shell command that must succeed after the agent, such as `cargo test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// How often a failed check goes back to the agent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub check_rounds: u32,
    /// What becomes of the changes.
    #[serde(default)]
    pub deliver: Deliver,
    /// An earlier job to go on with: same conversation, same tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<JobId>,
    /// Which jobs may not run at the same time as this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Higher goes first; from -100 to 100.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Free key-values to find the job by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How often a retryable ending is tried again by itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: u32,
    /// Obey the agent settings, hooks and MCP servers that the repository brings along. They run
    /// code of the repository's authors before any prompt, so this is off by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub trust_repository: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What ends a job early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Wall time of the agent and its check together, in seconds.
    pub timeout_seconds: u64,
    /// Longest silence of the agent, in seconds.
    pub idle_seconds: u64,
    /// Most turns of the conversation with the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Most money, in US dollars as the agent reckons it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout_seconds: 3600, idle_seconds: 600, max_turns: None, max_cost_usd: None }
    }
}

impl Limits {
    /// Refuses limits that an agent cannot keep: the turns and the cost of `command`, the operator's
    /// own program, are not known.
    ///
    /// # Errors
    /// `not_supported`, which names the limit.
    pub fn check_for(&self, agent: &str) -> Result<(), RequestError> {
        let given = [
            ("limits.maxTurns", self.max_turns.is_some()),
            ("limits.maxCostUsd", self.max_cost_usd.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given && agent == COMMAND_AGENT) {
            None => Ok(()),
            Some((field, _)) => {
                let message = format!("{field} cannot be kept by agent \"command\"; leave it out");
                Err(RequestError::field(ErrorCode::NotSupported, field, message))
            }
        }
    }

    pub(super) fn validate(&self) -> Result<(), RequestError> {
        let seconds = 1..=MAX_TIMEOUT_SECONDS;
        let range = format!("must be between 1 and {MAX_TIMEOUT_SECONDS} seconds");
        let fault = |field: &str, rule: &str| {
            let field = format!("limits.{field}");
            Err(RequestError::field(ErrorCode::InvalidField, &field, format!("{field} {rule}")))
        };
        if !seconds.contains(&self.timeout_seconds) {
            return fault("timeoutSeconds", &range);
        }
        if !seconds.contains(&self.idle_seconds) {
            return fault("idleSeconds", &range);
        }
        if self.max_turns == Some(0) {
            return fault("maxTurns", "must be at least 1");
        }
        if self.max_cost_usd.is_some_and(|cost| !cost.is_finite() || cost <= 0.0) {
            return fault("maxCostUsd", "must be more than 0");
        }
        Ok(())
    }
}

/// What becomes of the changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Deliver {
    /// Where the changes go.
    pub mode: DeliverMode,
    /// The branch to push to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// The pull request's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The commit's message, or the pull request's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where the changes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeliverMode {
    /// Nowhere: only the conversation matters.
    None,
    /// Into a patch that `git apply` takes.
    #[default]
    Patch,
    /// Onto a branch of the same repository.
    Branch,
    /// Into a pull request on the repository's forge.
    PullRequest,
}

impl Deliver {
    pub(super) fn validate(&self) -> Result<(), RequestError> {
        if matches!(self.mode, DeliverMode::Branch | DeliverMode::PullRequest) {
            return Err(not_supported("deliver.mode", "use \"patch\" or \"none\""));
        }
        let unused = [
            ("deliver.branch", self.branch.is_some()),
            ("deliver.title", self.title.is_some()),
            ("deliver.message", self.message.is_some()),
        ];
        match unused.into_iter().find(|(_, given)| *given) {
            Some((field, _)) => Err(not_supported(field, "it belongs to the modes that push")),
            None => Ok(()),
        }
    }
}

fn not_supported(field: &str, instead: &str) -> RequestError {
    let message = format!("{field} asks for what this version does not do yet; {instead}");
    RequestError::field(ErrorCode::NotSupported, field, message)
}

/// Which jobs may not run at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Concurrency {
    /// Jobs with the same key never overlap.
    pub key: String,
    /// What to do when one with this key exists already.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// What to do when a job with the same concurrency key exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnConflict {
    /// Wait for it.
    #[default]
    Queue,
    /// Cancel it.
    Replace,
    /// Refuse the new one.
    Reject,
}

impl JobRequest for WorkflowRequest {
    fn validate(&self) -> Result<(), RequestError> {
        text("prompt", Some(&self.prompt))?;
        text("agent", self.agent.as_deref())?;
        text("model", self.model.as_deref())?;
        argument("model", self.model.as_deref())?;
        text("check", self.check.as_deref())?;
        text("concurrency.key", self.concurrency.as_ref().map(|c| c.key.as_str()))?;
        self.limits.validate()?;
        self.deliver.validate()?;
        if self.check_rounds > 0 {
            return Err(not_supported("checkRounds", "leave it out: a failed check fails the job"));
        }
        if self.resume.is_some() {
            return Err(not_supported("resume", "start a new job instead"));
        }
        if !(-100..=100).contains(&self.priority) {
            return Err(invalid("priority", "must be between -100 and 100"));
        }
        if self.retries > MAX_RETRIES {
            return Err(invalid("retries", "must be at most 10"));
        }
        labels(&self.labels)
    }

    fn to_wire(&self) -> Value {
        with_exposed_url(serde_json::to_value(self), &self.repo_url)
    }
}

/// A request's JSON with the repository's credentials put back.
pub(super) fn with_exposed_url(json: serde_json::Result<Value>, url: &RepoUrl) -> Value {
    let mut json = json.expect("requests hold nothing that JSON cannot");
    json["repoUrl"] = Value::from(url.expose().expose_secret());
    json
}

pub(super) fn invalid(field: &str, rule: &str) -> RequestError {
    RequestError::field(ErrorCode::InvalidField, field, format!("{field} {rule}"))
}

/// A text that is given must not be blank, nor hold NUL, which no argument or file name can carry.
pub(super) fn text(field: &str, value: Option<&str>) -> Result<(), RequestError> {
    match value {
        Some(text) if text.trim().is_empty() => Err(invalid(field, "is empty")),
        Some(text) if text.contains('\0') => Err(invalid(field, "contains a NUL byte")),
        _ => Ok(()),
    }
}

/// A text that becomes an argument of a program must not look like an option.
pub(super) fn argument(field: &str, value: Option<&str>) -> Result<(), RequestError> {
    match value {
        Some(text) if text.starts_with('-') => Err(invalid(field, "starts with a dash")),
        Some(text) if text.chars().any(char::is_control) => {
            Err(invalid(field, "contains a control character"))
        }
        _ => Ok(()),
    }
}

fn labels(labels: &BTreeMap<String, String>) -> Result<(), RequestError> {
    if labels.len() > MAX_LABELS {
        return Err(invalid("labels", "has more than 32 entries"));
    }
    let bad = |text: &str| text.len() > MAX_LABEL_BYTES || text.chars().any(char::is_control);
    match labels.iter().find(|(key, value)| key.is_empty() || bad(key) || bad(value)) {
        Some((key, _)) => {
            let key: String = key.chars().take(40).collect();
            let message = format!("labels: {key:?} is empty, longer than 256 bytes or unprintable");
            Err(RequestError::field(ErrorCode::InvalidField, "labels", message))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{MAX_BODY_BYTES, MAX_WIRE_BYTES, parse};
    use super::*;

    fn grown(body: &str) -> usize {
        let request: WorkflowRequest = parse(body.as_bytes()).unwrap();
        request.to_wire().to_string().len().saturating_sub(body.len())
    }

    proptest! {
        #[test]
        fn a_request_never_grows_by_more_than_services_have_room_for(
            prompt in "(?s)x.{0,40}",
            path in "[a-zà-ü%@:ü漢]{0,300}",
            cost in 1.0e-9..1.0e300_f64,
        ) {
            let prompt = prompt.replace('\0', "");
            let body = json!({
                "prompt": prompt,
                "repoUrl": format!("https://h/{path}"),
                "limits": { "maxCostUsd": cost },
                "concurrency": { "key": prompt },
            });
            prop_assert!(grown(&body.to_string()) <= MAX_WIRE_BYTES - MAX_BODY_BYTES);
        }
    }

    #[test]
    fn a_request_with_nothing_but_what_it_needs_grows_by_its_defaults() {
        let grown = grown(r#"{"prompt":"x","repoUrl":"/r"}"#);
        assert!((1..1000).contains(&grown), "{grown}");
    }
}
