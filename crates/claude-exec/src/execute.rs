//! The shift: one agent, then the check.

mod audience;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use service::one_shot::{Job, Shift};
use service::protocol::event::{StepEvent, StepState};
use service::protocol::request::ExecuteRequest;
use service::protocol::{Outcome, Payload, Reason, RequestError, State, Step};
use service::workspace::JobLock;
use tokio::time::Instant;

use crate::config::Config;
use crate::confinement::Walls;
use crate::directory::{Folders, unusable};
use crate::evidence::Evidence;
use crate::judge::{judge_agent, judge_check, milliseconds};
use crate::output::notice;
use crate::process::{self, Deadlines, Ending, Program};
use audience::{AgentAudience, CheckAudience};

/// What a checkout may hold for the claude CLI that is not read unless the job trusts it.
const AGENT_SETTINGS: [&str; 3] = [".claude", ".mcp.json", "CLAUDE.md"];

/// `POST /api/execute`.
#[derive(Clone, Debug)]
pub struct Execute {
    config: Config,
}

impl Execute {
    /// The shift of a worker with this configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Runs agent and check; the `Err` is the outcome of a job that cannot begin.
    async fn work(&self, request: &ExecuteRequest, job: &Job) -> Result<Outcome, Box<Outcome>> {
        // Held until agent, check and all that they started are gone.
        let lock = self.config.workspace.lock_job(job, Step::Execute).await?;
        let folders = Folders::open(&self.config.workspace, job, request.directory.as_ref())?;
        let end = Instant::now() + Duration::from_secs(request.limits.timeout_seconds);
        let silence = Duration::from_secs(request.limits.idle_seconds);
        let deadlines = Deadlines { end, silence };
        let confinement = self.config.confinement.as_ref();
        let walls = confinement.map(|it| it.of(job, &self.config.workspace)).unwrap_or_default();
        let place = Place { job, folders: &folders, lock: &lock, walls: &walls, deadlines };
        let mut outcome = self.run_agent(request, &place).await?;
        let Some(check) = request.check.as_deref() else { return Ok(outcome) };
        if outcome.state != State::Completed {
            let mut event = StepEvent::new(Step::Check, StepState::Skipped);
            event.message = Some("the agent did not succeed".to_owned());
            job.emit(Payload::Step(Box::new(event)));
            return Ok(outcome);
        }
        self.run_check(check, request, &place, &mut outcome).await?;
        Ok(outcome)
    }

    async fn run_agent(
        &self,
        request: &ExecuteRequest,
        place: &Place<'_>,
    ) -> Result<Outcome, Box<Outcome>> {
        let unknown = || internal("the agent is not configured any more");
        let mut run = self.config.agents.prepare(request).ok_or_else(unknown)?;
        let Place { job, folders, lock, walls, deadlines } = place;
        write_prompt(&folders.prompt, &run.prompt)?;
        if !request.trust_repository {
            remark_ignored_settings(&folders.work, job);
        }
        let step = StartedStep::start(Step::Execute, job);
        let mut environment = self.config.base.for_agent(&folders.home, &folders.temporary);
        environment.append(&mut run.environment);
        let program = Program {
            argv: run.argv.into_iter().map(OsString::from).collect(),
            directory: &folders.work,
            environment: &environment,
            input: Some(folders.prompt.clone()),
            walls,
            lock,
        };
        let mut audience = AgentAudience::new(job, &self.config.redactor, run.listener.as_mut());
        let shim = &self.config.shim;
        let ending = process::run(shim, program, *deadlines, job, &mut audience).await;
        let complaint = audience.complaint();
        // Nobody needs it any more; whoever cleans up the job's folder removes it otherwise.
        let _ = std::fs::remove_file(&folders.prompt);
        let ending = ending.map_err(|error| internal(&format!("cannot start a guard: {error}")))?;
        remark_leftovers("the agent", &ending, job);
        remark_partial_usage(&run.listener.evidence(), job);
        let mut outcome = judge_agent(ending, run.listener.as_ref(), &request.limits, &complaint);
        outcome.durations.execute_ms = Some(step.end(&outcome, None));
        Ok(outcome)
    }

    /// Runs the check; a failure takes the place of the agent's success, but not of what is known
    /// of its run.
    async fn run_check(
        &self,
        check: &str,
        request: &ExecuteRequest,
        place: &Place<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), Box<Outcome>> {
        let Place { job, folders, lock, walls, deadlines } = place;
        let step = StartedStep::start(Step::Check, job);
        let program = Program {
            argv: ["sh", "-c", check].map(OsString::from).to_vec(),
            directory: &folders.work,
            environment: &self.config.base.for_check(&folders.home, &folders.temporary),
            input: None,
            walls,
            lock,
        };
        let mut audience = CheckAudience::new(job, &self.config.redactor);
        let shim = &self.config.shim;
        let ending = process::run(shim, program, *deadlines, job, &mut audience).await;
        let ending = ending.map_err(|error| internal(&format!("cannot start a guard: {error}")))?;
        remark_leftovers("the check", &ending, job);
        let exit_code = ending.exit_code;
        match judge_check(ending, &request.limits) {
            Ok(()) => outcome.message.push_str(", and the check passed"),
            Err(failure) => {
                outcome.state = failure.state;
                outcome.reason = failure.reason;
                outcome.message = failure.message;
                outcome.retryable = failure.retryable;
            }
        }
        outcome.durations.check_ms = Some(step.end(outcome, exit_code));
        Ok(())
    }
}

impl Shift for Execute {
    type Request = ExecuteRequest;
    const ROUTE: &'static str = "execute";

    fn admit(&self, request: &ExecuteRequest) -> Result<(), RequestError> {
        self.config.agents.admit(request)
    }

    async fn run(&self, request: ExecuteRequest, job: Job) -> Outcome {
        match self.work(&request, &job).await {
            Ok(outcome) => outcome,
            Err(outcome) => *outcome,
        }
    }
}

/// Where and how long a job's programs run.
struct Place<'a> {
    job: &'a Job,
    folders: &'a Folders,
    lock: &'a JobLock,
    walls: &'a Walls,
    deadlines: Deadlines,
}

/// A step that has been announced.
struct StartedStep<'a> {
    step: Step,
    job: &'a Job,
    since: Instant,
}

impl<'a> StartedStep<'a> {
    fn start(step: Step, job: &'a Job) -> Self {
        job.emit(Payload::Step(Box::new(StepEvent::new(step, StepState::Started))));
        Self { step, job, since: Instant::now() }
    }

    /// Announces the end; returns how long it took, in milliseconds.
    fn end(self, outcome: &Outcome, exit_code: Option<i32>) -> u64 {
        let succeeded = outcome.state == State::Completed;
        let state = if succeeded { StepState::Completed } else { StepState::Failed };
        let mut event = StepEvent::new(self.step, state);
        if !succeeded {
            event.reason = outcome.reason;
            event.message = Some(outcome.message.clone());
        }
        let duration = milliseconds(self.since.elapsed());
        event.duration_ms = Some(duration);
        event.exit_code = exit_code;
        self.job.emit(Payload::Step(Box::new(event)));
        duration
    }
}

/// The prompt is a file and not a pipe: an agent that never reads it holds nobody up.
fn write_prompt(path: &Path, prompt: &str) -> Result<(), Box<Outcome>> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(prompt.as_bytes()))
        .map_err(|error| unusable(path, &error))
}

fn remark_ignored_settings(work: &Path, job: &Job) {
    let there = |name: &&str| work.join(name).symlink_metadata().is_ok();
    let found: Vec<&str> = AGENT_SETTINGS.into_iter().filter(|name| there(name)).collect();
    if !found.is_empty() {
        let found = found.join(", ");
        let message =
            format!("{found} of the repository is not obeyed; trustRepository changes that");
        job.emit(notice("agent_settings_ignored", message));
    }
}

fn remark_leftovers(who: &str, ending: &Ending, job: &Job) {
    if ending.leftovers > 0 {
        let message =
            format!("{who} left {} process(es) behind; they were killed", ending.leftovers);
        job.emit(notice("processes_killed", message));
    }
}

fn remark_partial_usage(evidence: &Evidence, job: &Job) {
    if evidence.usage_is_partial && evidence.usage.is_some() {
        let message = "the agent never told what it used in all: the tokens are a lower bound, \
                       and the cost is not known";
        job.emit(notice("usage_incomplete", message));
    }
}

fn internal(message: &str) -> Box<Outcome> {
    Box::new(Outcome::failed(Reason::InternalError, message))
}
