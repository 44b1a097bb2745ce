use client::protocol::JobId;
use client::protocol::event::Encoding;
use client::protocol::outcome::{Changes, Outcome};
use client::protocol::{Reason, State};
use serde_json::json;

use super::*;

fn event(payload: Payload) -> Event {
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    Event { payload, job_id: JobId::random(), at }
}

fn tell(payload: Payload) -> Vec<Line> {
    Story::default().tell(&event(payload))
}

fn texts(payload: Payload) -> Vec<String> {
    tell(payload).into_iter().map(|line| line.text).collect()
}

fn agent(agent: AgentEvent) -> Payload {
    Payload::Agent(agent)
}

#[test]
fn a_pull_ends_in_one_line() {
    let mut end = StepEvent::new(Step::Pull, StepState::Completed);
    end.branch = Some("main".to_owned());
    end.commit = Some("3f2a9c1d5e6f7a8b9c0d3f2a9c1d5e6f7a8b9c0d".to_owned());
    end.duration_ms = Some(230);
    let lines = tell(Payload::Step(Box::new(end)));
    assert_eq!(lines, [Line::new(Tone::Good, "✓ pull     main at 3f2a9c1d5e, 230 ms")]);
}

#[test]
fn a_failed_check_shows_its_exit_code() {
    let mut end = StepEvent::new(Step::Check, StepState::Failed);
    end.exit_code = Some(101);
    let lines = tell(Payload::Step(Box::new(end.clone())));
    assert_eq!(lines, [Line::new(Tone::Bad, "✗ check    exit code 101")]);
    end.message = Some("the check failed with exit code 101".to_owned());
    let lines = tell(Payload::Step(Box::new(end)));
    assert_eq!(lines, [Line::new(Tone::Bad, "✗ check    the check failed with exit code 101")]);
}

#[test]
fn a_second_attempt_is_told() {
    let started = |attempt| Payload::Started { attempt, worker: None, node: Some("n1".into()) };
    assert_eq!(texts(started(1)), ["started on n1"]);
    assert_eq!(texts(started(2)), ["started again on n1, attempt 2"]);
}

#[test]
fn messages_keep_their_lines() {
    let text = "First.\n\nSecond.\n".to_owned();
    assert_eq!(texts(agent(AgentEvent::Message { text })), ["  First.", "", "  Second."]);
}

#[test]
fn tool_calls_and_results_take_one_line_each() {
    let input = json!({ "command": "cargo test" });
    let call = AgentEvent::ToolCall { id: "1".into(), name: "Bash".into(), input };
    assert_eq!(texts(agent(call)), ["  → Bash cargo test"]);
    let text = "\n\u{1b}[32mok\u{1b}[0m\nmore\nand more\n".to_owned();
    let result = AgentEvent::ToolResult { id: "1".into(), text, is_error: false };
    assert_eq!(texts(agent(result)), ["  ← ok (and 2 more lines)"]);
}

#[test]
fn a_tools_error_is_shown_but_not_without_end() {
    let result = AgentEvent::ToolResult { id: "1".into(), text: "x\n".repeat(9), is_error: true };
    let lines = tell(agent(result));
    assert_eq!(lines.len(), MAX_LINES + 1);
    assert!(lines.iter().all(|line| line.tone == Tone::Bad));
}

#[test]
fn hostile_text_is_harmless_wherever_it_comes_from() {
    let evil = || "a\u{1b}]0;x\u{7}\u{9b}2J\u{8}b".to_owned();
    let mut step = StepEvent::new(Step::Pull, StepState::Failed);
    (step.message, step.branch, step.commit) = (Some(evil()), Some(evil()), Some(evil()));
    let mut outcome = Outcome::failed(Reason::AgentError, evil());
    (outcome.pull_request, outcome.patch) = (Some(evil()), Some(evil()));
    for payload in [
        Payload::Queued { position: 1, reason: evil() },
        Payload::Started { attempt: 1, worker: Some(evil()), node: Some(evil()) },
        Payload::Step(Box::new(step)),
        agent(AgentEvent::Message { text: evil() }),
        agent(AgentEvent::Thinking { text: evil() }),
        agent(AgentEvent::ToolCall { id: evil(), name: evil(), input: json!({ "x": evil() }) }),
        agent(AgentEvent::ToolResult { id: evil(), text: evil(), is_error: true }),
        agent(AgentEvent::Notice { code: evil(), message: evil() }),
        Payload::Output {
            step: Step::Execute,
            stream: Stream::Stdout,
            text: evil(),
            encoding: None,
        },
        outcome.into_payload(),
    ] {
        let name = payload.name();
        let lines = texts(payload);
        assert!(!lines.is_empty(), "{name}");
        let is_harmless = |line: &String| !line.chars().any(char::is_control);
        assert!(lines.iter().all(is_harmless), "{name}: {lines:?}");
    }
}

#[test]
fn the_patch_is_not_told() {
    let encoding = Some(Encoding::Base64);
    let (step, stream, text) = (Step::Deliver, Stream::Patch, "eA==".to_owned());
    assert!(tell(Payload::Output { step, stream, text, encoding }).is_empty());
}

#[test]
fn the_end_says_what_changed_what_it_cost_and_how_to_get_the_patch() {
    let mut outcome = Outcome::completed("the agent added README.md");
    outcome.changes = Some(Changes { files: 1, insertions: 12, deletions: 0 });
    outcome.durations.execute_ms = Some(61_000);
    outcome.usage = Some(Usage { cost_usd: 0.03, turns: 1, ..Usage::default() });
    outcome.patch = Some("/api/jobs/x/patch".to_owned());
    let event = event(outcome.into_payload());
    let mut story = Story::new(Some(Hints::for_gateway("http://host:1")));
    let lines: Vec<String> = story.tell(&event).into_iter().map(|line| line.text).collect();
    let expected = [
        "✓ completed: the agent added README.md".to_owned(),
        "  1 file changed, +12 -0 · 1 min 01 s · 1 turn · $0.03".to_owned(),
        format!("  the patch: oneshift --url http://host:1 patch {} | git apply", event.job_id),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_retryable_failure_says_so() {
    let lines = texts(Outcome::failed(Reason::WorkerLost, "the worker vanished").into_payload());
    assert_eq!(lines[0], "✗ failed (worker_lost): the worker vanished");
    assert_eq!(lines.len(), 1, "without hints");
    let ended = Outcome::failed(Reason::WorkerLost, "x").into_payload();
    let lines = Story::new(Some(Hints::for_gateway("http://x"))).tell(&event(ended));
    assert!(lines[1].text.contains("--retries"), "{lines:?}");
    assert_eq!(Outcome::failed(Reason::WorkerLost, "x").state, State::Failed);
}

#[test]
fn the_status_follows_the_job() {
    let mut story = Story::default();
    assert_eq!(story.status(), "waiting");
    let begin = |step| Payload::Step(Box::new(StepEvent::new(step, StepState::Started)));
    story.tell(&event(begin(Step::Pull)));
    let (phase, step) = ("receiving".to_owned(), Step::Pull);
    story.tell(&event(Payload::Progress { step, phase, current: 5, total: 10, bytes: 1 }));
    assert_eq!(story.counted().map(|counted| (counted.current, counted.total)), Some((5, 10)));
    story.tell(&event(begin(Step::Execute)));
    assert_eq!(story.counted(), None);
    let input = json!({ "command": "ls" });
    story.tell(&event(agent(AgentEvent::ToolCall { id: "1".into(), name: "Bash".into(), input })));
    let usage = Usage { cost_usd: 0.5, ..Usage::default() };
    story.tell(&event(agent(AgentEvent::Usage { usage })));
    assert_eq!(story.status(), "execute · Bash ls · $0.50");
}
