//! A password in a repository's address is used, and never seen again.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use end_to_end::git_server::{Access, GitServer, PASSWORD, USER};
use end_to_end::{Setup, Stack, eventually};
use serde_json::json;

const NOWHERE: [PathBuf; 0] = [];

/// The password in every form in which it may turn up.
fn forms() -> [String; 4] {
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    [
        PASSWORD.to_owned(),
        PASSWORD.replace(' ', "%20"),
        encode(&format!("{USER}:{PASSWORD}")),
        encode(PASSWORD).trim_end_matches('=').to_owned(),
    ]
}

fn is_in(bytes: &[u8]) -> bool {
    forms().iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .flat_map(|path| {
            let is_folder = path.symlink_metadata().is_ok_and(|it| it.is_dir());
            if is_folder { files(&path) } else { vec![path] }
        })
        .collect()
}

/// The files below `folder` with the password in them.
fn betraying(folder: &Path) -> Vec<PathBuf> {
    let betrays = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| is_in(&bytes));
    files(folder).into_iter().filter(betrays).collect()
}

/// Where a running process shows something: its arguments, and for the owner its environment.
fn betraying_processes(stack: &Stack) -> Vec<String> {
    let services = ["gateway", "workflow", "git-pull", "claude-exec"];
    let ids = services.iter().flat_map(|service| stack.processes(service));
    let paths = ids.flat_map(|id| ["cmdline", "environ"].map(|file| format!("/proc/{id}/{file}")));
    paths.filter(|path| fs::read(path).is_ok_and(|bytes| is_in(&bytes))).collect()
}

#[tokio::test]
async fn the_password_in_the_address_is_nowhere_to_be_found() {
    let stack = Setup::new().env("ONESHIFT_LOG", "trace,h2=off").start().await;
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").commit("first");
    });
    let url = server.url_with_password("demo");
    // The agent looks for it, too, and waits for the test to look around.
    let prompt =
        "grep -rl 'correct.*horse' . .. ../../../cache; env | grep -i horse; cat .git/config
                  echo looked; while [ ! -e go ]; do sleep 0.05; done; echo b > b.txt";
    let request = json!({"prompt": prompt, "repoUrl": url});
    let mut events = stack.submit(&request).await;
    let mut frames = Vec::new();
    loop {
        let frame = events.next().await.unwrap();
        frames.push(frame);
        if frames.last().is_some_and(|frame| frame.data.contains("looked")) {
            break;
        }
    }
    assert!(server.requests().iter().any(|request| request.authorization.is_some()));
    let job = frames[0].json()["jobId"].as_str().unwrap().to_owned();
    assert_eq!(betraying(&stack.workspace()), NOWHERE, "while the agent runs");
    assert_eq!(betraying_processes(&stack), [""; 0]);
    fs::write(stack.job_folder(&job).join("repo/go"), "").unwrap();
    frames.extend(events.rest().await);
    let ended = end_to_end::Ended::of(frames);
    assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
    let stream: Vec<_> = ended.frames.iter().filter(|it| is_in(it.data.as_bytes())).collect();
    assert!(stream.is_empty(), "{stream:#?}");
    for path in [format!("/api/jobs/{job}"), "/api/jobs".to_owned(), "/metrics".to_owned()] {
        let answer = stack.text(&path).await;
        assert!(!is_in(answer.as_bytes()), "{path}: {answer}");
    }
    let shown = stack.get(&format!("/api/jobs/{job}")).await["request"]["repoUrl"].clone();
    assert_eq!(shown, server.url(Access::Private, "demo"));
    let wiped = async || betraying(&stack.data()).is_empty().then_some(());
    eventually("the store has forgotten the login of the job that ended", wiped).await;
    let (folder, log) = stack.stop().await;
    let lines: Vec<_> = log.iter().filter(|line| is_in(line.as_bytes())).collect();
    assert!(lines.is_empty(), "{lines:#?}");
    assert!(log.len() > 100, "the log was to tell everything: {log:#?}");
    assert_eq!(betraying(folder.path()), NOWHERE, "after the end");
}

#[tokio::test]
async fn a_refused_password_is_not_repeated_either() {
    let (stack, server) = (Setup::new().start().await, GitServer::start());
    server.repository("demo", |_| {});
    let url = server.url_with_password("demo").replace(USER, "eve");
    let ended = stack.run(&json!({"prompt": "true", "repoUrl": url})).await;
    assert_eq!(ended.ending(), "failed login_refused", "{}", ended.outcome);
    let url = url.replace("http://", "ftp://");
    let answer = end_to_end::http::client().post(stack.url("/api/workflow"));
    let body = json!({"prompt": "true", "repoUrl": url}).to_string();
    let refusal = answer.body(body).send().await.unwrap();
    assert_eq!(refusal.status(), 422);
    assert!(!is_in(refusal.text().await.unwrap().as_bytes()));
    let stream: Vec<_> = ended.frames.iter().filter(|it| is_in(it.data.as_bytes())).collect();
    assert!(stream.is_empty(), "{stream:#?}");
    let (folder, log) = stack.stop().await;
    assert!(!log.iter().any(|line| is_in(line.as_bytes())));
    assert_eq!(betraying(folder.path()), NOWHERE);
}
