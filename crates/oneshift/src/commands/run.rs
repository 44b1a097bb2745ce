//! `oneshift run`: gives a job to the gateway and follows it.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use client::protocol::request::{JobRequest, WorkflowRequest};
use client::protocol::{JobId, Outcome, State};
use client::{Endpoint, EventStream, Submission};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::RunArgs;
use crate::failure::{self, Usage};
use crate::view::{Hints, Line, PATIENCE, Tone, View, follow, out};

/// How long after the first Ctrl-C a second one cancels the job.
const CANCEL_WINDOW: Duration = Duration::from_secs(3);

/// Gives a job to the gateway and follows it, or only prints its id.
pub(crate) async fn run(args: &RunArgs, gateway: Endpoint) -> anyhow::Result<ExitCode> {
    let request = args.request(prompt(args)?)?;
    let key = args.idempotency_key.as_deref();
    if args.detach {
        return detached(&gateway, &request, key).await;
    }
    let hints = Some(Hints::for_gateway(gateway.base()));
    let mut following = Following::submit(gateway, &request, key).await?;
    let mut view = View::fitting(args.json, hints);
    view.remark(&Line::new(Tone::Faint, format!("job {}", following.job())));
    let result = following.watched(&mut view).await;
    view.finish()?;
    Ok(result?.exit_code())
}

fn prompt(args: &RunArgs) -> anyhow::Result<String> {
    if let Some(prompt) = args.prompt.as_ref().filter(|prompt| *prompt != "-") {
        return Ok(prompt.clone());
    }
    let mut input = std::io::stdin();
    if input.is_terminal() {
        return Err(Usage::error(
            "there is no prompt; give it as an argument, or on standard input",
        ));
    }
    let mut prompt = String::new();
    input.read_to_string(&mut prompt).context("cannot read the prompt from standard input")?;
    if prompt.trim().is_empty() {
        return Err(Usage::error("the prompt on standard input is empty"));
    }
    Ok(prompt)
}

async fn detached(
    gateway: &Endpoint,
    request: &WorkflowRequest,
    idempotency_key: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let body = request.to_wire();
    let submission = Submission { path: "/api/workflow", body: &body, job: None, idempotency_key };
    let job = gateway.submit_async(submission).await?;
    out::line(&job.id.to_string())?;
    let follow = Hints::for_gateway(gateway.base()).follow(job.id);
    eprintln!("follow it with: {follow}");
    Ok(ExitCode::SUCCESS)
}

/// How following ended.
pub(crate) enum End {
    /// With the job's last event.
    Job(Option<Box<Outcome>>),
    /// The job goes on.
    Detached,
}

impl End {
    /// The exit code of `run`.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Job(Some(outcome)) if outcome.state == State::Completed => ExitCode::SUCCESS,
            Self::Job(_) => failure::FAILED.into(),
            Self::Detached => failure::DETACHED.into(),
        }
    }
}

/// A job that was submitted and is followed.
pub(crate) struct Following {
    gateway: Endpoint,
    stream: EventStream,
}

impl Following {
    /// Submits a job.
    pub(crate) async fn submit(
        gateway: Endpoint,
        request: &WorkflowRequest,
        idempotency_key: Option<&str>,
    ) -> anyhow::Result<Self> {
        let body = request.to_wire();
        let submission =
            Submission { path: "/api/workflow", body: &body, job: None, idempotency_key };
        let stream = gateway.submit(submission, PATIENCE).await?;
        Ok(Self { gateway, stream })
    }

    /// The job.
    pub(crate) fn job(&self) -> JobId {
        self.stream.job()
    }

    /// Shows the job until it ends.
    pub(crate) async fn show(&mut self, view: &mut View) -> anyhow::Result<End> {
        Ok(End::Job(follow(&mut self.stream, view, u64::MAX).await?))
    }

    /// Shows the job until it ends, or somebody presses Ctrl-C: once to leave it, twice to cancel.
    async fn watched(&mut self, view: &mut View) -> anyhow::Result<End> {
        let mut interrupts = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        tokio::select! {
            end = self.show(view) => return end,
            _ = interrupts.recv() => {}
        }
        let job = self.job();
        let seconds = CANCEL_WINDOW.as_secs();
        let follow = Hints::for_gateway(self.gateway.base()).follow(job);
        for text in [
            format!("detached: the job goes on; come back with: {follow}"),
            format!("press Ctrl-C again within {seconds} s to cancel it"),
        ] {
            view.remark(&Line::new(Tone::Warning, text));
        }
        tokio::select! {
            end = self.show(view) => return end,
            () = tokio::time::sleep(CANCEL_WINDOW) => return Ok(End::Detached),
            _ = interrupts.recv() => {}
        }
        view.remark(&Line::new(Tone::Warning, "cancelling it; Ctrl-C once more does not wait"));
        tokio::select! {
            end = self.cancel(view) => end,
            _ = interrupts.recv() => Ok(End::Detached),
        }
    }

    async fn cancel(&mut self, view: &mut View) -> anyhow::Result<End> {
        self.gateway.cancel(self.job()).await?;
        self.show(view).await
    }
}
