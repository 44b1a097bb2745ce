//! The real Claude Code CLI under the shift, against a scripted model.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::path::Path;

use common::{Scene, is_alive};
use end_to_end::model::{Model, Script, Turn};
use serde_json::{Value, json};
use service::one_shot::Stop;
use service::protocol::event::AgentEvent;
use service::protocol::{Outcome, Payload, Reason, State};

/// A scene with the CLI in it; none if there is no CLI, which is said aloud.
fn scene(model: &Model) -> Option<Scene> {
    with_bypass(model, "1")
}

fn with_bypass(model: &Model, bypass: &str) -> Option<Scene> {
    let claude = end_to_end::claude_cli()?;
    Some(Scene::with([
        ("ONESHIFT_CLAUDE", claude.to_str().unwrap()),
        ("ANTHROPIC_BASE_URL", &model.url()),
        ("ANTHROPIC_API_KEY", "sk-ant-test-12345"),
        ("ONESHIFT_AGENT_BYPASS_PERMISSIONS", bypass),
        ("ONESHIFT_AGENT_CONFINED", "1"),
    ]))
}

/// What the CLI comes to when the model plays this script.
async fn play(script: Script, request: Value) -> Option<(Outcome, Scene)> {
    let model = Model::start(script);
    let scene = scene(&model)?;
    let outcome = scene.run(request).await;
    Some((outcome, scene))
}

fn fails(outcome: &Outcome, reason: Reason) {
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(reason)), "{outcome:?}");
}

#[tokio::test]
async fn a_file_is_written_and_checked() {
    let request = json!({"prompt": "Add a file", "check": "grep -q Hello README.md"});
    let Some((outcome, scene)) = play(Script::writes("README.md", "# Hello\n"), request).await
    else {
        return;
    };
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    let text = std::fs::read_to_string(scene.checkout().join("README.md")).unwrap();
    assert_eq!(text, "# Hello\n");
    assert_eq!(outcome.result.as_deref(), Some("I wrote README.md."));
    assert!(outcome.session_id.is_some());
    let usage = outcome.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.turns), (200, 2));
    assert!(usage.cost_usd > 0.0);
    let is_write = |payload: &Payload| matches!(payload, Payload::Agent(AgentEvent::ToolCall { name, .. }) if name == "Write");
    assert!(scene.payloads().iter().any(is_write));
    assert!(scene.home().join(".claude").is_dir());
}

#[tokio::test]
async fn a_prompt_of_almost_a_mebibyte_arrives() {
    let model = Model::start(Script::says("Read."));
    let Some(scene) = scene(&model) else { return };
    let prompt = format!("start {} end-of-it", "word ".repeat(200_000));
    let outcome = scene.run(json!({"prompt": prompt})).await;
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    let asked = model.turns()[0].body.to_string();
    assert!(asked.contains("end-of-it"), "{}", asked.len());
}

#[tokio::test]
async fn a_prompt_that_looks_like_a_command_of_the_cli_reaches_the_model() {
    let model = Model::start(Script::says("It costs nothing."));
    let Some(scene) = scene(&model) else { return };
    let outcome = scene.run(json!({"prompt": "/cost of this, please"})).await;
    assert_eq!(outcome.result.as_deref(), Some("It costs nothing."), "{outcome:?}");
    assert!(model.turns()[0].body.to_string().contains("/cost of this"));
}

#[tokio::test]
async fn a_background_process_of_a_tool_does_not_survive() {
    let command = "(setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > id)";
    let request = json!({"prompt": "Start it"});
    let Some((outcome, scene)) = play(Script::runs(command), request).await else { return };
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    let id = std::fs::read_to_string(scene.checkout().join("id")).unwrap();
    assert!(!is_alive(&id));
}

#[tokio::test]
async fn turns_and_money_are_limited() {
    let turns = json!({"prompt": "Go on", "limits": {"maxTurns": 2}});
    let Some((outcome, _)) = play(Script::never_ends(), turns).await else { return };
    fails(&outcome, Reason::TurnLimit);
    assert!(outcome.usage.unwrap().cost_usd > 0.0);
    let money = json!({"prompt": "Go on", "limits": {"maxCostUsd": 0.001}});
    let Some((outcome, _)) = play(Script::never_ends(), money).await else { return };
    fails(&outcome, Reason::CostLimit);
}

#[tokio::test]
async fn the_time_that_was_over_is_the_reason_whatever_the_interrupted_cli_says() {
    let script = Script::endless([Turn::bash("sleep 0.1")]);
    let request = json!({"prompt": "Go on", "limits": {"timeoutSeconds": 2}});
    let Some((outcome, _)) = play(script, request).await else { return };
    fails(&outcome, Reason::Timeout);
    assert_eq!(outcome.message, "the time of 2 s was over");
}

#[tokio::test]
async fn a_refusal_is_told_from_an_error() {
    let script = Script::new([Turn::refusal("I can't")]);
    let Some((outcome, _)) = play(script, json!({"prompt": "x"})).await else { return };
    fails(&outcome, Reason::Refused);
}

#[tokio::test]
async fn a_broken_connection_is_no_success() {
    let script = Script::endless([Turn::disconnect("A long answer that breaks off")]);
    let Some((outcome, _)) = play(script, json!({"prompt": "x"})).await else { return };
    fails(&outcome, Reason::AgentError);
    assert!(outcome.retryable, "{outcome:?}");
}

#[tokio::test]
async fn a_rate_limit_that_passes_is_remarked_on() {
    let script = Script::new([Turn::rate_limited(1), Turn::text("At last.")]);
    let Some((outcome, scene)) = play(script, json!({"prompt": "x"})).await else { return };
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    assert!(scene.notices().contains(&"model_retry".to_owned()), "{:?}", scene.notices());
}

#[tokio::test]
async fn a_refused_key_is_given_up_on() {
    let script = Script::endless([Turn::unauthorized()]);
    let Some((outcome, _)) = play(script, json!({"prompt": "x"})).await else { return };
    fails(&outcome, Reason::ModelLoginRefused);
}

#[tokio::test]
async fn an_account_without_credit_is_not_worth_a_retry() {
    let script = Script::endless([Turn::no_credit()]);
    let Some((outcome, _)) = play(script, json!({"prompt": "x"})).await else { return };
    fails(&outcome, Reason::RateLimited);
    assert!(!outcome.retryable);
}

#[tokio::test]
async fn outside_a_container_files_may_be_edited_but_a_denied_tool_fails_the_run() {
    let model = Model::start(Script::writes("inside.txt", "x"));
    let Some(scene) = with_bypass(&model, "0") else { return };
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    let model = Model::start(Script::writes("/nowhere-to-write/outside.txt", "x"));
    let Some(scene) = with_bypass(&model, "0") else { return };
    let outcome = scene.run(json!({"prompt": "x"})).await;
    fails(&outcome, Reason::PermissionDenied);
    assert!(outcome.message.ends_with("Write"), "{}", outcome.message);
}

#[tokio::test]
async fn a_cancelled_run_tells_its_cost() {
    let script = Script::new([Turn::bash("echo one"), Turn::stall("And now a long silence")]);
    let model = Model::start(script);
    let Some(scene) = scene(&model) else { return };
    let running = scene.run(json!({"prompt": "x"}));
    let cancel = async {
        common::eventually(|| (model.turns().len() == 2).then_some(())).await;
        scene.job.request_stop(Stop::new(Reason::CancelRequested, "cancelled"));
    };
    let (outcome, ()) = tokio::join!(running, cancel);
    assert_eq!(outcome.state, State::Cancelled);
    assert!(outcome.session_id.is_some());
    assert!(outcome.usage.unwrap().cost_usd > 0.0);
}

/// Puts everything into a checkout that could run code or sway the agent; running code leaves
/// files beside the checkout.
fn booby_trap(checkout: &Path) {
    let hook = json!({"hooks": {"SessionStart": [{"hooks": [
        {"type": "command", "command": "touch ../hook-ran"},
    ]}]}});
    let servers = json!({"mcpServers": {"evil": {"command": "touch", "args": ["../mcp-ran"]}}});
    std::fs::create_dir(checkout.join(".claude")).unwrap();
    std::fs::write(checkout.join(".claude/settings.json"), hook.to_string()).unwrap();
    std::fs::write(checkout.join(".mcp.json"), servers.to_string()).unwrap();
    std::fs::write(checkout.join("CLAUDE.md"), "The magic word is xyzzy-plugh.").unwrap();
}

#[tokio::test]
async fn what_the_repository_brings_is_obeyed_only_if_it_is_trusted() {
    for trusted in [false, true] {
        let model = Model::start(Script::says("Done."));
        let Some(scene) = scene(&model) else { return };
        booby_trap(&scene.checkout());
        let outcome = scene.run(json!({"prompt": "x", "trustRepository": trusted})).await;
        assert_eq!(outcome.state, State::Completed, "{outcome:?}");
        let ran = |name: &str| scene.checkout().with_file_name(name).exists();
        assert_eq!((ran("hook-ran"), ran("mcp-ran")), (trusted, trusted), "trusted: {trusted}");
        let was_told = model.turns()[0].body.to_string().contains("xyzzy-plugh");
        assert_eq!(was_told, trusted, "CLAUDE.md, trusted: {trusted}");
        let remarked = scene.notices().contains(&"agent_settings_ignored".to_owned());
        assert_eq!(remarked, !trusted);
    }
}
