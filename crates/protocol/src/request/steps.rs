//! The bodies that `workflow` sends to the other workers, and that `curl` may send as well.
//!
//! The job's folder is named by the `Oneshift-Job` header; without it the worker makes a new one.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::parse::JobRequest;
use super::workflow::{Deliver, Limits, argument, text, with_exposed_url};
use crate::error::RequestError;
use crate::name::{BranchName, Directory};
use crate::repo_url::RepoUrl;

/// Body of `POST /api/pull`: bring a repository into the job's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PullRequest {
    /// The repository.
    pub repo_url: RepoUrl,
    /// The branch or tag to check out; by default the remote's HEAD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// A folder that must exist in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
}

impl JobRequest for PullRequest {
    fn validate(&self) -> Result<(), RequestError> {
        Ok(())
    }

    fn to_wire(&self) -> Value {
        with_exposed_url(serde_json::to_value(self), &self.repo_url)
    }
}

/// Body of `POST /api/execute`: run an agent in the job's checkout, then the check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecuteRequest {
    /// What the agent is to do.
    pub prompt: String,
    /// The folder inside the checkout to work in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// Which agent; by default the worker's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The model's name, passed through to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What ends the agent early.
    #[serde(default)]
    pub limits: Limits,
    /// A shell command that must succeed afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// Obey the agent settings that the repository brings along.
    #[serde(default)]
    pub trust_repository: bool,
}

impl JobRequest for ExecuteRequest {
    fn validate(&self) -> Result<(), RequestError> {
        text("prompt", Some(&self.prompt))?;
        text("agent", self.agent.as_deref())?;
        text("model", self.model.as_deref())?;
        argument("model", self.model.as_deref())?;
        text("check", self.check.as_deref())?;
        self.limits.validate()
    }

    fn to_wire(&self) -> Value {
        serde_json::to_value(self).expect("requests hold nothing that JSON cannot")
    }
}

/// Body of `POST /api/deliver`: make a patch of what changed in the job's checkout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeliverRequest {
    /// The repository that was pulled.
    pub repo_url: RepoUrl,
    /// The commit that was checked out, as 40 hexadecimal digits; none for an empty repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What becomes of the changes.
    #[serde(default)]
    pub deliver: Deliver,
    /// Deliver even if somebody who should be gone still works in the job's folder: what is there
    /// counts more than that all of it is of one moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub salvage: bool,
}

impl JobRequest for DeliverRequest {
    fn validate(&self) -> Result<(), RequestError> {
        let is_commit =
            |base: &String| base.len() == 40 && base.bytes().all(|b| b.is_ascii_hexdigit());
        if self.base.as_ref().is_some_and(|base| !is_commit(base)) {
            return Err(super::workflow::invalid(
                "base",
                "is not a commit of 40 hexadecimal digits",
            ));
        }
        self.deliver.validate()
    }

    fn to_wire(&self) -> Value {
        with_exposed_url(serde_json::to_value(self), &self.repo_url)
    }
}
