//! The `command` agent and everything around it, with shell scripts as agents.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::os::unix::fs::symlink;
use std::time::Duration;

use common::{Scene, is_alive};
use serde_json::json;
use service::one_shot::Stop;
use service::protocol::event::{StepState, Stream};
use service::protocol::{ErrorCode, Payload, Reason, State, Step};

#[tokio::test]
async fn the_prompt_comes_on_standard_input_and_lines_become_events() {
    let scene = Scene::script("cat; echo; echo two; echo oops >&2");
    let outcome = scene.run(json!({"prompt": "line one"})).await;
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    assert_eq!(outcome.exit_code, Some(0));
    assert_eq!(scene.stdout(), ["line one", "two"]);
    assert_eq!(scene.output(Step::Execute, Stream::Stderr), ["oops"]);
    let steps: Vec<_> = scene.steps().iter().map(|event| (event.step, event.state)).collect();
    assert_eq!(steps, [(Step::Execute, StepState::Started), (Step::Execute, StepState::Completed)]);
}

#[tokio::test]
async fn a_bad_exit_code_is_an_agent_error_that_quotes_the_last_complaint() {
    let scene = Scene::script("echo first >&2; echo 'no such model' >&2; exit 7");
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::AgentError)));
    assert_eq!(outcome.exit_code, Some(7));
    assert_eq!(outcome.message, "the agent's command ended with exit code 7: no such model");
}

#[tokio::test]
async fn a_signal_becomes_128_and_its_number() {
    let outcome = Scene::script("kill -9 $$").run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.exit_code, Some(137));
}

#[tokio::test]
async fn a_missing_program_is_unavailable() {
    let scene =
        Scene::with([("ONESHIFT_AGENT", "command"), ("ONESHIFT_AGENT_COMMAND", "no-such-program")]);
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.reason, Some(Reason::AgentUnavailable));
    assert!(outcome.message.contains("no-such-program"), "{}", outcome.message);
}

#[tokio::test]
async fn a_missing_claude_is_unavailable_and_says_how_to_install_it() {
    let scene = Scene::with([("ONESHIFT_CLAUDE", "/nowhere/claude")]);
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.reason, Some(Reason::AgentUnavailable));
    assert!(outcome.message.contains("npm install -g @anthropic-ai/claude-code"));
}

#[tokio::test]
async fn an_unknown_agent_is_refused_before_the_worker_is_used_up() {
    let refusal = Scene::with([]).admit(&json!({"prompt": "x", "agent": "nobody"})).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::NotSupported);
    assert_eq!(refusal.field.as_deref(), Some("agent"));
}

#[tokio::test]
async fn an_agent_that_never_reads_a_long_prompt_holds_nobody_up() {
    let scene = Scene::script("echo done");
    let outcome = scene.run(json!({"prompt": "x".repeat(1_000_000)})).await;
    assert_eq!(outcome.state, State::Completed);
}

#[tokio::test]
async fn time_is_limited_for_agent_and_check_together() {
    for request in [
        json!({"prompt": "x", "limits": {"timeoutSeconds": 1}}),
        json!({"prompt": "exit", "check": "echo $$; sleep 1000", "limits": {"timeoutSeconds": 1}}),
    ] {
        let scene = Scene::script("grep -q exit && exit 0; echo $$; sleep 1000");
        let outcome = scene.run(request).await;
        assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::Timeout)));
        assert_eq!(outcome.message, "the time of 1 s was over");
        let lines = [scene.stdout(), scene.output(Step::Check, Stream::Stdout)].concat();
        assert!(!is_alive(&lines[0]), "{lines:?}");
        let last = scene.steps().pop().unwrap();
        assert_eq!((last.state, last.reason), (StepState::Failed, Some(Reason::Timeout)));
    }
}

#[tokio::test]
async fn silence_is_limited_but_output_on_either_stream_breaks_it() {
    let scene = Scene::script("for i in 1 2 3 4; do sleep 0.5; echo $i >&2; done; sleep 1000");
    let request = json!({"prompt": "x", "limits": {"idleSeconds": 1}});
    let outcome = scene.run(request).await;
    assert_eq!(outcome.reason, Some(Reason::Stalled));
    assert_eq!(outcome.message, "command produced no output for 1 s");
    assert_eq!(scene.output(Step::Execute, Stream::Stderr).len(), 4);
}

#[tokio::test]
async fn a_cancelled_agent_is_interrupted_first_and_then_killed() {
    let script = "trap 'echo interrupted' INT; trap 'echo terminated' TERM; echo pid $$;
                  while true; do sleep 0.1; done";
    let scene = Scene::script(script);
    let running = scene.run(json!({"prompt": "x", "check": "true"}));
    let cancel = async {
        let id = scene.line("pid ").await;
        scene.job.request_stop(Stop::new(Reason::CancelRequested, "cancelled by the caller"));
        id
    };
    let stopping = tokio::time::timeout(Duration::from_secs(60), running);
    let (outcome, id) = tokio::join!(stopping, cancel);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.state, State::Cancelled);
    assert_eq!(outcome.reason, Some(Reason::CancelRequested));
    assert_eq!(outcome.exit_code, Some(137));
    assert!(outcome.durations.execute_ms.is_some());
    assert_eq!(scene.stdout()[1..], ["interrupted", "terminated"]);
    assert!(!is_alive(&id));
    assert_eq!(scene.steps().pop().unwrap().state, StepState::Skipped);
}

#[tokio::test]
async fn a_stop_for_another_reason_is_a_failure() {
    let scene = Scene::script("echo pid; sleep 1000");
    let running = scene.run(json!({"prompt": "x"}));
    let stop = async {
        scene.line("pid").await;
        scene.job.request_stop(Stop::new(Reason::CallerLost, "nobody reads the stream"));
    };
    let (outcome, ()) = tokio::join!(running, stop);
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::CallerLost)));
    assert!(outcome.retryable);
}

#[tokio::test]
async fn the_check_decides_after_the_agent() {
    let scene = Scene::script("touch made");
    let check = "test -e made && echo checked && exit 4";
    let outcome = scene.run(json!({"prompt": "x", "check": check})).await;
    assert_eq!((outcome.state, outcome.reason), (State::Failed, Some(Reason::CheckFailed)));
    assert_eq!(outcome.message, "the check failed with exit code 4");
    assert_eq!(outcome.exit_code, Some(0), "the agent's, not the check's");
    assert_eq!(scene.output(Step::Check, Stream::Stdout), ["checked"]);
    let last = scene.steps().pop().unwrap();
    assert_eq!((last.step, last.exit_code), (Step::Check, Some(4)));
    let outcome = Scene::script("true").run(json!({"prompt": "x", "check": "true"})).await;
    assert_eq!(outcome.message, "the agent's command succeeded, and the check passed");
    assert!(outcome.durations.check_ms.is_some());
}

#[tokio::test]
async fn a_failed_agent_is_not_checked() {
    let scene = Scene::script("false");
    scene.run(json!({"prompt": "x", "check": "echo never"})).await;
    assert!(scene.output(Step::Check, Stream::Stdout).is_empty());
    assert_eq!(scene.steps().pop().unwrap().state, StepState::Skipped);
}

#[tokio::test]
async fn a_line_of_ten_megabytes_comes_in_pieces() {
    let scene = Scene::script("head -c 10000000 /dev/zero | tr '\\0' x; echo; echo after");
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.state, State::Completed);
    let mut lines = scene.stdout();
    assert_eq!(lines.pop().unwrap(), "after");
    assert!(lines.iter().all(|piece| piece.len() <= 1024 * 1024));
    assert_eq!(lines.concat(), "x".repeat(10_000_000));
    assert_eq!(scene.notices(), ["long_line"]);
}

#[tokio::test]
async fn invalid_utf8_and_a_missing_line_break_are_fine() {
    let scene = Scene::script("printf 'a\\377b\\r\\nlast'");
    scene.run(json!({"prompt": "x"})).await;
    assert_eq!(scene.stdout(), ["a\u{fffd}b", "last"]);
}

#[tokio::test]
async fn programs_see_a_scrubbed_environment_and_folders_of_their_own() {
    let scene = Scene::with([
        ("ONESHIFT_AGENT", "command"),
        ("ONESHIFT_AGENT_COMMAND", r#"["sh", "-c", "env | sort; pwd"]"#),
        ("ONESHIFT_AGENT_ENV", "EXTRA"),
        ("EXTRA", "allowed"),
        ("ONESHIFT_CLUSTER_TOKEN", "token-of-the-cluster"),
        ("ANTHROPIC_API_KEY", "sk-ant-of-the-worker"),
        ("SECRET_THING", "x"),
    ]);
    std::fs::create_dir_all(scene.checkout().join("a/b")).unwrap();
    let request = json!({"prompt": "x", "directory": "a/b", "model": "m", "check": "env; pwd"});
    scene.run(request).await;
    let agent = scene.stdout();
    let names = |lines: &[String]| -> Vec<String> {
        let name = |line: &String| Some(line.split_once('=')?.0.to_owned());
        let mut names: Vec<String> = lines.iter().filter_map(name).collect();
        // What sh sets by itself differs from one to another.
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(&name.as_str()));
        names.sort();
        names
    };
    assert_eq!(names(&agent), ["EXTRA", "HOME", "ONESHIFT_MODEL", "PATH", "TERM", "TMPDIR"]);
    let work = std::fs::canonicalize(scene.checkout().join("a/b")).unwrap();
    assert_eq!(agent.last().unwrap(), work.to_str().unwrap());
    let home = format!("HOME={}", std::fs::canonicalize(scene.home()).unwrap().display());
    assert!(agent.contains(&home), "{agent:?}");
    let check = scene.output(Step::Check, Stream::Stdout);
    assert_eq!(names(&check), ["HOME", "PATH", "TERM", "TMPDIR"]);
    assert_eq!(check.last(), agent.last());
}

#[tokio::test]
async fn secrets_are_redacted_wherever_they_turn_up() {
    let script = "echo key sk-ant-of-the-worker; echo t token-of-the-cluster >&2; exit 1";
    let command = json!(["sh", "-c", script]).to_string();
    let scene = Scene::with([
        ("ONESHIFT_AGENT", "command"),
        ("ONESHIFT_AGENT_COMMAND", &command),
        ("ONESHIFT_CLUSTER_TOKEN", "token-of-the-cluster"),
        ("ANTHROPIC_API_KEY", "sk-ant-of-the-worker"),
    ]);
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(scene.stdout(), ["key [redacted]"]);
    assert_eq!(scene.output(Step::Execute, Stream::Stderr), ["t [redacted]"]);
    assert!(outcome.message.ends_with("t [redacted]"), "{}", outcome.message);
}

#[tokio::test]
async fn a_directory_behind_a_symlink_is_not_entered() {
    let scene = Scene::script("echo never");
    symlink("/", scene.checkout().join("link")).unwrap();
    let outcome = scene.run(json!({"prompt": "x", "directory": "link/tmp"})).await;
    assert_eq!(outcome.reason, Some(Reason::DirectoryNotFound));
    assert!(outcome.message.contains("link/tmp"), "{}", outcome.message);
    assert!(scene.payloads().is_empty());
}

#[tokio::test]
async fn what_the_repository_brings_for_agents_is_remarked_on() {
    let scene = Scene::script("true");
    std::fs::write(scene.checkout().join(".mcp.json"), "{}").unwrap();
    scene.run(json!({"prompt": "x"})).await;
    assert_eq!(scene.notices(), ["agent_settings_ignored"]);
}

#[tokio::test]
async fn an_agent_that_never_ends_its_output_can_be_stopped() {
    let scene = Scene::script("yes");
    let outcome = scene.run(json!({"prompt": "x", "limits": {"timeoutSeconds": 1}})).await;
    assert_eq!(outcome.reason, Some(Reason::Timeout));
}

#[tokio::test]
async fn the_prompt_is_gone_from_the_disk_afterwards() {
    let scene = Scene::script("true");
    scene.run(json!({"prompt": "x"})).await;
    assert!(!scene.checkout().with_file_name("prompt").exists());
    assert!(matches!(scene.payloads().first(), Some(Payload::Step(_))));
}
