//! Recordings of the CLI played by a script, in ways that the real one seldom acts.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::Scene;
use serde_json::json;
use service::protocol::{Reason, State};

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/claude/2.1.197");

/// A scene whose CLI prints a recording and then does what the script says.
fn scene(recording: &str, then: &str) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("claude");
    let script = format!("#!/bin/sh\ncat {RECORDINGS}/{recording}.jsonl\n{then}\n");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut scene = Scene::with([("ONESHIFT_CLAUDE", program.to_str().unwrap())]);
    scene.keep(folder);
    scene
}

#[tokio::test]
async fn a_run_that_lingers_after_its_result_is_ended_and_its_result_stands() {
    let scene = scene("text", "sleep 1000");
    // Neither silence nor time counts after the last word.
    let limits = json!({"idleSeconds": 1, "timeoutSeconds": 2});
    let outcome = scene.run(json!({"prompt": "x", "limits": limits})).await;
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    assert_eq!(outcome.result.as_deref(), Some("Hello, all is done."));
    let took = outcome.durations.execute_ms.unwrap();
    assert!(took >= 10_000, "it had its ten seconds, not {took} ms");
}

#[tokio::test]
async fn a_run_without_a_result_tells_what_it_heard_of_its_usage() {
    let scene = scene("killed", "kill -9 $$");
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!((outcome.reason, outcome.exit_code), (Some(Reason::AgentError), Some(137)));
    assert_eq!(outcome.usage.unwrap().input_tokens, 100);
    assert!(scene.notices().contains(&"usage_incomplete".to_owned()));
}

#[tokio::test]
async fn exit_code_zero_with_a_denied_tool_is_no_success() {
    let outcome = scene("denied_tool", "exit 0").run(json!({"prompt": "x"})).await;
    assert_eq!((outcome.state, outcome.exit_code), (State::Failed, Some(0)));
    assert_eq!(outcome.reason, Some(Reason::PermissionDenied));
}

#[tokio::test]
async fn a_complaint_without_any_record_is_quoted() {
    let scene = Scene::with([("ONESHIFT_CLAUDE", "ls")]);
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.reason, Some(Reason::AgentError));
    assert!(outcome.message.contains("exit code 2 and no word about its result: "));
}
