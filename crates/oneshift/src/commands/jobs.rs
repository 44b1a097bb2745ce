//! `oneshift jobs`: a table of jobs.

use std::process::ExitCode;

use client::protocol::job::{Job, JobState};
use client::{Endpoint, JobFilter};
use jiff::Timestamp;

use crate::cli::{JobsArgs, StateFilter};
use crate::view::table::table;
use crate::view::{Line, Tone, format, out, text};

/// Most jobs that a gateway gives in one page.
const PAGE: u32 = 100;

/// Most reasons for waiting that are told below a table.
const MAX_REASONS: usize = 5;

/// Lists jobs, newest first.
pub(crate) async fn jobs(args: &JobsArgs, gateway: &Endpoint) -> anyhow::Result<ExitCode> {
    let jobs = fetch(args, gateway).await?;
    if args.json {
        for job in &jobs {
            out::line(&crate::view::json_line(&serde_json::to_string(job)?))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if jobs.is_empty() {
        eprintln!("no jobs");
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(&jobs, Timestamp::now(), out::width()).into_iter().chain(waits(&jobs)) {
        out::line(&line.paint())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn fetch(args: &JobsArgs, gateway: &Endpoint) -> anyhow::Result<Vec<Job>> {
    let mut filter = JobFilter {
        state: args.state.map(|state| JobState::from(state).name().to_owned()),
        label: args.label.as_ref().map(|(key, value)| format!("{key}={value}")),
        ..JobFilter::default()
    };
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut jobs = Vec::new();
    while jobs.len() < limit {
        filter.limit = u32::try_from(limit - jobs.len()).ok().map(|rest| rest.min(PAGE));
        let page = gateway.jobs(&filter).await?;
        jobs.extend(page.jobs);
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    jobs.truncate(limit);
    Ok(jobs)
}

fn lines(jobs: &[Job], now: Timestamp, width: usize) -> Vec<Line> {
    let heading = ["JOB", "STATE", "CREATED", "TOOK", "REPOSITORY", "PROMPT"];
    table(heading, jobs.iter().map(|job| (tone(job.state), row(job, now))).collect(), width)
}

/// What the queued jobs wait for, each reason once.
fn waits(jobs: &[Job]) -> Vec<Line> {
    let mut waits: Vec<(&str, u64)> = Vec::new();
    for queued in jobs.iter().filter_map(|job| job.queued.as_ref()) {
        match waits.iter_mut().find(|(reason, _)| *reason == queued.reason) {
            Some((_, count)) => *count += 1,
            None => waits.push((&queued.reason, 1)),
        }
    }
    let line = |(reason, count): &(&str, u64)| {
        let jobs = format::count(*count, "queued job");
        Line::new(Tone::Faint, format!("{jobs}: {}", text::one_line(reason)))
    };
    waits.iter().take(MAX_REASONS).map(line).collect()
}

fn row(job: &Job, now: Timestamp) -> [String; 6] {
    let field = |name: &str| job.request.get(name).and_then(|value| value.as_str()).unwrap_or("");
    let took = job
        .started_at
        .map(|start| format::duration(format::between(start, job.finished_at.unwrap_or(now))));
    [
        format::short_id(job.id),
        job.state.name().to_owned(),
        format::age(job.created_at, now),
        took.unwrap_or_else(|| "-".to_owned()),
        text::shortened(&repository(field("repoUrl")), 28),
        text::shortened(&text::one_line(field("prompt")), 60),
    ]
}

/// The end of an address, which says most.
fn repository(url: &str) -> String {
    let path = text::one_line(url.trim_end_matches('/').trim_end_matches(".git"));
    let parts: Vec<&str> = path.rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

fn tone(state: JobState) -> Tone {
    match state {
        JobState::Queued => Tone::Faint,
        JobState::Running => Tone::Action,
        JobState::Completed => Tone::Plain,
        JobState::Failed => Tone::Bad,
        JobState::Cancelled => Tone::Warning,
    }
}

impl From<StateFilter> for JobState {
    fn from(state: StateFilter) -> Self {
        match state {
            StateFilter::Queued => Self::Queued,
            StateFilter::Running => Self::Running,
            StateFilter::Completed => Self::Completed,
            StateFilter::Failed => Self::Failed,
            StateFilter::Cancelled => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use client::protocol::job::Queued;
    use serde_json::json;

    use super::*;

    fn job(prompt: &str, state: JobState, started_at: Option<&str>) -> Job {
        Job {
            id: "0192f0c1-7c5e-7b3a-9d57-2f1f5c0e8a11".parse().unwrap(),
            state,
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            started_at: started_at.map(|at| at.parse().unwrap()),
            finished_at: None,
            attempt: 1,
            submitted_by: None,
            request: json!({ "prompt": prompt, "repoUrl": "https://host/org/repo.git" }),
            queued: None,
            last_event: 1,
            outcome: None,
        }
    }

    #[test]
    fn each_reason_for_waiting_is_told_once() {
        let queued = |reason: &str| {
            let queued = Some(Queued { position: 1, reason: reason.to_owned() });
            Job { queued, ..job("do", JobState::Queued, None) }
        };
        let jobs = [
            queued("claude's credential is rate limited"),
            job("do", JobState::Running, None),
            queued("no workflow worker is idle"),
            queued("claude's credential is rate limited"),
        ];
        let texts: Vec<String> = waits(&jobs).into_iter().map(|line| line.text).collect();
        let expected = [
            "2 queued jobs: claude's credential is rate limited",
            "1 queued job: no workflow worker is idle",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn columns_are_aligned_and_hostile_prompts_are_harmless() {
        let jobs = [
            job("do\nthis\u{1b}[2J", JobState::Running, Some("2026-01-01T00:00:10Z")),
            job("that", JobState::Queued, None),
        ];
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let texts: Vec<String> = lines(&jobs, now, 200).into_iter().map(|line| line.text).collect();
        let expected = [
            "JOB           STATE    CREATED    TOOK    REPOSITORY  PROMPT",
            "2f1f5c0e8a11  running  1 min ago  50.0 s  org/repo    do this",
            "2f1f5c0e8a11  queued   1 min ago  -       org/repo    that",
        ];
        assert_eq!(texts, expected);
    }
}
