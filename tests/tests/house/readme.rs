//! Every command that the README shows works as it stands there.

use std::path::{Path, PathBuf};
use std::process::Output;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::model::Script;
use end_to_end::sse::parse;
use end_to_end::{Ended, Model, Setup, Stack, binaries, git, tool};
use tokio::process::Command;

/// The commands of the README's `sh` blocks, one for each line.
fn commands() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// A command as it is typed, but with this build's binary and this test's house and repository.
fn adapted(command: &str, stack: &Stack, url: &str) -> String {
    let oneshift = binaries().join("oneshift").display().to_string();
    let address = stack.url("");
    command
        .replace("target/release/oneshift", &oneshift)
        .replace("localhost:5000", address.strip_prefix("http://").unwrap())
        .replace("https://github.com/you/project", url)
        .replace("\"check\":\"cargo test\"", "\"check\":\"test -e README.md\"")
}

/// The house that the README tells to start, with the real CLI and a model that writes a README.
/// None, which is said aloud, if there is no CLI.
async fn house() -> Option<(Stack, Model)> {
    let model = Model::start(Script::writes("README.md", "# Hello\n"));
    let stack = Setup::with_claude(&model)?.start().await;
    Some((stack, model))
}

async fn sh(folder: &Path, url: &str, command: &str) -> Output {
    let path = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap().1;
    let output = Command::new("sh")
        .args(["-c", command])
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder)
        .env("ONESHIFT_URL", url)
        .current_dir(folder)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    output
}

/// A clone to work in, as `--repo .` means it.
fn clone(server: &GitServer) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let url = server.url(Access::Public, "demo");
    git::run(folder.path(), ["clone", "--quiet", &url, "project"]);
    let project = folder.path().join("project");
    (folder, project)
}

#[tokio::test]
async fn each_command_of_the_readme_works() {
    if tool("curl").is_none() {
        return;
    }
    let Some((stack, _model)) = house().await else { return };
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let url = server.url(Access::Public, "demo");
    let (_folder, project) = clone(&server);
    let mut kinds = Vec::new();
    for command in commands() {
        let adapted = adapted(&command, &stack, &url);
        // Building is what the test's own start has done, and testing is what it does.
        let run = adapted.strip_prefix("cargo build --release && ").unwrap_or(&adapted);
        let kind = match run {
            "cargo test --workspace" => "test",
            // It takes a quarter of an hour, and engines of its own.
            "cargo test --workspace --features end-to-end/swarm --test swarm" => "test on Swarm",
            _ if run.ends_with("oneshift up") => "up",
            _ => "",
        };
        if !kind.is_empty() {
            // `up` is running: the house was started by it.
            kinds.push(kind.to_owned());
            continue;
        }
        let output = sh(&project, &stack.url(""), run).await;
        let text = String::from_utf8(output.stdout).unwrap();
        kinds.push(judge(&command, &text, &stack).await);
    }
    let expected = [
        "demo",
        "test",
        "test on Swarm",
        "up",
        "curl -N",
        "curl async",
        "curl jobs",
        "run",
        "jobs",
    ];
    assert_eq!(kinds, expected, "the README has changed; so must this test");
}

/// Whether a command did what the README says of it.
async fn judge(command: &str, text: &str, stack: &Stack) -> String {
    let expect = |part: &str| assert!(text.contains(part), "{command}: {text}");
    let kind = if command.ends_with("oneshift demo") {
        expect("+++ b/README.md");
        expect("a built-in script takes the agent's place");
        "demo"
    } else if command.starts_with("curl -N") {
        assert_eq!(Ended::of(parse(text)).ending(), "completed", "{text}");
        "curl -N"
    } else if command.contains("respond-async") {
        let job: serde_json::Value = serde_json::from_str(text).unwrap();
        let path = format!("/api/jobs/{}", job["id"].as_str().unwrap());
        let events = stack.text(&format!("{path}/events")).await;
        assert_eq!(Ended::of(parse(&events)).ending(), "completed", "{events}");
        assert!(stack.text(&format!("{path}/patch")).await.contains("+++ b/README.md"));
        "curl async"
    } else if command.ends_with("/api/jobs") {
        expect("\"state\":\"completed\"");
        "curl jobs"
    } else if command.contains("oneshift run") {
        expect("README.md");
        "run"
    } else {
        assert!(command.ends_with("oneshift jobs"), "{command}");
        expect("completed");
        "jobs"
    };
    kind.to_owned()
}

#[tokio::test]
async fn the_patch_comes_home_through_git_apply() {
    let Some((stack, _model)) = house().await else { return };
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let (_folder, project) = clone(&server);
    let oneshift = binaries().join("oneshift").display().to_string();
    let run = format!("{oneshift} run 'Add a README file' --repo . --json");
    let output = sh(&project, &stack.url(""), &run).await;
    let last = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert!(!project.join("README.md").exists(), "the repository itself is left alone");
    let job = last["jobId"].as_str().unwrap();
    sh(&project, &stack.url(""), &format!("{oneshift} patch {job} | git apply")).await;
    assert!(project.join("README.md").exists());
}
