//! Who may read what, and what is said when it does not work.

use std::time::Duration;

use end_to_end::git_server::{Access, GitServer, PASSWORD, USER};
use service::one_shot::{Job, Shift, Stop};
use service::protocol::{Reason, State};

use super::server_with_demo;
use crate::testing::{Site, request, runtime};

#[test]
fn each_failure_has_its_reason_and_a_sentence() {
    let (server, _) = server_with_demo();
    let site = Site::with([("ONESHIFT_GIT_SILENCE_SECONDS", "1")]);
    for (access, reason, words) in [
        (Access::Private, Reason::LoginRefused, "wants a login"),
        (Access::Forbidden, Reason::LoginRefused, "refuses the login"),
        (Access::Missing, Reason::RepositoryNotFound, "there is no repository at"),
        (Access::Broken, Reason::CloneFailed, "HTTP status 500"),
        (Access::NotGit, Reason::CloneFailed, "does not answer as a git server"),
        (Access::StalledRefs, Reason::Stalled, "was silent for 1 s"),
        (Access::StalledPack, Reason::Stalled, "was silent for 1 s"),
        (Access::Cut, Reason::CloneFailed, "broke off in the middle"),
        (Access::RedirectLoop, Reason::CloneFailed, "redirects more than 5 times"),
    ] {
        let pulled = site.pull(&server.url(access, "demo"));
        let (found, message) = pulled.failure();
        assert!(found == reason && message.contains(words), "{access:?}: {found:?}: {message}");
        assert!(message.contains(&server.url(access, "demo")), "{access:?}: {message}");
        assert!(!message.contains("service="), "{access:?}: {message}");
    }
}

#[test]
fn a_server_that_is_never_silent_and_never_done_is_given_up() {
    let (server, _) = server_with_demo();
    let site = Site::with([("ONESHIFT_GIT_TIMEOUT_SECONDS", "1")]);
    let url = server.url(Access::Slow, "demo");
    let pulled = site.pull(&url);
    let expected = format!("{url} did not send all that is needed within 1 s");
    assert_eq!(pulled.failure(), (Reason::Timeout, expected.as_str()));
}

#[test]
fn what_the_request_names_and_is_not_there_is_named_in_the_answer() {
    let server = GitServer::start();
    server.repository("demo", |repository| {
        repository.file("real/file", "x").symlink("link", "real").submodule("sub", "x");
        repository.commit("first");
    });
    let site = Site::new();
    let url = server.url(Access::Public, "demo");
    let pulled = site.pull_with(&url, ",\"branch\":\"nope\"");
    let expected = format!("branch \"nope\" does not exist in {url}");
    assert_eq!(pulled.failure(), (Reason::BranchNotFound, expected.as_str()));
    for (directory, words) in [
        ("nope", "does not exist"),
        ("link", "symlink"),
        ("link/deeper", "symlink"),
        ("real/file", "is not a folder"),
        ("sub", "submodule"),
    ] {
        let pulled = site.pull_with(&url, &format!(",\"directory\":\"{directory}\""));
        let (reason, message) = pulled.failure();
        assert_eq!(reason, Reason::DirectoryNotFound);
        assert!(message.contains(words) && message.contains(directory), "{message}");
    }
    site.pull_with(&url, ",\"directory\":\"./real/\"").commit();
}

#[test]
fn a_host_that_is_not_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let pulled = Site::new().pull(&format!("http://{address}/repo"));
    assert_eq!(pulled.failure().0, Reason::HostUnreachable);
    let pulled = Site::new().pull("http://does-not-exist.invalid/repo");
    assert_eq!(pulled.failure().0, Reason::HostUnreachable);
}

#[test]
fn the_login_of_the_address_lets_in_and_is_written_nowhere() {
    let (server, commit) = server_with_demo();
    let site = Site::new();
    let pulled = site.pull(&server.url_with_password("demo"));
    assert_eq!(pulled.commit(), commit);
    let written = std::process::Command::new("grep")
        .args(["--recursive", "--files-with-matches", "-e", "correct.*horse"])
        .arg(site.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&written.stdout), "");
    let events = format!("{:?} {:?}", pulled.job.events(), pulled.outcome);
    assert!(!events.contains("horse") && !events.contains(USER), "{events}");
}

#[test]
fn the_operators_login_lets_in() {
    let (server, commit) = server_with_demo();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let password = PASSWORD.replace(' ', "%20");
    std::fs::write(&file, format!("http://{USER}:{password}@{}\n", server.host())).unwrap();
    let site = Site::with([("ONESHIFT_GIT_CREDENTIALS_FILE", file.to_str().unwrap())]);
    assert_eq!(site.pull(&server.url(Access::Private, "demo")).commit(), commit);
}

#[test]
fn what_one_caller_cached_another_without_a_login_does_not_get() {
    let (server, _) = server_with_demo();
    let site = Site::new();
    site.pull(&server.url_with_password("demo")).commit();
    let refused = site.pull(&server.url(Access::Private, "demo"));
    assert_eq!(refused.failure().0, Reason::LoginRefused);
    assert!(!refused.checkout.join("README.md").exists());
}

#[test]
fn a_redirect_is_followed_with_the_login_to_the_same_host_only() {
    let (server, commit) = server_with_demo();
    let site = Site::new();
    let url = server.url(Access::Redirect, "demo");
    let with_login = url.replacen("http://", "http://bob:secret@", 1);
    assert_eq!(site.pull(&with_login).commit(), commit);
    assert!(server.requests().iter().all(|request| request.authorization.is_some()));
    // The same server by another name is another host.
    let elsewhere = crate::testing::redirect_to(&server.url(Access::Public, "demo"));
    let with_login = elsewhere.replacen("http://", "http://bob:secret@", 1);
    let before = server.requests().len();
    assert_eq!(Site::new().pull(&with_login).commit(), commit);
    let after = server.requests();
    assert!(after[before..].iter().all(|request| request.authorization.is_none()), "{after:?}");
}

#[test]
fn a_redirect_to_a_forbidden_address_is_not_followed() {
    let elsewhere = crate::testing::redirect_to("http://169.254.169.254/latest");
    let pulled = Site::new().pull(&elsewhere);
    let (reason, message) = pulled.failure();
    assert!(reason == Reason::NotAllowed && message.contains("link-local"), "{message}");
    assert!(!pulled.outcome.retryable);
}

#[test]
fn a_repository_that_is_not_allowed_is_refused_before_the_worker_is_used() {
    let site = Site::with([("ONESHIFT_ALLOW_LOCAL_REPOS", "0")]);
    for url in ["/srv/repo", "file:///srv/repo", "http://169.254.169.254/x", "http://[fe80::1]/x"] {
        let error = site.puller().admit(&request(url, "")).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("repoUrl"), "{url}");
    }
}

#[test]
fn a_stop_ends_every_wait() {
    let (server, _) = server_with_demo();
    // The server's silence would be borne for an hour.
    let site = Site::with([("ONESHIFT_GIT_SILENCE_SECONDS", "3600")]);
    for access in [Access::StalledRefs, Access::StalledPack] {
        let job = Job::detached();
        let stopped = job.clone();
        let url = server.url(access, "demo");
        let (puller, seen) = (site.puller(), server.requests().len());
        let outcome = runtime().block_on(async {
            let run = tokio::spawn(async move { puller.run(request(&url, ""), job).await });
            while server.requests().len() == seen {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stopped.request_stop(Stop::new(Reason::CancelRequested, "cancelled"));
            run.await.unwrap()
        });
        assert_eq!(
            (outcome.state, outcome.reason),
            (State::Cancelled, Some(Reason::CancelRequested))
        );
    }
}

#[test]
fn a_stop_ends_a_checkout() {
    let (server, _) = server_with_demo();
    let site = Site::new();
    let job = Job::detached();
    job.request_stop(Stop::new(Reason::WorkerStopped, "stopped"));
    let pulled = site.pull_as(&server.url(Access::Public, "demo"), "", job);
    assert_eq!(pulled.failure().0, Reason::WorkerStopped);
}

#[test]
fn settings_that_cannot_be_used_are_refused() {
    let environment =
        service::config::Environment::from_pairs([("ONESHIFT_WORKSPACE", "/dev/null/x")]);
    let fault = crate::settings::Settings::read(&environment).unwrap_err().to_string();
    assert!(fault.starts_with("ONESHIFT_WORKSPACE is wrong"), "{fault}");
}
