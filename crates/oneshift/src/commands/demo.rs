//! `oneshift demo`: one job from beginning to end, with nothing to prepare.

mod objects;
mod repository;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use client::Endpoint;
use client::protocol::request::{Deliver, Limits, WorkflowRequest};

use super::run::{End, Following};
use super::up::Stops;
use crate::cli::folder_address;
use crate::config::Config;
use crate::supervisor::{Binaries, Sizes, Stack, Surroundings, free_port, random_token};
use crate::view::{Line, Tone, View, diff, out};

const PROMPT: &str = "Add a README file";

/// One job at a time needs one worker of each kind, and a second git-pull to deliver at once.
const SIZES: Sizes = Sizes { workflow: 1, git_pull: 2, claude_exec: 1 };

/// Starts everything on a free port, runs a job in a repository made for it, shows the diff and
/// cleans up.
pub(crate) async fn demo(config: &Config) -> anyhow::Result<ExitCode> {
    let binaries = Binaries::find(config)?;
    // Before there is anything to clean up.
    let mut stops = Stops::listen()?;
    let folder = tempfile::Builder::new()
        .prefix("oneshift-demo-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let repository = folder.path().join("repository");
    repository::make(&repository).context("cannot make a repository for the demo")?;
    let surroundings = surroundings(config, &binaries, folder.path())?;
    say(&format!("Made a small repository in {}", repository.display()))?;
    say(agent_sentence(&surroundings))?;
    let stack = tokio::select! {
        stack = Stack::start(&binaries, &surroundings, SIZES) => stack?,
        () = stops.next() => return Ok(crate::failure::DETACHED.into()),
    };
    say(&format!("Started the services on http://127.0.0.1:{}\n", surroundings.port))?;
    let ended = tokio::select! {
        ended = job(surroundings.port, &repository) => ended,
        () = stops.next() => Ok(crate::failure::DETACHED.into()),
    };
    // The demo's jobs need no time to end: nobody will see them.
    stack.stop(std::future::ready(())).await;
    let cleaned = folder.close().context("cannot remove the demo's temporary folder");
    let code = ended?;
    cleaned?;
    Ok(code)
}

fn say(text: &str) -> std::io::Result<()> {
    out::line(&Line::new(Tone::Plain, text).paint())
}

fn surroundings(
    config: &Config,
    binaries: &Binaries,
    folder: &Path,
) -> anyhow::Result<Surroundings> {
    let claude =
        config.text("ONESHIFT_CLAUDE").map(Into::into).or_else(|| config.program("claude"));
    let has_claude = claude.is_some() && config.has_model_credential();
    let scripted = || vec![binaries.own.display().to_string(), "scripted-agent".to_owned()];
    Ok(Surroundings {
        config: config.clone(),
        port: free_port()?,
        cluster_token: random_token()?,
        data: folder.join("data"),
        workspace: folder.join("workspace"),
        log: "error",
        agent_command: (!has_claude).then(scripted),
    })
}

fn agent_sentence(surroundings: &Surroundings) -> &'static str {
    if surroundings.agent_command.is_none() {
        "The agent is Claude Code. It runs as this user, without a sandbox, and with permission \
         prompts off"
    } else {
        "There is no `claude` with a credential for its model here, so a built-in script takes the \
         agent's place: it reads the files and writes a README.md, without any model"
    }
}

async fn job(port: u16, repository: &Path) -> anyhow::Result<ExitCode> {
    // Without a token: on loopback the gateway asks for none.
    let gateway = Endpoint::new(&format!("http://127.0.0.1:{port}"), None)?;
    let request = request(repository)?;
    say(&format!("$ oneshift run --repo {} \"{PROMPT}\"", repository.display()))?;
    let mut following = Following::submit(gateway.clone(), &request, None).await?;
    let mut view = View::fitting(false, None);
    let end = following.show(&mut view).await;
    view.finish()?;
    let end = end?;
    if let End::Job(Some(outcome)) = &end
        && outcome.patch.is_some()
    {
        say("\nThis is what the agent changed:\n")?;
        let patch = gateway.patch(following.job()).await?;
        for line in diff::lines(&patch) {
            out::line(&line.paint())?;
        }
        say("\nTo do the same with your own repository: oneshift up, then oneshift run --repo .")?;
    }
    Ok(end.exit_code())
}

fn request(repository: &Path) -> anyhow::Result<WorkflowRequest> {
    Ok(WorkflowRequest {
        prompt: PROMPT.to_owned(),
        repo_url: folder_address(repository)?,
        branch: None,
        directory: None,
        agent: None,
        model: None,
        limits: Limits::default(),
        check: None,
        check_rounds: 0,
        deliver: Deliver::default(),
        resume: None,
        concurrency: None,
        priority: 0,
        labels: std::collections::BTreeMap::new(),
        retries: 0,
        trust_repository: false,
    })
}
