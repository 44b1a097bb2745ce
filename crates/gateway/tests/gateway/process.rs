//! The gateway as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use service::client::Endpoint;
use service::protocol::job::JobState;

use crate::support::{CLUSTER_TOKEN, job, submission};

/// A gateway that is killed when the test is over.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(data: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command
        .env_clear()
        .env("ONESHIFT_LISTEN", listen)
        .env("ONESHIFT_DATA", data)
        .env("ONESHIFT_CLUSTER_TOKEN", CLUSTER_TOKEN)
        .stderr(Stdio::piped());
    command
}

fn start(data: &Path) -> (Process, Endpoint) {
    let mut process = Process(command(data, "127.0.0.1:0").spawn().unwrap());
    let lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let mut addresses = lines.map(Result::unwrap).filter_map(|line| {
        line.split_once("listening on ").map(|(_, address)| format!("http://{address}"))
    });
    let address = addresses.next().unwrap();
    // Read on, or the process would wait for somebody to do so.
    std::thread::spawn(move || addresses.for_each(drop));
    (process, Endpoint::new(&address, None).unwrap())
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn a_job_that_was_accepted_survives_kill_9() {
    let data = tempfile::tempdir().unwrap();
    let (mut process, endpoint) = start(data.path());
    let body = job("hello");
    let id = endpoint.submit_async(submission(&body)).await.unwrap().id;
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    let (_process, endpoint) = start(data.path());
    assert_eq!(endpoint.job(id).await.unwrap().state, JobState::Queued);
}

#[tokio::test]
async fn sigterm_ends_open_streams_and_the_process_well() {
    let data = tempfile::tempdir().unwrap();
    let (mut process, endpoint) = start(data.path());
    let body = job("hello");
    let _open = endpoint.submit(submission(&body), service::client::Patience::GATEWAY).await;
    kill_process(Pid::from_child(&process.0), Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || process.0.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn strangers_are_not_let_in_by_mistake() {
    let data = tempfile::tempdir().unwrap();
    let output = command(data.path(), "0.0.0.0:0").output().unwrap();
    let refusal = refusal(&output);
    assert!(refusal.contains("ONESHIFT_TOKENS_FILE is not set"), "{refusal}");
}

#[test]
fn a_store_that_another_gateway_has_is_named() {
    let data = tempfile::tempdir().unwrap();
    let (_first, _) = start(data.path());
    let mut second = command(data.path(), "127.0.0.1:0");
    let refusal = refusal(&second.env("ONESHIFT_STORE_WAIT_SECONDS", "0").output().unwrap());
    assert!(refusal.contains("another gateway uses the store"), "{refusal}");
}

#[tokio::test]
async fn a_gateway_that_waits_for_the_store_turns_nobody_away() {
    let data = tempfile::tempdir().unwrap();
    let (mut old, endpoint) = start(data.path());
    let body = job("hello");
    let first = endpoint.submit_async(submission(&body)).await.unwrap().id;
    let (_new, endpoint) = start(data.path());
    endpoint.live().await.unwrap();
    let submitting = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { endpoint.submit_async(submission(&body)).await }
    });
    let jobs = tokio::spawn(async move { endpoint.job(first).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!submitting.is_finished() && !jobs.is_finished(), "the old one has the store still");
    kill_process(Pid::from_child(&old.0), Signal::TERM).unwrap();
    tokio::task::spawn_blocking(move || old.0.wait().unwrap()).await.unwrap();
    assert_eq!(submitting.await.unwrap().unwrap().state, JobState::Queued);
    assert_eq!(jobs.await.unwrap().unwrap().state, JobState::Queued);
}

#[tokio::test]
async fn a_gateway_that_waits_for_the_store_can_be_stopped() {
    let data = tempfile::tempdir().unwrap();
    let (_old, _) = start(data.path());
    let (mut new, _) = start(data.path());
    kill_process(Pid::from_child(&new.0), Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || new.0.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_gateway_tells_whether_it_is_live() {
    let data = tempfile::tempdir().unwrap();
    let (gateway, endpoint) = start(data.path());
    let address = endpoint.base().trim_start_matches("http://").to_owned();
    let ask = || command(data.path(), &address).arg("health").output().unwrap();
    assert!(ask().status.success());
    drop(gateway);
    assert!(refusal(&ask()).contains("the gateway does not answer"));
}

#[test]
fn the_version_is_printed() {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway")).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert_eq!(version.trim(), format!("gateway {}", env!("CARGO_PKG_VERSION")));
}
