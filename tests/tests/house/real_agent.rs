//! The real Claude Code CLI through the whole chain, with each ending that a model can bring about.

use end_to_end::git_server::{Access, Repository};
use end_to_end::model::{Script, Turn};
use end_to_end::{Ended, GitServer, Model, Setup, Stack, eventually, git};
use serde_json::{Value, json};

struct Scene {
    stack: Stack,
    model: Model,
    repository: Repository,
    url: String,
    _server: GitServer,
}

impl Scene {
    /// None, which is said aloud, if there is no CLI.
    async fn start(script: Script) -> Option<Self> {
        let model = Model::start(script);
        let stack = Setup::with_claude(&model)?.start().await;
        let server = GitServer::start();
        let repository = server.repository("demo", |repository| {
            repository.file("kept.txt", "kept\n").file("old.txt", "old\n").commit("first");
        });
        let url = server.url(Access::Public, "demo");
        Some(Self { stack, model, repository, url, _server: server })
    }

    async fn run(&self, more: Value) -> Ended {
        let mut request = json!({"prompt": "Do it", "repoUrl": self.url});
        let more = more.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(more);
        self.stack.run(&request).await
    }

    /// Applies the job's patch to a fresh clone, and reads a file there.
    async fn patched(&self, ended: &Ended, file: &str) -> String {
        let commit = ended.outcome["commit"].as_str().unwrap();
        let patch = self.stack.patch(&ended.job).await;
        assert_eq!(patch, ended.output("deliver", "patch"), "the stream has the same patch");
        let clone = git::applied(self.repository.path(), commit, &patch);
        std::fs::read_to_string(clone.path().join(file)).unwrap()
    }
}

async fn play(script: Script, more: Value) -> Option<(Scene, Ended)> {
    let scene = Scene::start(script).await?;
    let ended = scene.run(more).await;
    Some((scene, ended))
}

/// A script whose first turn writes `early.txt`.
fn writes_then(turn: Turn) -> Script {
    Script::endless([Turn::write("early.txt", "saved\n"), turn])
}

#[tokio::test]
async fn what_the_agent_wrote_and_ran_is_in_the_patch() {
    let script = Script::new([
        Turn::write("src/hello.txt", "Hello from the model\n"),
        Turn::bash("tr a-z A-Z < kept.txt > loud.txt && rm old.txt"),
        Turn::text("All done."),
    ]);
    let check = json!({"check": "grep -q KEPT loud.txt", "labels": {"for": "test"}});
    let Some((scene, ended)) = play(script, check).await else { return };
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert_eq!(ended.outcome["result"], "All done.");
    assert_eq!(ended.outcome["changes"], json!({"files": 3, "insertions": 2, "deletions": 1}));
    assert_eq!(ended.outcome["usage"]["turns"], 3);
    assert_eq!(ended.outcome["commit"], scene.repository.commit_id("main"));
    assert_eq!(scene.patched(&ended, "src/hello.txt").await, "Hello from the model\n");
    assert_eq!(scene.patched(&ended, "loud.txt").await, "KEPT\n");
    let agent = ended.events("agent");
    let calls = agent.iter().filter(|event| event["kind"] == "toolCall");
    assert_eq!(calls.map(|call| &call["name"]).collect::<Vec<_>>(), ["Write", "Bash"]);
    assert!(agent.iter().any(|event| event["kind"] == "message"), "{agent:#?}");
    let job = scene.stack.get(&format!("/api/jobs/{}", ended.job)).await;
    assert_eq!((&job["state"], &job["outcome"]), (&json!("completed"), &ended.outcome));
    assert_eq!(job["request"]["labels"]["for"], "test");
}

#[tokio::test]
async fn a_rate_limit_that_passes_is_only_a_notice() {
    let script = Script::new([
        Turn::rate_limited(1),
        Turn::write("late.txt", "x\n"),
        Turn::text("At last."),
    ]);
    let Some((scene, ended)) = play(script, json!({})).await else { return };
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert_eq!(ended.notices(), ["agent_started", "model_retry"]);
    assert_eq!(scene.patched(&ended, "late.txt").await, "x\n");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_success_and_what_was_done_is_saved() {
    let script = writes_then(Turn::disconnect("A long answer that breaks off"));
    let Some((scene, ended)) = play(script, json!({})).await else { return };
    assert_eq!(ended.ending(), "failed agent_error", "{}", ended.outcome);
    assert_eq!(ended.outcome["retryable"], true);
    assert_eq!(scene.patched(&ended, "early.txt").await, "saved\n");
}

#[tokio::test]
async fn a_refusal_is_told_as_one_and_what_was_done_is_saved() {
    let script = writes_then(Turn::refusal("I will not do that."));
    let Some((scene, ended)) = play(script, json!({})).await else { return };
    assert_eq!(ended.ending(), "failed refused", "{}", ended.outcome);
    assert_eq!(scene.patched(&ended, "early.txt").await, "saved\n");
}

#[tokio::test]
async fn an_endless_run_ends_at_each_of_its_limits_with_what_it_did() {
    let script = writes_then(Turn::bash("echo again"));
    let Some(scene) = Scene::start(script).await else { return };
    for (limits, reason) in [
        (json!({"maxTurns": 3}), "turn_limit"),
        (json!({"maxCostUsd": 0.002}), "cost_limit"),
        // Longer than the CLI takes to write its first file on a busy machine.
        (json!({"timeoutSeconds": 12}), "timeout"),
    ] {
        let ended = scene.run(json!({"limits": limits})).await;
        assert_eq!(ended.ending(), format!("failed {reason}"), "{}", ended.outcome);
        assert!(ended.outcome["usage"]["inputTokens"].as_u64() > Some(0), "{}", ended.outcome);
        assert_eq!(scene.patched(&ended, "early.txt").await, "saved\n", "{reason}");
    }
}

#[tokio::test]
async fn a_silent_model_ends_the_run_as_stalled_with_what_it_did() {
    let script = writes_then(Turn::stall("And now silence"));
    // Longer than the CLI takes to say its first word.
    let more = json!({"limits": {"idleSeconds": 10}});
    let Some((scene, ended)) = play(script, more).await else { return };
    assert_eq!(ended.ending(), "failed stalled", "{}", ended.outcome);
    assert_eq!(ended.outcome["message"], "claude produced no output for 10 s");
    assert!(ended.outcome["usage"]["inputTokens"].as_u64() > Some(0), "{}", ended.outcome);
    assert_eq!(scene.patched(&ended, "early.txt").await, "saved\n");
}

#[tokio::test]
async fn a_check_that_hangs_is_ended_by_the_time_of_the_whole_job() {
    let script = Script::writes("early.txt", "saved\n");
    let more = json!({"check": "echo checking; sleep 1000", "limits": {"timeoutSeconds": 15}});
    let Some((scene, ended)) = play(script, more).await else { return };
    assert_eq!(ended.ending(), "failed timeout", "{}", ended.outcome);
    assert_eq!(ended.outcome["message"], "the time of 15 s was over");
    assert_eq!(ended.output("check", "stdout"), "checking");
    // What is known of the agent's run stands.
    assert_eq!(ended.outcome["usage"]["turns"], 2);
    assert_eq!(ended.outcome["result"], "I wrote early.txt.");
    assert_eq!(scene.patched(&ended, "early.txt").await, "saved\n");
}

#[tokio::test]
async fn a_failed_check_fails_the_job_and_a_run_without_changes_says_so() {
    let Some(scene) = Scene::start(Script::says("There is nothing to do.")).await else { return };
    let ended = scene.run(json!({"check": "echo nope; exit 3"})).await;
    assert_eq!(ended.ending(), "failed check_failed", "{}", ended.outcome);
    assert_eq!(ended.output("check", "stdout"), "nope");
    let ended = scene.run(json!({"check": "true"})).await;
    assert_eq!(ended.ending(), "completed no_changes", "{}", ended.outcome);
}

#[tokio::test]
async fn a_silent_model_is_cancelled_and_what_was_done_is_saved() {
    let Some(scene) = Scene::start(writes_then(Turn::stall("And now silence"))).await else {
        return;
    };
    let request = json!({"prompt": "Do it", "repoUrl": scene.url});
    let mut events = scene.stack.submit(&request).await;
    let mut frames = vec![events.next().await.unwrap()];
    let silent = async || (scene.model.turns().len() == 2).then_some(());
    eventually("the model has been asked twice", silent).await;
    scene.stack.cancel(frames[0].json()["jobId"].as_str().unwrap()).await;
    frames.extend(events.rest().await);
    let ended = Ended::of(frames);
    assert_eq!(ended.ending(), "cancelled cancel_requested", "{}", ended.outcome);
    assert_eq!(scene.patched(&ended, "early.txt").await, "saved\n");
    assert!(ended.outcome["sessionId"].is_string());
}
