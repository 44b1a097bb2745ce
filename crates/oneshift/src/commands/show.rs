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
