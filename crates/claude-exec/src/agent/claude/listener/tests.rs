//! What the recordings of the real CLI come to.

use service::protocol::{Reason, State};

use super::*;
use crate::evidence::Evidence;
use crate::lines::LineSplitter;

struct Heard {
    outcome: Outcome,
    evidence: Evidence,
    events: Vec<Payload>,
    reaction: Reaction,
}

fn hear(text: &[u8], exit_code: Option<i32>) -> Heard {
    let mut listener = ClaudeListener::new("claude", "chosen".to_owned());
    let mut splitter = LineSplitter::new(listener.longest_line());
    let (mut events, mut last) = (Vec::new(), Reaction::Listen);
    let mut each = |piece: Piece<'_>| {
        let reaction = listener.hear(piece, &mut |event| events.push(event));
        if reaction != Reaction::Listen {
            last = reaction;
        }
    };
    splitter.feed(text, &mut each);
    splitter.finish(&mut each);
    let outcome = listener.verdict(exit_code, "");
    Heard { outcome, evidence: listener.evidence(), events, reaction: last }
}

fn replay(case: &str, exit_code: i32) -> Heard {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/claude/2.1.197");
    let text = std::fs::read(format!("{folder}/{case}.jsonl")).unwrap();
    hear(&text, Some(exit_code))
}

/// Events in short: what kind, and the beginning of what is in them.
fn in_short(events: &[Payload]) -> Vec<String> {
    let line = |event: &Payload| match event {
        Payload::Agent(AgentEvent::Message { text }) => format!("message {text}"),
        Payload::Agent(AgentEvent::Thinking { text }) => format!("thinking {text}"),
        Payload::Agent(AgentEvent::ToolCall { name, input, .. }) => format!("call {name} {input}"),
        Payload::Agent(AgentEvent::ToolResult { text, is_error, .. }) => {
            format!("result {is_error} {text}")
        }
        Payload::Agent(AgentEvent::Usage { usage }) => format!("usage {}", usage.turns),
        Payload::Agent(AgentEvent::Notice { code, message }) => format!("{code} {message}"),
        Payload::Output { text, .. } => format!("output {text}"),
        other => other.name().to_owned(),
    };
    events.iter().map(line).collect()
}

#[test]
fn every_recorded_ending_is_judged_by_all_the_evidence() {
    use Reason::{
        AgentError, CostLimit, ModelLoginRefused, PermissionDenied, RateLimited, Refused, TurnLimit,
    };
    // Recording, exit code of the CLI, reason, whether to try again.
    let cases = [
        ("write", 0, None, false),
        ("text", 0, None, false),
        ("bash", 0, None, false),
        ("local_command", 0, None, false),
        ("rate_limited_then_success", 0, None, false),
        ("disconnected_then_success", 0, None, false),
        ("repository_hooks", 0, None, false),
        ("rate_limited", 1, Some(RateLimited), true),
        ("overloaded", 1, Some(RateLimited), true),
        ("rate_limited_for_long", 1, Some(RateLimited), true),
        ("limit_without_reset", 1, Some(RateLimited), true),
        ("session_limit", 1, Some(RateLimited), true),
        ("session_limit_later", 1, Some(RateLimited), true),
        ("weekly_limit", 1, Some(RateLimited), true),
        ("overage", 0, None, false),
        ("credit_too_low", 1, Some(RateLimited), false),
        ("login_refused", 1, Some(ModelLoginRefused), false),
        ("not_logged_in", 1, Some(ModelLoginRefused), false),
        ("server_error", 1, Some(AgentError), true),
        ("disconnected", 1, Some(AgentError), true),
        ("cut_off_after_text", 0, Some(AgentError), true),
        ("max_tokens", 1, Some(AgentError), false),
        ("unknown_model", 1, Some(AgentError), false),
        ("refusal", 1, Some(Refused), false),
        ("denied_tool", 0, Some(PermissionDenied), false),
        ("max_turns", 1, Some(TurnLimit), false),
        ("max_budget", 1, Some(CostLimit), false),
        ("interrupted", 0, Some(AgentError), false),
        ("terminated", 143, Some(AgentError), false),
        ("killed", 137, Some(AgentError), false),
    ];
    for (case, exit_code, reason, retryable) in cases {
        let outcome = replay(case, exit_code).outcome;
        let state = if reason.is_none() { State::Completed } else { State::Failed };
        assert_eq!((outcome.state, outcome.reason), (state, reason), "{case}: {outcome:?}");
        assert_eq!(outcome.retryable, retryable, "{case}");
        assert!(!outcome.message.is_empty() && !outcome.message.ends_with('\n'), "{case}");
    }
}

#[test]
fn every_recording_has_its_case() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/claude/2.1.197");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 30);
}

#[test]
fn a_refused_quota_tells_when_it_is_there_again_if_the_cli_knows() {
    for (case, exit_code, retry_at) in [
        ("session_limit", 1, Some("2026-11-21T18:00:50Z")),
        ("session_limit_later", 1, Some("2026-11-21T18:00:57Z")),
        ("weekly_limit", 1, Some("2026-11-25T05:20:52Z")),
        // Refused, but paid for otherwise.
        ("overage", 0, None),
        ("limit_without_reset", 1, None),
        // With an API key, 2.1.197 shows neither `retry-after` nor when its limits are reset.
        ("rate_limited", 1, None),
        ("rate_limited_for_long", 1, None),
        ("overloaded", 1, None),
        ("credit_too_low", 1, None),
        ("rate_limited_then_success", 0, None),
    ] {
        let outcome = replay(case, exit_code).outcome;
        assert_eq!(outcome.retry_at.map(|at| at.to_string()).as_deref(), retry_at, "{case}");
    }
    let events = in_short(&replay("session_limit", 1).events);
    let notice = "rate_limit the account's five_hour limit: rejected, until 2026-11-21T18:00:50Z";
    assert!(events.contains(&notice.to_owned()), "{events:?}");
}

/// What a run says that ends with these lines of its limits, then with these words of the CLI.
fn limited(info: &[&str], words: &str) -> Outcome {
    let event = |info: &&str| format!(r#"{{"type":"rate_limit_event","rate_limit_info":{info}}}"#);
    let mut lines: Vec<String> = info.iter().map(event).collect();
    lines.push(
        serde_json::json!({"type": "assistant", "error": "rate_limit",
        "message": {"model": "<synthetic>"}})
        .to_string(),
    );
    lines.push(
        serde_json::json!({"type": "result", "subtype": "success", "is_error": true,
        "result": words})
        .to_string(),
    );
    hear(lines.join("\n").as_bytes(), Some(1)).outcome
}

#[test]
fn only_the_last_news_of_the_quota_counts_and_no_time_is_made_up() {
    let rejected = r#"{"status":"rejected","resetsAt":1795284050}"#;
    let is_back = |info: &[&str], words: &str| {
        let outcome = limited(info, words);
        assert_eq!(outcome.reason, Some(Reason::RateLimited), "{outcome:?}");
        outcome.retry_at.map(|at| at.as_second())
    };
    assert_eq!(is_back(&[rejected], "x"), Some(1_795_284_050));
    assert_eq!(is_back(&[rejected, r#"{"status":"allowed","resetsAt":1795284050}"#], "x"), None);
    assert_eq!(is_back(&[rejected, r#"{"status":"rejected"}"#], "x"), None);
    for time in ["1e300", "-1e300", "99999999999999", "null"] {
        let info = format!(r#"{{"status":"rejected","resetsAt":{time}}}"#);
        assert_eq!(is_back(&[&info], "x"), None, "{time}");
    }
}

#[test]
fn older_clis_tell_the_time_in_their_last_words() {
    // As users report it of versions 1.0.31 to 1.0.84; not recorded, for it takes their server.
    for (words, retry_at) in [
        ("Claude AI usage limit reached|1750708800", Some("2025-06-23T20:00:00Z")),
        ("Claude AI usage limit reached|soon", None),
        ("Claude AI usage limit reached|99999999999999999999", None),
        ("Claude AI usage limit reached", None),
        ("there is a | 1750708800", None),
    ] {
        let outcome = limited(&[], words);
        assert_eq!(outcome.retry_at.map(|at| at.to_string()).as_deref(), retry_at, "{words}");
    }
}

#[test]
fn a_tool_call_becomes_events_in_order() {
    let heard = replay("write", 0);
    assert_eq!(
        in_short(&heard.events),
        [
            "agent_started claude 2.1.197 works with claude-opus-4-8[1m]",
            "message I write the file.",
            "usage 1",
            r##"call Write {"content":"# Hello\n","file_path":"/job/repo/README.md"}"##,
            "result false File created successfully at: /job/repo/README.md (file state is \
             current in your context — no need to Read it back)",
            "message README.md is there.",
            // So far, in case that nothing more is ever heard; and in all.
            "usage 2",
            "usage 2",
        ]
    );
    assert_eq!(heard.reaction, Reaction::ExpectEnd);
    assert_eq!(heard.evidence.result.as_deref(), Some("README.md is there."));
    let usage = heard.evidence.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (200, 40));
    assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (14, 6));
    assert!((usage.cost_usd - 0.002_044_5).abs() < 1e-9);
}

#[test]
fn thinking_and_retries_are_shown() {
    let events = in_short(&replay("rate_limited_then_success", 0).events);
    assert_eq!(
        events[1],
        "model_retry the model's API failed: rate_limit (429); attempt 1 of 10 follows in 1.0 s"
    );
    assert!(events.contains(&"thinking Let me think.".to_owned()), "{events:?}");
}

#[test]
fn a_credential_that_is_refused_three_times_is_given_up_on() {
    let heard = replay("login_refused", 1);
    assert_eq!(heard.reaction, Reaction::ExpectEnd);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/claude/2.1.197");
    let text = std::fs::read_to_string(format!("{folder}/login_refused.jsonl")).unwrap();
    let start: Vec<&str> = text.lines().take(4).collect();
    let heard = hear(start.join("\n").as_bytes(), None);
    assert_eq!(heard.reaction, Reaction::GiveUp);
    assert_eq!(heard.outcome.reason, Some(Reason::ModelLoginRefused));
}

#[test]
fn without_a_last_record_the_usage_so_far_is_summed_by_message() {
    let usage = replay("killed", 137).evidence.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.turns), (100, 1));
    assert!(usage.cost_usd.abs() < f64::EPSILON);
}

#[test]
fn an_interrupted_run_still_tells_its_cost() {
    let usage = replay("interrupted", 0).evidence.usage.unwrap();
    assert!(usage.cost_usd > 0.05);
}

#[test]
fn success_with_a_bad_exit_code_is_none() {
    assert_eq!(replay("text", 1).outcome.reason, Some(Reason::AgentError));
}

#[test]
fn a_success_that_lingered_and_was_ended_stands() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/claude/2.1.197");
    let text = std::fs::read(format!("{folder}/text.jsonl")).unwrap();
    assert_eq!(hear(&text, None).outcome.state, State::Completed);
}

#[test]
fn what_is_not_understood_is_passed_on_or_ignored() {
    let text =
        b"plain\n{\"type\":\"of a later version\"}\n{broken\n\xff\xfe\n[1]\n{\"type\":1}\nlast";
    let events = in_short(&hear(text, Some(0)).events);
    let shown = ["plain", "{broken", "\u{fffd}\u{fffd}", "[1]", "{\"type\":1}", "last"];
    assert_eq!(events, shown.map(|text| format!("output {text}")));
}

#[test]
fn a_record_of_ten_megabytes_is_understood_and_shown_in_short() {
    let long = "ü".repeat(5_000_000);
    let call = serde_json::json!({"type": "assistant", "message": {"id": "m", "content": [
        {"type": "tool_use", "id": "t", "name": "Write",
         "input": {"file_path": "/a", "content": long}},
    ]}});
    let answer = serde_json::json!({"type": "user", "message": {"content": [
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": long}]},
    ]}});
    let message = serde_json::json!({"type": "assistant", "message": {"id": "m", "content": [
        {"type": "text", "text": long},
    ]}});
    let heard = hear(format!("{call}\n{answer}\n{message}\n").as_bytes(), Some(0));
    let Payload::Agent(AgentEvent::ToolCall { input, .. }) = &heard.events[0] else { panic!() };
    assert_eq!(input["file_path"], "/a");
    assert!(input.to_string().len() < 70_000);
    let Payload::Agent(AgentEvent::ToolResult { text, .. }) = &heard.events[1] else { panic!() };
    assert!(text.len() < 17_000 && text.ends_with("bytes left out)"));
    let message: String = heard.events[2..]
        .iter()
        .map(|event| match event {
            Payload::Agent(AgentEvent::Message { text }) => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(message == long && heard.events.len() == 2 + 10);
}

#[test]
fn a_line_that_is_no_record_comes_in_pieces_when_it_is_long() {
    let events = hear(&vec![b'x'; 3 * PIECE_BYTES + 1], Some(0)).events;
    assert_eq!(in_short(&events[..1])[0].split(' ').next(), Some("long_line"));
    assert_eq!(events.len(), 1 + 4);
}
