//! The real binary and servers behind TLS. Whom it trusts is in its environment.

use std::path::Path;

use end_to_end::git_server::{Access, GitServer, PASSWORD, USER};
use end_to_end::sse::{Events, assert_complete};
use end_to_end::{Launch, http};
use serde_json::{Value, json};

/// Where a machine without certificates would have them.
const NO_FILE: &str = "/does/not/exist.pem";

fn with_demo(server: GitServer) -> GitServer {
    server.repository("demo", |repository| {
        repository.file("README.md", "hello\n").noise("noise", 300_000).commit("first");
    });
    server
}

/// The outcome of a pull by a worker that trusts those in a file.
async fn pull(trusted: impl AsRef<Path>, url: &str) -> Value {
    let workspace = tempfile::tempdir().expect("there is room for a workspace");
    let mut worker = Launch::program(Path::new(env!("CARGO_BIN_EXE_git-pull")))
        .env("ONESHIFT_LISTEN", "127.0.0.1:0")
        .env("ONESHIFT_WORKSPACE", workspace.path())
        .env("SSL_CERT_FILE", trusted.as_ref())
        .start();
    let request = http::client().post(worker.url("/api/pull").await);
    let body = json!({"repoUrl": url}).to_string();
    let answer = request.body(body).send().await.expect("the worker answers");
    let events = Events::of(answer).await.rest().await;
    assert!(worker.exit().await.success());
    let told = format!("{events:?} {:?}", worker.lines());
    assert!(!told.contains("horse"), "the password is told: {told}");
    assert_complete(&events)["outcome"].clone()
}

fn assert_pulled(outcome: &Value) {
    assert_eq!(outcome["state"], "completed", "{outcome}");
}

/// Asserts that a pull failed for good, with a message that has all these words.
fn assert_refused<const N: usize>(outcome: &Value, words: [&str; N]) {
    let found = (&outcome["state"], &outcome["reason"], &outcome["retryable"]);
    assert_eq!(found, (&json!("failed"), &json!("clone_failed"), &json!(false)), "{outcome}");
    let message = outcome["message"].as_str().expect("a message is text");
    assert!(words.iter().all(|words| message.contains(words)), "{message}");
}

#[tokio::test]
async fn a_repository_of_a_trusted_server_is_pulled() {
    let server = with_demo(GitServer::start_tls());
    let url = server.url(Access::Public, "demo");
    assert_pulled(&pull(server.ca_file(), &url).await);
    assert_pulled(&pull(server.ca_file(), &url.replace("127.0.0.1", "localhost")).await);
    assert_pulled(&pull(server.ca_file(), &server.url_with_password("demo")).await);
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused_before_it_sees_a_password() {
    let (server, other) = (with_demo(GitServer::start_tls()), GitServer::start_tls());
    let outcome = pull(other.ca_file(), &server.url_with_password("demo")).await;
    let url = server.url(Access::Private, "demo");
    assert_refused(&outcome, [&url, "certificate", "does not trust", "SSL_CERT_FILE"]);
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let server = with_demo(GitServer::start_tls_as(&["git.example"]));
    let outcome = pull(server.ca_file(), &server.url_with_password("demo")).await;
    assert_refused(&outcome, ["https://127.0.0.1", "certificate is for another host"]);
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn an_https_address_of_an_http_server_is_told_apart_from_a_bad_certificate() {
    let (server, trusted) = (with_demo(GitServer::start()), GitServer::start_tls());
    let url = server.url(Access::Public, "demo").replacen("http://", "https://", 1);
    assert_refused(&pull(trusted.ca_file(), &url).await, [&url, "is it an http address?"]);
}

#[tokio::test]
async fn a_machine_without_authorities_pulls_over_http_and_says_what_https_lacks() {
    let (plain, secure) = (with_demo(GitServer::start()), with_demo(GitServer::start_tls()));
    assert_pulled(&pull(NO_FILE, &plain.url(Access::Public, "demo")).await);
    let url = secure.url(Access::Public, "demo");
    let outcome = pull(NO_FILE, &url).await;
    assert_refused(&outcome, [&url, "no list of trusted certificate authorities"]);
    assert!(!outcome["message"].as_str().unwrap().contains("info/refs"), "{outcome}");
}

#[tokio::test]
async fn a_redirect_from_http_to_https_is_followed() {
    let (plain, secure) = (GitServer::start(), with_demo(GitServer::start_tls()));
    plain.redirect_to(&secure.url(Access::Public, "demo"));
    let url = plain.url(Access::Moved, "demo");
    assert_pulled(&pull(secure.ca_file(), &url).await);
    // What it leads to must be as trustworthy as what is named.
    let outcome = pull(GitServer::start_tls().ca_file(), &url).await;
    assert_refused(&outcome, ["certificate", "does not trust"]);
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused_and_gives_away_no_password() {
    let (plain, secure) = (with_demo(GitServer::start()), GitServer::start_tls());
    secure.redirect_to(&plain.url(Access::Public, "demo"));
    let password = PASSWORD.replace(' ', "%20");
    let login = format!("https://{USER}:{password}@");
    let url = secure.url(Access::Moved, "demo").replacen("https://", &login, 1);
    let outcome = pull(secure.ca_file(), &url).await;
    assert_refused(&outcome, [&secure.host(), "redirects from https to http"]);
    assert!(secure.requests()[0].authorization.is_some());
    assert_eq!(plain.requests(), []);
}
