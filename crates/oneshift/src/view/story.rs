//! A job's events as lines for people, and where the job stands.

use std::time::Duration;

use client::protocol::event::{AgentEvent, Event, Payload, Step, StepEvent, StepState, Stream};
use client::protocol::outcome::Usage;

use super::hints::Hints;
use super::line::{Line, Tone};
use super::text::{one_line, printable, shortened};
use super::{format, outcome, tool};

/// Widest tool call or result, in characters; longer ones are cut.
const WIDTH: usize = 110;

/// Most lines of one of the agent's thoughts or of an error of a tool.
const MAX_LINES: usize = 4;

/// What has been told so far, as far as later events refer to it.
#[derive(Debug, Default)]
pub(super) struct Story {
    step: Option<Step>,
    doing: Option<String>,
    counted: Option<Counted>,
    usage: Option<Usage>,
    hints: Option<Hints>,
}

/// How far a step has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) phase: String,
    pub(super) current: u64,
    pub(super) total: u64,
}

impl Story {
    /// A story that ends with these hints.
    pub(super) fn new(hints: Option<Hints>) -> Self {
        Self { hints, ..Self::default() }
    }

    /// The lines for an event; many events change only where the job stands.
    pub(super) fn tell(&mut self, event: &Event) -> Vec<Line> {
        match &event.payload {
            Payload::Accepted {} => Vec::new(),
            Payload::Queued { position, reason } => self.queued(*position, reason),
            Payload::Started { attempt, node, .. } => self.started(*attempt, node.as_deref()),
            Payload::Step(step) => self.step(step),
            Payload::Progress { phase, current, total, .. } => {
                let phase = one_line(phase);
                self.counted = Some(Counted { phase, current: *current, total: *total });
                Vec::new()
            }
            Payload::Agent(agent) => self.agent(agent),
            Payload::Output { stream: Stream::Patch, .. } => Vec::new(),
            Payload::Output { stream, text, .. } => program(*stream, text),
            Payload::Completed { outcome: ended }
            | Payload::Failed { outcome: ended }
            | Payload::Cancelled { outcome: ended } => {
                outcome::lines(event.job_id, ended, self.hints.as_ref())
            }
        }
    }

    /// Where the job stands, in a few words.
    pub(super) fn status(&self) -> String {
        let mut words = match (self.step, &self.doing) {
            (None, Some(doing)) => doing.clone(),
            (None, None) => "waiting".to_owned(),
            (Some(step), None) => step.name().to_owned(),
            (Some(step), Some(doing)) => format!("{} · {doing}", step.name()),
        };
        if let Some(usage) = self.usage.filter(|usage| usage.cost_usd > 0.0) {
            words.push_str(" · ");
            words.push_str(&format::dollars(usage.cost_usd));
        }
        words
    }

    /// How far the step has come, if it counts and knows how much there is.
    pub(super) fn counted(&self) -> Option<&Counted> {
        self.counted.as_ref().filter(|counted| counted.total > 0)
    }

    fn queued(&mut self, position: u64, reason: &str) -> Vec<Line> {
        let text = format!("queued at place {position}: {}", one_line(reason));
        self.doing = Some(text.clone());
        vec![Line::new(Tone::Faint, text)]
    }

    fn started(&mut self, attempt: u32, node: Option<&str>) -> Vec<Line> {
        (self.step, self.doing, self.counted) = (None, Some("started".to_owned()), None);
        let place = node.map(|node| format!(" on {}", one_line(node))).unwrap_or_default();
        let (tone, text) = match attempt {
            0 | 1 => (Tone::Faint, format!("started{place}")),
            _ => (Tone::Warning, format!("started again{place}, attempt {attempt}")),
        };
        vec![Line::new(tone, text)]
    }

    fn step(&mut self, event: &StepEvent) -> Vec<Line> {
        (self.doing, self.counted) = (None, None);
        if event.state == StepState::Started {
            self.step = Some(event.step);
            // Only these two have lines of their own between their beginning and their end.
            return match event.step {
                Step::Execute | Step::Check => vec![Line::new(Tone::Heading, event.step.name())],
                Step::Pull | Step::Deliver => Vec::new(),
            };
        }
        vec![step_end(event)]
    }

    fn agent(&mut self, event: &AgentEvent) -> Vec<Line> {
        match event {
            AgentEvent::Message { text } => {
                self.doing = None;
                indented(Tone::Plain, "  ", text)
            }
            AgentEvent::Thinking { text } => {
                self.doing = Some("thinking".to_owned());
                first_lines(indented(Tone::Faint, "  ~ ", text))
            }
            AgentEvent::ToolCall { name, input, .. } => {
                let name = one_line(name);
                let call = format!("{name} {}", tool::summary(input, WIDTH));
                self.doing = Some(shortened(call.trim_end(), 40));
                vec![Line::new(Tone::Action, format!("  → {}", call.trim_end()))]
            }
            AgentEvent::ToolResult { text, is_error, .. } => {
                self.doing = None;
                result(text, *is_error)
            }
            AgentEvent::Usage { usage } => {
                self.usage = Some(*usage);
                Vec::new()
            }
            AgentEvent::Notice { message, .. } => indented(Tone::Warning, "  ! ", message),
        }
    }
}

fn step_end(event: &StepEvent) -> Line {
    let (tone, sign) = match event.state {
        StepState::Completed => (Tone::Good, "✓"),
        StepState::Failed => (Tone::Bad, "✗"),
        StepState::Skipped | StepState::Started => (Tone::Faint, "-"),
    };
    let mut details = Vec::new();
    if event.state == StepState::Skipped {
        details.push("skipped".to_owned());
    }
    match (&event.branch, &event.commit) {
        (Some(branch), Some(commit)) => {
            details.push(format!("{} at {}", one_line(branch), short_commit(commit)));
        }
        (None, Some(commit)) => details.push(short_commit(commit)),
        (Some(branch), None) => details.push(one_line(branch)),
        (None, None) => {}
    }
    details.extend(event.changes.map(outcome::changes));
    let is_bad_exit = |code: &i32| *code != 0;
    let exit = event.exit_code.filter(is_bad_exit).map(|code| format!("exit code {code}"));
    details.extend(event.message.as_deref().map(one_line).or(exit));
    details.extend(event.duration_ms.map(|ms| format::duration(Duration::from_millis(ms))));
    let name = event.step.name();
    Line::new(tone, format!("{sign} {name:<8} {}", details.join(", ")).trim_end())
}

fn short_commit(commit: &str) -> String {
    one_line(commit).chars().take(10).collect()
}

/// What a program of the job printed: one line of it, or a piece of a long one.
fn program(stream: Stream, text: &str) -> Vec<Line> {
    let tone = if stream == Stream::Stderr { Tone::Faint } else { Tone::Plain };
    indented(tone, "  │ ", text)
}

fn indented(tone: Tone, prefix: &str, text: &str) -> Vec<Line> {
    let text = printable(text);
    let line = |line: &str| Line::new(tone, format!("{prefix}{line}").trim_end());
    match text.trim_end_matches('\n') {
        "" => vec![line("")],
        text => text.split('\n').map(line).collect(),
    }
}

fn first_lines(mut lines: Vec<Line>) -> Vec<Line> {
    if lines.len() > MAX_LINES {
        lines.truncate(MAX_LINES);
        lines.push(Line::new(lines[0].tone, "    …"));
    }
    lines
}

/// A tool's answer: its first line says enough, unless it is an error.
fn result(text: &str, is_error: bool) -> Vec<Line> {
    if is_error {
        return first_lines(indented(Tone::Bad, "  ← ", text));
    }
    let text = printable(text);
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let Some(first) = lines.next() else { return Vec::new() };
    let more = match lines.count() {
        0 => String::new(),
        more => format!(" (and {more} more {})", if more == 1 { "line" } else { "lines" }),
    };
    vec![Line::new(Tone::Faint, format!("  ← {}{more}", shortened(first.trim(), WIDTH)))]
}

#[cfg(test)]
#[path = "story_tests.rs"]
mod tests;
