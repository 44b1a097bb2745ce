//! How a job ended, in a few lines.

use std::time::Duration;

use client::protocol::outcome::{Changes, Durations, Outcome, State};
use client::protocol::{JobId, Reason};

use super::format;
use super::hints::Hints;
use super::line::{Line, Tone};
use super::text::one_line;

/// The lines that end a job's story.
pub(super) fn lines(job: JobId, outcome: &Outcome, hints: Option<&Hints>) -> Vec<Line> {
    let mut lines = vec![sentence(outcome)];
    let facts = facts(outcome);
    if !facts.is_empty() {
        lines.push(Line::new(Tone::Faint, format!("  {}", facts.join(" · "))));
    }
    if let (Some(_), Some(hints)) = (&outcome.patch, hints) {
        let command = hints.patch(job);
        lines.push(Line::new(Tone::Plain, format!("  the patch: {command}")));
    }
    if let Some(url) = &outcome.pull_request {
        lines.push(Line::new(Tone::Plain, format!("  pull request: {}", one_line(url))));
    }
    lines.extend(quota(outcome));
    if outcome.retryable && hints.is_some() {
        lines.push(Line::new(Tone::Plain, "  trying again may help: --retries does it by itself"));
    }
    lines
}

/// `✓ completed: …`
pub(crate) fn sentence(outcome: &Outcome) -> Line {
    let (tone, sign, state) = match outcome.state {
        State::Completed => (Tone::Good, "✓", "completed"),
        State::Failed => (Tone::Bad, "✗", "failed"),
        State::Cancelled => (Tone::Warning, "✗", "cancelled"),
    };
    let reason = outcome.reason.map(|reason| format!(" ({})", code(reason))).unwrap_or_default();
    Line::new(tone, format!("{sign} {state}{reason}: {}", one_line(&outcome.message)))
}

/// When a quota that was refused is there again, if that is known.
pub(crate) fn quota(outcome: &Outcome) -> Option<Line> {
    let text = format!("  the quota is there again at {}", outcome.retry_at?);
    Some(Line::new(Tone::Plain, text))
}

/// Changes, time and cost, as far as they are known.
pub(crate) fn facts(outcome: &Outcome) -> Vec<String> {
    let mut facts: Vec<String> = outcome.changes.map(changes).into_iter().collect();
    let time = total(&outcome.durations);
    if !time.is_zero() {
        facts.push(format::duration(time));
    }
    if let Some(usage) = outcome.usage {
        if usage.turns > 0 {
            facts.push(format::count(usage.turns.into(), "turn"));
        }
        if usage.cost_usd > 0.0 {
            facts.push(format::dollars(usage.cost_usd));
        }
    }
    facts
}

/// `2 files changed, +10 -3`
pub(crate) fn changes(changes: Changes) -> String {
    if changes.files == 0 {
        return "no changes".to_owned();
    }
    let files = format::count(changes.files, "file");
    format!("{files} changed, +{} -{}", changes.insertions, changes.deletions)
}

/// A reason's stable code.
pub(crate) fn code(reason: Reason) -> String {
    let json = serde_json::to_value(reason).unwrap_or_default();
    json.as_str().unwrap_or("other").to_owned()
}

fn total(durations: &Durations) -> Duration {
    let Durations { pull_ms, execute_ms, check_ms, deliver_ms } = *durations;
    let steps = [pull_ms, execute_ms, check_ms, deliver_ms];
    Duration::from_millis(steps.into_iter().flatten().sum())
}
