//! The command line, as people and scripts use it.

use std::process::Output;

use end_to_end::git_server::{Access, GitServer, Repository};
use end_to_end::sse::{Frame, assert_complete};
use end_to_end::{Setup, Stack, git};
use rustix::process::Signal;
use serde_json::Value;

struct Scene {
    stack: Stack,
    repository: Repository,
    url: String,
    folder: tempfile::TempDir,
    _server: GitServer,
}

async fn scene() -> Scene {
    let server = GitServer::start();
    let repository = server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let url = server.url(Access::Public, "demo");
    let folder = tempfile::tempdir().unwrap();
    Scene { stack: Setup::new().start().await, repository, url, folder, _server: server }
}

impl Scene {
    async fn cli(&self, arguments: &[&str]) -> Output {
        self.stack.cli(self.folder.path(), arguments, "").await
    }

    /// What it prints; it must succeed.
    async fn says(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn code(&self, arguments: &[&str]) -> Option<i32> {
        let output = self.cli(arguments).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
        output.status.code()
    }
}

#[tokio::test]
async fn exit_codes_tell_how_it_went() {
    let scene = scene().await;
    let url = scene.url.as_str();
    assert_eq!(scene.code(&["run", "echo b > b.txt", "--repo", url]).await, Some(0));
    assert_eq!(scene.code(&["run", "exit 7", "--repo", url]).await, Some(1));
    let missing = url.replace("demo", "nothing");
    assert_eq!(scene.code(&["run", "true", "--repo", &missing]).await, Some(1));
    for wrong in [
        &["run", "true"][..],
        &["run", "true", "--repo", "no/such/folder"],
        &["run", "true", "--repo", url, "--branch=-x"],
        &["run", "true", "--repo", url, "--directory", "../x"],
        &["run", "true", "--repo", url, "--priority", "1000"],
        &["run", "true", "--repo", url, "--deliver", "branch"],
        &["run", "true", "--repo", "ssh://git@host/x"],
        &["run", "--repo", url],
        &["show", "no-such-job"],
        &["dance"],
    ] {
        assert_eq!(scene.code(wrong).await, Some(2), "{wrong:?}");
    }
    let nobody = ["run", "true", "--repo", url, "--url", "http://127.0.0.1:1"];
    assert_eq!(scene.code(&nobody).await, Some(3));
    assert_eq!(scene.code(&["jobs", "--url", "http://127.0.0.1:1"]).await, Some(3));
}

#[tokio::test]
async fn the_patch_comes_home_and_jobs_can_be_looked_up() {
    let scene = scene().await;
    let prompt = "echo b > b.txt; printf 'caf\\351\\n' > latin.txt; echo said";
    let arguments = ["run", "-", "--repo", &scene.url, "--label", "for=test", "--json"];
    let output = scene.stack.cli(scene.folder.path(), &arguments, prompt).await;
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let frames: Vec<Frame> = (1..)
        .zip(lines.lines())
        .map(|(id, line)| {
            let event: Value = serde_json::from_str(line).unwrap();
            let name = event["type"].as_str().unwrap().to_owned();
            Frame { id: Some(u64::to_string(&id)), event: name, data: line.to_owned() }
        })
        .collect();
    let last = assert_complete(&frames);
    let job = last["jobId"].as_str().unwrap();

    let patch = scene.cli(&["patch", job]).await.stdout;
    let clone = tempfile::tempdir().unwrap();
    let (from, to) = (scene.repository.path().to_str().unwrap(), clone.path().to_str().unwrap());
    git::run(clone.path(), ["clone", "--quiet", from, to]);
    std::fs::write(scene.folder.path().join("p"), &patch).unwrap();
    let file = scene.folder.path().join("p");
    git::run(clone.path(), ["apply", file.to_str().unwrap()]);
    assert_eq!(std::fs::read(clone.path().join("latin.txt")).unwrap(), b"caf\xe9\n");
    scene.says(&["patch", job, "--output", "again"]).await;
    assert_eq!(std::fs::read(scene.folder.path().join("again")).unwrap(), patch);

    assert!(scene.says(&["jobs"]).await.contains("completed"));
    let listed = scene.says(&["jobs", "--json", "--label", "for=test"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["id"], job);
    assert_eq!(scene.says(&["jobs", "--json", "--label", "for=nothing"]).await, "");
    assert_eq!(scene.says(&["jobs", "--json", "--state", "failed"]).await, "");
    assert!(scene.says(&["show", job]).await.contains("completed"));
    let shown: Value = serde_json::from_str(&scene.says(&["show", job, "--json"]).await).unwrap();
    assert_eq!(shown["outcome"], last["outcome"]);
    // The end of an id is enough.
    assert!(scene.says(&["logs", &job[job.len() - 12..]]).await.contains("said"));
    assert_eq!(scene.says(&["logs", "--json", job]).await, lines);
    let after = scene.says(&["logs", "--json", "-f", "--after", "2", job]).await;
    assert_eq!(after.lines().count(), frames.len() - 2);
}

const WAITS: &str = "echo b > b.txt; echo ready; while [ ! -e go ]; do sleep 0.05; done";

/// The job that runs.
async fn running(stack: &Stack) -> String {
    let jobs = stack.get("/api/jobs?state=running").await;
    jobs["jobs"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_interrupt_leaves_the_job_to_itself_and_says_how_to_come_back() {
    let scene = scene().await;
    let mut run = scene.stack.launch_cli(&["run", WAITS, "--repo", &scene.url]).start();
    run.line("ready").await;
    let job = running(&scene.stack).await;
    run.signal(Signal::INT);
    let hint = run.line("detached").await;
    assert!(hint.contains(&format!("logs -f {job}")) && hint.contains("--url http"), "{hint}");
    assert_eq!(run.exit().await.code(), Some(130));
    assert_eq!(running(&scene.stack).await, job);
    let mut logs = scene.stack.launch_cli(&["logs", "-f", &job]).start();
    logs.line("ready").await;
    std::fs::write(scene.stack.job_folder(&job).join("repo/go"), "").unwrap();
    assert_eq!(logs.exit().await.code(), Some(0), "{:#?}", logs.lines());
}

#[tokio::test]
async fn a_second_interrupt_cancels_the_job() {
    let scene = scene().await;
    let mut run = scene.stack.launch_cli(&["run", WAITS, "--repo", &scene.url]).start();
    run.line("ready").await;
    let job = running(&scene.stack).await;
    run.signal(Signal::INT);
    run.line("again").await;
    run.signal(Signal::INT);
    assert_eq!(run.exit().await.code(), Some(1), "{:#?}", run.lines());
    let shown = scene.stack.get(&format!("/api/jobs/{job}")).await;
    assert_eq!(shown["state"], "cancelled", "{shown}");
    assert!(scene.says(&["patch", &job]).await.contains("+b\n"));
}

#[tokio::test]
async fn a_detached_job_is_cancelled_by_its_id() {
    let scene = scene().await;
    let job = scene.says(&["run", "-d", WAITS, "--repo", &scene.url]).await.trim().to_owned();
    assert_eq!(scene.code(&["cancel", &job]).await, Some(0));
    scene.cli(&["logs", "-f", &job]).await;
    let shown = scene.stack.get(&format!("/api/jobs/{job}")).await;
    assert_eq!(shown["state"], "cancelled", "{shown}");
}

#[tokio::test]
async fn completions_are_there_for_every_shell() {
    let scene = scene().await;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = scene.says(&["completions", shell]).await;
        assert!(text.contains("oneshift") && text.contains("patch"), "{shell}");
    }
    if let Some(bash) = end_to_end::tool("bash") {
        let script = scene.folder.path().join("completions");
        std::fs::write(&script, scene.says(&["completions", "bash"]).await).unwrap();
        let status = std::process::Command::new(bash).arg("-n").arg(&script).status().unwrap();
        assert!(status.success());
    }
}
