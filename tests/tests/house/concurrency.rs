//! Many callers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::{Events, parse};
use end_to_end::{Ended, Launch, Setup, Stack, http, tool};
use futures_util::future::join_all;
use serde_json::json;

/// `curl -N`, as the README has it.
async fn curl(program: &std::path::Path, stack: &Stack, body: &str) -> Ended {
    let child = tokio::process::Command::new(program)
        .args(["-N", "-sS", "-X", "POST", &stack.url("/api/workflow"), "-d", body])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", output.status);
    Ended::of(parse(&String::from_utf8(output.stdout).unwrap()))
}

/// Counts how many jobs each process began, by its line in the log.
fn jobs_begun(log: &[String], service: &str) -> usize {
    let is_start = |line: &&String| line.starts_with(service) && line.contains("the job begins");
    log.iter().filter(is_start).count()
}

fn processes_started(log: &[String], service: &str) -> usize {
    let listens = |line: &&String| line.starts_with(service) && line.contains("listening on");
    log.iter().filter(listens).count()
}

#[tokio::test]
async fn ten_curls_at_five_three_three_workers_all_complete_each_in_processes_of_its_own() {
    let Some(program) = tool("curl") else { return };
    let stack = Setup::new().sizes(5, 3, 3).start().await;
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.many_files(20).commit("first");
    });
    // The shell's parent is the guard of the agent, whose parent is the worker.
    let prompt = "read -r _ _ _ worker _ < /proc/$PPID/stat; echo $worker $PPID $$; echo $$ > mine";
    let body = json!({"prompt": prompt, "repoUrl": server.url(Access::Public, "demo")}).to_string();
    let jobs = join_all((0..10).map(|_| curl(&program, &stack, &body))).await;
    let (mut ids, mut workers) = (BTreeSet::new(), BTreeSet::new());
    for job in &jobs {
        assert_eq!(job.ending(), "completed", "{}", job.outcome);
        assert_eq!(job.outcome["changes"]["files"], 1);
        let started = job.events("started");
        assert_eq!(started.len(), 1, "no job had to be tried again: {started:#?}");
        workers.insert(started[0]["worker"].to_string());
        let output = job.output("execute", "stdout");
        ids.extend(output.split_whitespace().map(str::to_owned));
    }
    assert_eq!(workers.len(), 10, "each job had its own workflow: {workers:?}");
    assert_eq!(ids.len(), 30, "each job had its own claude-exec, guard and agent: {ids:?}");
    stack.at_full_strength().await;
    let (_, log) = stack.stop().await;
    for (service, jobs, spare) in [("workflow", 10, 5), ("git-pull", 20, 3), ("claude-exec", 10, 3)]
    {
        assert_eq!(jobs_begun(&log, service), jobs, "{service}");
        assert_eq!(processes_started(&log, service), jobs + spare, "{service}");
    }
}

#[tokio::test]
async fn of_a_hundred_posts_in_the_same_instant_one_worker_takes_exactly_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Launch::of("claude-exec")
        .env("ONESHIFT_LISTEN", "127.0.0.1:0")
        .env("ONESHIFT_WORKSPACE", folder.path())
        .env("ONESHIFT_AGENT", "command")
        .env("ONESHIFT_AGENT_COMMAND", json!(["sh"]).to_string())
        .start();
    let url = worker.url("/api/execute").await;
    // All are to be answered before the worker has done its job, and exits.
    let go = folder.path().join("go").display().to_string();
    let prompt = format!("while [ ! -e '{go}' ]; do sleep 0.02; done; echo $$");
    let post = || http::client().post(&url).body(json!({"prompt": prompt}).to_string()).send();
    let answers = join_all((0..100).map(|_| post())).await;
    let mut statuses = BTreeMap::new();
    let mut accepted = None;
    for answer in answers {
        let answer = answer.unwrap();
        let status = answer.status().as_u16();
        *statuses.entry(status).or_insert(0) += 1;
        if status == 200 {
            accepted = Some(answer);
            continue;
        }
        assert!(answer.headers().contains_key("retry-after"));
        assert!(answer.text().await.unwrap().contains(r#""code":"busy""#));
    }
    assert_eq!(statuses, BTreeMap::from([(200, 1), (503, 99)]));
    std::fs::write(go, "").unwrap();
    let ended = Ended::of(Events::of(accepted.unwrap()).await.rest().await);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    assert_eq!(ended.output("execute", "stdout").split_whitespace().count(), 1);
    assert!(worker.exit().await.success());
    assert_eq!(jobs_begun(&worker.lines(), ""), 1);
}
