//! Repositories over HTTP: each way in which they cannot be had has its own reason and sentence.

use end_to_end::git_server::{Access, GitServer};
use end_to_end::{Ended, Setup, Stack};
use serde_json::{Value, json};

async fn stack() -> Stack {
    Setup::new().sizes(2, 2, 1).env("ONESHIFT_GIT_SILENCE_SECONDS", "1").start().await
}

fn server() -> GitServer {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("a.txt", "a\n").file("folder/b.txt", "b\n").commit("first");
        repository.tag("v1").on("topic").file("topic.txt", "t\n").commit("second");
        repository.symlink("link", "folder").symlink("out", "/etc").commit("third");
    });
    server
}

/// The agent lists the files, and changes one.
fn request(url: &str, more: &Value) -> Value {
    let mut request = json!({"prompt": "ls; echo more >> a.txt", "repoUrl": url});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn assert_sentence(ended: &Ended) {
    let message = ended.outcome["message"].as_str().unwrap();
    assert!(message.split(' ').count() >= 4, "{message}");
    assert!(!message.ends_with('.') && !message.contains("correct"), "{message}");
    let step = ended.events("step").pop().unwrap();
    assert_eq!((&step["step"], &step["state"]), (&json!("pull"), &json!("failed")), "{step}");
    assert_eq!((&step["reason"], &step["message"]), (&ended.outcome["reason"], &json!(message)));
}

#[tokio::test]
async fn what_can_be_read_is_worked_on() {
    let (stack, server) = (stack().await, server());
    let public = server.url(Access::Public, "demo");
    for (url, more, files) in [
        (public.clone(), json!({}), "a.txt\nfolder"),
        (public.clone(), json!({"branch": "v1"}), "a.txt\nfolder"),
        (public, json!({"branch": "topic"}), "a.txt\nfolder\nlink\nout\ntopic.txt"),
        (server.url(Access::Redirect, "demo"), json!({}), "a.txt\nfolder"),
        (server.url_with_password("demo"), json!({}), "a.txt\nfolder"),
    ] {
        let ended = stack.run(&request(&url, &more)).await;
        assert_eq!(ended.ending(), "completed", "{url}: {}", ended.outcome);
        assert_eq!(ended.output("execute", "stdout"), files, "{url}");
        assert!(ended.output("deliver", "patch").contains("\n+more\n"));
    }
}

#[tokio::test]
async fn what_cannot_be_read_fails_with_its_own_reason() {
    let (stack, server) = (stack().await, server());
    let wrong = server.url_with_password("demo").replace("correct", "incorrect");
    let nobody = "http://127.0.0.1:1/demo.git".to_owned();
    let unknown = "http://no-such-host.invalid/demo.git".to_owned();
    let url = |access| server.url(access, "demo");
    let none = json!({});
    for (url, more, reason) in [
        (url(Access::Private), &none, "login_refused"),
        (wrong, &none, "login_refused"),
        (url(Access::Missing), &none, "repository_not_found"),
        (url(Access::StalledRefs), &none, "stalled"),
        (url(Access::StalledPack), &none, "stalled"),
        (url(Access::Cut), &none, "clone_failed"),
        (url(Access::NotGit), &none, "clone_failed"),
        (url(Access::Broken), &none, "clone_failed"),
        (url(Access::RedirectLoop), &none, "clone_failed"),
        (url(Access::Public), &json!({"branch": "nowhere"}), "branch_not_found"),
        (url(Access::Public), &json!({"directory": "nowhere"}), "directory_not_found"),
        (nobody, &none, "host_unreachable"),
        (unknown, &none, "host_unreachable"),
    ] {
        let ended = stack.run(&request(&url, more)).await;
        assert_eq!(ended.ending(), format!("failed {reason}"), "{url}: {}", ended.outcome);
        assert_sentence(&ended);
    }
    stack.at_full_strength().await;
}

#[tokio::test]
async fn a_directory_through_a_symlink_is_not_found() {
    let (stack, server) = (stack().await, server());
    for directory in ["link", "out", "out/ssl"] {
        let more = json!({"branch": "topic", "directory": directory});
        let ended = stack.run(&request(&server.url(Access::Public, "demo"), &more)).await;
        assert_eq!(ended.ending(), "failed directory_not_found", "{}", ended.outcome);
        assert_sentence(&ended);
    }
    let more = json!({"branch": "topic", "directory": "folder"});
    let mut request = request(&server.url(Access::Public, "demo"), &more);
    request["prompt"] = json!("ls");
    let ended = stack.run(&request).await;
    assert_eq!(ended.output("execute", "stdout"), "b.txt");
}

#[tokio::test]
async fn the_second_pull_fetches_only_what_is_new() {
    let (stack, server) = (stack().await, GitServer::start());
    let mut repository = server.repository("grows", |repository| {
        repository.noise("noise", 200_000).commit("first");
    });
    let url = server.url(Access::Public, "grows");
    let bytes = |ended: &Ended| {
        let events = ended.events("progress").into_iter();
        let received = events.filter(|event| event["phase"] == "receiving");
        received.filter_map(|event| event["bytes"].as_u64()).max().unwrap_or(0)
    };
    let first = stack.run(&request(&url, &json!({}))).await;
    assert!(bytes(&first) > 200_000, "{}", bytes(&first));
    repository.file("new.txt", "new\n").commit("second");
    let second = stack.run(&request(&url, &json!({}))).await;
    assert!(second.output("execute", "stdout").contains("new.txt"));
    assert!(bytes(&second) < 10_000, "{}", bytes(&second));
}
