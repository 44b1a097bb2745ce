//! `oneshift show`: a job and how it ended.

use std::process::ExitCode;

use client::Endpoint;
use client::protocol::job::Job;
use jiff::Timestamp;

use super::find::find;
use crate::cli::ShowArgs;
use crate::view::{Hints, Line, Tone, format, out, outcome, text};

/// The fields of a request that are shown, and how they are called.
const FIELDS: [(&str, &str); 8] = [
    ("repoUrl", "repository"),
    ("branch", "branch"),
    ("directory", "directory"),
    ("agent", "agent"),
    ("model", "model"),
    ("check", "check"),
    ("labels", "labels"),
    ("prompt", "prompt"),
];

/// Shows a job.
pub(crate) async fn show(args: &ShowArgs, gateway: &Endpoint) -> anyhow::Result<ExitCode> {
    let job = gateway.job(find(gateway, &args.id).await?).await?;
    if args.json {
        out::line(&crate::view::json_line(&serde_json::to_string_pretty(&job)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(&job, Timestamp::now(), &Hints::for_gateway(gateway.base())) {
        out::line(&line.paint())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(job: &Job, now: Timestamp, hints: &Hints) -> Vec<Line> {
    let mut lines = vec![Line::new(Tone::Heading, format!("job {}", job.id))];
    let mut fact = |name: &str, value: String| {
        let indent = format!("\n{:14}", "");
        let value = value.trim_end().replace('\n', &indent);
        lines.push(Line::new(Tone::Plain, format!("  {name:<11} {value}")));
    };
    fact("state", job.state.name().to_owned());
    if let Some(queued) = &job.queued {
        let reason = text::one_line(&queued.reason);
        fact("queued", format!("at place {}: {reason}", queued.position));
    }
    fact("created", format!("{} ({})", job.created_at, format::age(job.created_at, now)));
    if let Some(start) = job.started_at {
        let time = format::between(start, job.finished_at.unwrap_or(now));
        fact("took", format::duration(time));
    }
    if job.attempt > 1 {
        fact("attempt", job.attempt.to_string());
    }
    if let Some(name) = &job.submitted_by {
        fact("by", text::one_line(name));
    }
    for (field, name) in FIELDS {
        if let Some(value) = job.request.get(field).and_then(shown) {
            fact(name, value);
        }
    }
    if let Some(ended) = &job.outcome {
        if let Some(result) = &ended.result {
            fact("result", text::printable(result));
        }
        let facts = outcome::facts(ended);
        if !facts.is_empty() {
            fact("changed", facts.join(" · "));
        }
        lines.push(outcome::sentence(ended));
        lines.extend(outcome::quota(ended));
        if ended.patch.is_some() {
            let command = hints.patch(job.id);
            lines.push(Line::new(Tone::Plain, format!("  the patch: {command}")));
        }
    }
    lines
}

/// A field's value; none if there is nothing in it.
fn shown(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(value) => Some(text::printable(value)),
        serde_json::Value::Object(pairs) if pairs.is_empty() => None,
        serde_json::Value::Object(pairs) => {
            let pair = |(key, value): (&String, &serde_json::Value)| {
                text::one_line(&format!("{key}={}", value.as_str().unwrap_or_default()))
            };
            Some(pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        value => Some(text::one_line(&value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use client::protocol::job::{JobState, Queued};
    use client::protocol::{Outcome, Reason};
    use serde_json::json;

    use super::*;

    fn job(state: JobState) -> Job {
        Job {
            id: "0192f0c1-7c5e-7b3a-9d57-2f1f5c0e8a11".parse().unwrap(),
            state,
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            started_at: None,
            finished_at: None,
            attempt: 1,
            submitted_by: None,
            request: json!({}),
            queued: None,
            last_event: 1,
            outcome: None,
        }
    }

    fn texts(job: &Job) -> Vec<String> {
        let hints = Hints::for_gateway("http://h");
        lines(job, job.created_at, &hints).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_queued_job_says_what_it_waits_for_and_escape_sequences_do_nothing() {
        let reason = "claude's credential is rate\u{1b}[2J limited".to_owned();
        let queued = Some(Queued { position: 3, reason });
        let expected = "  queued      at place 3: claude's credential is rate limited";
        let texts = texts(&Job { queued, ..job(JobState::Queued) });
        assert!(texts.contains(&expected.to_owned()), "{texts:?}");
    }

    #[test]
    fn a_refused_quota_says_when_it_is_there_again() {
        let retry_at = Some("2026-11-21T18:00:50Z".parse().unwrap());
        let outcome = Outcome { retry_at, ..Outcome::failed(Reason::RateLimited, "used up") };
        let texts = texts(&Job { outcome: Some(outcome), ..job(JobState::Failed) });
        let expected = [
            "✗ failed (rate_limited): used up",
            "  the quota is there again at 2026-11-21T18:00:50Z",
        ];
        assert!(texts.ends_with(&expected.map(str::to_owned)), "{texts:?}");
    }
}
