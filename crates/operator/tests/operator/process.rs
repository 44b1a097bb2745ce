//! Starting, stopping, health.

use std::process::Output;

use rustix::process::{Pid, Signal, kill_process};

use crate::docker::Docker;
use crate::gateway::{command, usual};

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn sigterm_ends_it_well_and_at_once() {
    let docker = Docker::new();
    let (_gateway, mut operator) = usual(&docker, &[]).await;
    kill_process(Pid::from_child(&operator.child), Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || operator.child.wait().unwrap());
    assert_eq!(status.await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn health_is_whether_it_turns() {
    let docker = Docker::new();
    let (gateway, operator) = usual(&docker, &[]).await;
    gateway.next().await;
    let ask = command(&operator.folder).arg("health").output().unwrap();
    assert!(ask.status.success(), "{ask:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    let nobody = command(&elsewhere).arg("health").output().unwrap();
    assert!(refusal(&nobody).starts_with("operator: the operator does not show that it lives"));
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(&folder).output().unwrap();
    let expected = "operator: ONESHIFT_GATEWAY is not set; the operator needs it\n";
    assert_eq!(refusal(&output), expected);
}

#[test]
fn the_version_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(&folder).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert_eq!(version.trim(), format!("operator {}", env!("CARGO_PKG_VERSION")));
}
