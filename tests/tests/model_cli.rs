//! The scripted model, as the real Claude Code CLI sees it.

#![expect(clippy::unwrap_used, reason = "a test fails where its assumption does")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Child;
use std::time::Duration;

use end_to_end::model::{Block, Ending, Model, Reply, Script, Turn, Usage};
use end_to_end::{claude_cli, claude_command};
use serde_json::Value;
use tempfile::TempDir;

const LONG_TEXT: &str = "This text is long enough to be cut off in the middle of it.";

/// One run of the CLI.
struct Run {
    exit: Option<i32>,
    lines: Vec<Value>,
    folder: TempDir,
}

impl Run {
    /// The line that ends it.
    fn result(&self) -> &Value {
        self.lines.iter().rev().find(|line| line["type"] == "result").unwrap()
    }

    fn has(&self, kind: &str, subtype: &str) -> bool {
        self.lines.iter().any(|line| line["type"] == kind && line["subtype"] == subtype)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.folder.path().join("work").join(path)).unwrap()
    }
}

fn start(model: &Model, prompt: &str, environment: &[(&str, &str)]) -> Option<(Child, TempDir)> {
    let claude = claude_cli()?;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("work")).unwrap();
    let mut child = claude_command(&claude, &folder.path().join("home"), &model.url())
        .current_dir(folder.path().join("work"))
        .envs(environment.iter().copied())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(prompt.as_bytes()).unwrap();
    Some((child, folder))
}

fn run_with(model: &Model, prompt: &str, environment: &[(&str, &str)]) -> Option<Run> {
    let (child, folder) = start(model, prompt, environment)?;
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Some(Run { exit: output.status.code(), lines, folder })
}

fn run(model: &Model) -> Option<Run> {
    run_with(model, "Do it", &[])
}

#[test]
fn a_text_ends_the_run() {
    let model = Model::start(Script::says("Hello from the script."));
    let Some(run) = run(&model) else { return };
    assert_eq!(run.exit, Some(0));
    assert_eq!(run.result()["result"], "Hello from the script.");
    assert_eq!(run.result()["num_turns"], 1);
    assert_eq!(run.result()["usage"]["input_tokens"], 100);
    assert_eq!(run.result()["usage"]["output_tokens"], 10);
}

#[test]
fn a_write_leaves_a_file_and_a_command_runs() {
    let model = Model::start(Script::new([
        Turn::write("notes/README.md", "# Written\n"),
        Turn::bash("echo from bash | tee bash.txt"),
        Turn::text("Done."),
    ]));
    let Some(run) = run(&model) else { return };
    assert_eq!(run.exit, Some(0));
    assert_eq!(run.read("notes/README.md"), "# Written\n");
    assert_eq!(run.read("bash.txt"), "from bash\n");
    assert_eq!(model.tool_results(), [("from bash".to_owned(), false)]);
    assert_eq!(model.turns().len(), 3);
}

#[test]
fn a_failing_command_is_told_to_the_model() {
    let model = Model::start(Script::runs("echo oh no; exit 3"));
    let Some(run) = run(&model) else { return };
    assert_eq!(run.exit, Some(0));
    let (text, is_error) = &model.tool_results()[0];
    assert!(text.contains("oh no") && *is_error, "{text}");
}

#[test]
fn thinking_comes_before_a_text() {
    let blocks = [Block::Thinking("Hm, let me see.".into()), Block::Text("Well.".into())];
    let model = Model::start(Script::new([Reply::new(blocks).into()]));
    let Some(run) = run(&model) else { return };
    let blocks: Vec<_> = run.lines.iter().map(|line| &line["message"]["content"][0]).collect();
    assert!(blocks.iter().any(|block| block["thinking"] == "Hm, let me see."));
    assert_eq!(run.result()["result"], "Well.");
}

#[test]
fn a_rate_limit_is_waited_for() {
    let model = Model::start(Script::new([Turn::rate_limited(1), Turn::text("At last.")]));
    let Some(run) = run(&model) else { return };
    assert_eq!(run.exit, Some(0));
    assert!(run.has("system", "api_retry"));
    assert_eq!(run.result()["result"], "At last.");
    assert_eq!(model.turns().len(), 2);
}

#[test]
fn a_rate_limit_for_ever_ends_the_run() {
    let model = Model::start(Script::endless([Turn::rate_limited(0)]));
    let Some(run) = run_with(&model, "Do it", &[("CLAUDE_CODE_MAX_RETRIES", "2")]) else { return };
    assert_eq!(model.turns().len(), 3);
    assert_eq!(run.result()["is_error"], true);
    assert_eq!(run.result()["api_error_status"], 429);
}

#[test]
fn overload_and_a_wrong_key_end_the_run() {
    for (turn, status) in [
        (Turn::overloaded(), 529),
        (Turn::unauthorized(), 401),
        (Turn::no_credit(), 400),
        (Turn::server_error(), 500),
    ] {
        let model = Model::start(Script::endless([turn]));
        let Some(run) = run_with(&model, "Do it", &[("CLAUDE_CODE_MAX_RETRIES", "1")]) else {
            return;
        };
        assert_eq!(run.result()["is_error"], true);
        assert_eq!(run.result()["api_error_status"], status);
    }
}

#[test]
fn a_disconnect_is_tried_again() {
    let turns = [Turn::disconnect(LONG_TEXT), Turn::text("Here again.")];
    let model = Model::start(Script::new(turns));
    let Some(run) = run(&model) else { return };
    assert_eq!(run.exit, Some(0));
    assert_eq!(run.result()["result"], "Here again.");
    // The CLI asks a second time without a stream, and says nothing of it.
    assert_eq!(model.turns().len(), 2);
    assert!(model.turns()[1].body["stream"].is_null());
    assert!(!run.has("system", "api_retry"));
}

#[test]
fn a_disconnect_for_ever_ends_the_run() {
    let model = Model::start(Script::endless([Turn::disconnect(LONG_TEXT)]));
    let Some(run) = run_with(&model, "Do it", &[("CLAUDE_CODE_MAX_RETRIES", "1")]) else { return };
    assert_eq!(run.result()["is_error"], true);
}

#[test]
fn an_error_in_the_stream_is_tried_again() {
    let text = Block::Text(LONG_TEXT.into());
    let model = Model::start(Script::new([
        Reply::new([text]).ending(Ending::Error).into(),
        Turn::text("Fine."),
    ]));
    let Some(run) = run(&model) else { return };
    assert_eq!(run.result()["result"], "Fine.");
}

#[test]
fn a_refusal_is_told() {
    let model = Model::start(Script::endless([Turn::refusal("I can't help with that.")]));
    let Some(run) = run(&model) else { return };
    assert_eq!(run.exit, Some(1));
    assert_eq!(run.result()["stop_reason"], "refusal");
    assert_eq!(run.result()["is_error"], true);
    assert!(run.has("system", "model_refusal_no_fallback"));
}

#[test]
fn a_script_that_is_over_fails_the_run() {
    let model = Model::start(Script::new([Turn::bash("true")]));
    let Some(run) = run(&model) else { return };
    assert_eq!(run.result()["is_error"], true);
    assert!(run.result()["result"].as_str().unwrap().contains("the script has no turn 1"));
}

#[test]
fn costs_follow_the_usage() {
    let usage = Usage { input: 1_000_000, output: 1000, cache_read: 10, cache_write: 10 };
    let reply = Reply::new([Block::Text("Dear.".into())]).usage(usage);
    let model = Model::start(Script::new([reply.into()]));
    let Some(run) = run(&model) else { return };
    assert!(run.result()["total_cost_usd"].as_f64().unwrap() > 1.0);
}

#[test]
fn an_endless_run_goes_on_until_it_is_stopped() {
    let model = Model::start(Script::never_ends());
    let Some((mut child, _folder)) = start(&model, "Do it", &[]) else { return };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let calls = lines.by_ref().filter(|line| line.as_ref().unwrap().contains("\"tool_use\""));
    assert_eq!(calls.take(5).count(), 5);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_stalled_and_a_silent_model_keep_the_run_waiting() {
    for turn in [Turn::stall(LONG_TEXT), Turn::Silence] {
        let model = Model::start(Script::endless([turn]));
        let Some((mut child, _folder)) = start(&model, "Do it", &[]) else { return };
        while model.turns().is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        let mut rest = String::new();
        child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        child.wait().unwrap();
        assert!(!rest.contains("\"type\":\"result\""), "{rest}");
    }
}

#[test]
fn a_slow_text_arrives_whole() {
    let text = "Drop by drop the text comes through.";
    let model = Model::start(Script::new([Turn::drip(text, Duration::from_millis(20))]));
    let Some(run) = run(&model) else { return };
    assert_eq!(run.result()["result"], text);
}

#[test]
fn each_prompt_gets_its_own_script_and_each_run_its_own_position() {
    let model = Model::start_with([
        Script::writes("a.txt", "a").when_prompt_contains("apple"),
        Script::writes("b.txt", "b").when_prompt_contains("banana"),
        Script::says("Neither."),
    ]);
    let Some(apple) = run_with(&model, "an apple", &[]) else { return };
    let banana = run_with(&model, "a banana", &[]).unwrap();
    let again = run_with(&model, "another apple", &[]).unwrap();
    assert_eq!((apple.read("a.txt"), banana.read("b.txt")), ("a".into(), "b".into()));
    assert_eq!(again.read("a.txt"), "a");
    assert_eq!(run(&model).unwrap().result()["result"], "Neither.");
}

#[test]
fn a_title_takes_no_turn() {
    let model = Model::start(Script::says("Hello."));
    // With its usual traffic, the CLI also asks for a title, at the same time.
    let traffic = [("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "")];
    let Some(run) = run_with(&model, "Say hello please", &traffic) else { return };
    assert_eq!(run.result()["result"], "Hello.");
    assert_eq!(model.turns().len(), 1);
}
