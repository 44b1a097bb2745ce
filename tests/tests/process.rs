//! Programs beside a test, with the shell as one.

use std::path::Path;

use end_to_end::{Launch, Process, binaries};
use rustix::process::{Pid, Signal, test_kill_process};

fn shell(script: &str) -> Process {
    Launch::program(Path::new("/bin/sh")).args(["-c", script]).env("GREETING", "hello").start()
}

#[tokio::test]
async fn lines_are_captured_and_the_environment_is_empty() {
    let mut process = shell("echo \"$GREETING $HOME ${CARGO:-none}\"; echo later >&2; exit 3");
    let line = process.line("hello").await;
    assert_eq!(line, format!("hello {} none", process.home().display()));
    assert_eq!(process.line("later").await, "later");
    assert_eq!(process.exit().await.code(), Some(3));
    assert!(!process.is_running());
}

#[tokio::test]
async fn the_address_is_read_from_the_log() {
    for line in ["listening on 127.0.0.1:4321", "INFO listening address=127.0.0.1:4321 kind=x"] {
        let process = shell(&format!("echo starting; echo '{line}'; exec sleep 100"));
        assert_eq!(process.address().await, "127.0.0.1:4321".parse().unwrap());
    }
}

#[tokio::test]
async fn a_signal_reaches_the_program() {
    let mut process =
        shell("trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    process.line("ready").await;
    process.signal(Signal::TERM);
    assert_eq!(process.exit().await.code(), Some(0));
    process.line("told").await;
}

#[tokio::test]
async fn dropping_kills_the_program_and_what_it_started() {
    let process = shell("sleep 1000 & echo child $!; wait");
    let line = process.line("child").await;
    let child = Pid::from_raw(line.trim_start_matches("child ").parse().unwrap()).unwrap();
    assert!(test_kill_process(child).is_ok());
    drop(process);
    // Nobody waits for the orphan until init does, so it may be there as a zombie for a moment.
    let stat = format!("/proc/{}/stat", child.as_raw_nonzero());
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn all_programs_of_the_workspace_are_built() {
    for name in ["gateway", "workflow", "git-pull", "claude-exec", "oneshift"] {
        assert!(binaries().join(name).is_file(), "{name}");
    }
}
