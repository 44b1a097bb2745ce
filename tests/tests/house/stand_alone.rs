//! The three workers without a gateway: `workflow` with `GIT_PULL_URL` and `CLAUDE_EXEC_URL`.

use std::path::Path;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::Events;
use end_to_end::{Ended, Launch, Process, http};
use serde_json::json;

fn worker(name: &str, address: &str, workspace: &Path) -> Launch {
    Launch::of(name)
        .env("ONESHIFT_LISTEN", address)
        .env("ONESHIFT_WORKSPACE", workspace)
        .env("ONESHIFT_AGENT", "command")
        .env("ONESHIFT_AGENT_COMMAND", json!(["sh"]).to_string())
}

/// Starts a git-pull at a fixed address again and again, as a supervisor does; returns how many
/// did a job, once told to stop.
async fn supervise(first: Process, address: String, workspace: std::path::PathBuf, jobs: usize) {
    let mut process = first;
    for done in 1..=jobs {
        assert!(process.exit().await.success(), "{:#?}", process.lines());
        if done < jobs {
            process = worker("git-pull", &address, &workspace).start();
        }
    }
}

struct Chain {
    workflow: Process,
    claude_exec: Process,
    git_pull: Process,
    workspace: tempfile::TempDir,
}

async fn chain() -> Chain {
    let workspace = tempfile::tempdir().unwrap();
    let git_pull = worker("git-pull", "127.0.0.1:0", workspace.path()).start();
    let claude_exec = worker("claude-exec", "127.0.0.1:0", workspace.path()).start();
    let workflow = worker("workflow", "127.0.0.1:0", workspace.path())
        .env("GIT_PULL_URL", git_pull.url("").await)
        .env("CLAUDE_EXEC_URL", claude_exec.url("").await)
        .start();
    Chain { workflow, claude_exec, git_pull, workspace }
}

#[tokio::test]
async fn a_chain_by_hand_does_the_whole_job_and_every_process_exits() {
    let (chain, server) = (chain().await, GitServer::start());
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let Chain { mut workflow, mut claude_exec, git_pull, workspace } = chain;
    let address = git_pull.address().await.to_string();
    let supervised = supervise(git_pull, address, workspace.path().to_owned(), 2);
    let body = json!({"prompt": "echo b > b.txt", "repoUrl": server.url(Access::Public, "demo")});
    let url = workflow.url("/api/workflow").await;
    let job = async {
        let answer = http::client().post(url).body(body.to_string()).send().await.unwrap();
        Ended::of(Events::of(answer).await.rest().await)
    };
    let (ended, ()) = tokio::join!(job, supervised);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert!(ended.output("deliver", "patch").contains("+b\n"));
    let started = ended.events("started");
    assert_eq!(started.len(), 1, "the steps' workers are no attempts: {started:#?}");
    assert!(workflow.exit().await.success());
    assert!(claude_exec.exit().await.success());
}

#[tokio::test]
async fn with_the_exit_code_of_the_job_a_failed_one_is_seen_by_the_shell() {
    let workspace = tempfile::tempdir().unwrap();
    for (prompt, code) in [("exit 0", 0), ("exit 3", 1)] {
        let mut claude_exec = worker("claude-exec", "127.0.0.1:0", workspace.path())
            .env("ONESHIFT_EXIT", "job")
            .start();
        let url = claude_exec.url("/api/execute").await;
        let body = json!({"prompt": prompt}).to_string();
        let answer = http::client().post(url).body(body).send().await.unwrap();
        let ended = Ended::of(Events::of(answer).await.rest().await);
        assert_eq!(ended.outcome["exitCode"].as_i64(), prompt[5..].parse().ok());
        assert_eq!(claude_exec.exit().await.code(), Some(code), "{prompt}");
    }
}

#[tokio::test]
async fn an_outcome_that_nobody_reads_is_exit_code_1() {
    let workspace = tempfile::tempdir().unwrap();
    let mut claude_exec = worker("claude-exec", "127.0.0.1:0", workspace.path())
        .env("ONESHIFT_READER_WAIT_SECONDS", "1")
        .start();
    let url = claude_exec.url("/api/execute").await;
    let body = json!({"prompt": "sleep 1000"}).to_string();
    let answer = http::client().post(url).body(body).send().await.unwrap();
    drop(answer);
    assert_eq!(claude_exec.exit().await.code(), Some(1), "{:#?}", claude_exec.lines());
    claude_exec.line("CallerLost").await;
}
