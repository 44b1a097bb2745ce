//! The arguments of `run`, and the request made of them.

use std::path::Path;

use anyhow::Context;
use clap::{Args, ValueEnum};
use client::protocol::request::{Deliver, DeliverMode, Limits, WorkflowRequest};
use client::protocol::{BranchName, Directory, RepoUrl};

use crate::failure::Usage;

/// A job, and how to follow it.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What the agent is to do; read from standard input when it is left out
    pub(crate) prompt: Option<String>,
    /// The repository: an http(s) address, or a folder on this machine
    #[arg(long, value_name = "URL|PATH")]
    pub(crate) repo: String,
    /// Branch or tag to start from [default: the repository's own]
    #[arg(long)]
    pub(crate) branch: Option<String>,
    /// Folder inside the repository to work in
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<String>,
    /// Which agent: claude, or command for the operator's own program
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Name of the model, as the agent knows it
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// A command that must succeed after the agent, such as "cargo test"
    #[arg(long, value_name = "COMMAND")]
    pub(crate) check: Option<String>,
    /// Longest time for agent and check together [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Longest silence of the agent [default: 600]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle: Option<u64>,
    /// Most turns of the conversation with the model
    #[arg(long, value_name = "N")]
    pub(crate) max_turns: Option<u32>,
    /// Most money that the model may cost
    #[arg(long, value_name = "USD")]
    pub(crate) max_cost: Option<f64>,
    /// What becomes of the changes
    #[arg(long, value_enum, default_value_t = Delivery::Patch)]
    pub(crate) deliver: Delivery,
    /// Something to find the job by; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = super::label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Higher goes first, from -100 to 100
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// How often to try again after an ending that may pass by itself
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) retries: u32,
    /// A name for this submission: the same name again returns the same job
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Obey the agent settings, hooks and MCP servers that the repository brings along
    #[arg(long)]
    pub(crate) trust_repository: bool,
    /// Print the job's id and leave it to itself
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Print each event as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What becomes of the changes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Delivery {
    /// Nothing
    None,
    /// A patch
    Patch,
    /// A branch of the same repository
    Branch,
    /// A pull request
    PullRequest,
}

impl RunArgs {
    /// The request that these arguments ask for. What only the service can judge is left to it.
    pub(crate) fn request(&self, prompt: String) -> anyhow::Result<WorkflowRequest> {
        let limits = Limits::default();
        Ok(WorkflowRequest {
            prompt,
            repo_url: repository(&self.repo)?,
            branch: parsed(self.branch.as_ref(), BranchName::try_from)?,
            directory: parsed(self.directory.as_ref(), Directory::try_from)?,
            agent: self.agent.clone(),
            model: self.model.clone(),
            limits: Limits {
                timeout_seconds: self.timeout.unwrap_or(limits.timeout_seconds),
                idle_seconds: self.idle.unwrap_or(limits.idle_seconds),
                max_turns: self.max_turns,
                max_cost_usd: self.max_cost,
            },
            check: self.check.clone(),
            check_rounds: 0,
            deliver: Deliver { mode: self.deliver.into(), ..Deliver::default() },
            resume: None,
            concurrency: None,
            priority: self.priority,
            labels: self.labels.iter().cloned().collect(),
            retries: self.retries,
            trust_repository: self.trust_repository,
        })
    }
}

impl From<Delivery> for DeliverMode {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::None => Self::None,
            Delivery::Patch => Self::Patch,
            Delivery::Branch => Self::Branch,
            Delivery::PullRequest => Self::PullRequest,
        }
    }
}

fn parsed<T>(
    text: Option<&String>,
    parse: impl FnOnce(String) -> Result<T, String>,
) -> anyhow::Result<Option<T>> {
    text.cloned().map(parse).transpose().map_err(Usage::error)
}

/// An address as it is, or a folder of this machine as an absolute one.
fn repository(text: &str) -> anyhow::Result<RepoUrl> {
    let fault = |fault: String| Usage::error(fault.replace("repoUrl", "--repo"));
    let is_address = text.contains("://") || text.starts_with("git@");
    if is_address || text.is_empty() {
        return RepoUrl::parse(text).map_err(fault);
    }
    let path = Path::new(text).canonicalize().with_context(|| Usage(format!("--repo {text:?}")))?;
    if !path.is_dir() {
        return Err(Usage::error(format!("--repo {text:?} is not a folder")));
    }
    folder_address(&path)
}

/// The address of a folder of this machine.
pub(crate) fn folder_address(path: &Path) -> anyhow::Result<RepoUrl> {
    let url = url::Url::from_file_path(path)
        .map_err(|()| Usage::error(format!("{} is not an absolute path", path.display())))?;
    RepoUrl::parse(url.as_str()).map_err(Usage::error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        format!("{:#}", repository(text).unwrap_err())
    }

    #[test]
    fn a_folder_becomes_an_absolute_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("my repo");
        std::fs::create_dir(&path).unwrap();
        let url = repository(path.to_str().unwrap()).unwrap();
        assert!(url.is_local());
        assert_eq!(url.public().to_file_path().unwrap(), path);
        assert!(repository(".").unwrap().public().path().starts_with('/'));
    }

    #[test]
    fn what_is_no_repository_is_refused_in_the_words_of_the_command_line() {
        assert!(fault("no/such/folder").starts_with("--repo \"no/such/folder\": No such file"));
        assert!(fault("ssh://host/x").starts_with("--repo has the scheme \"ssh\""));
        assert!(fault("git@host:org/repo").starts_with("--repo is not a URL"));
        assert!(fault("").starts_with("--repo is empty"));
    }
}
