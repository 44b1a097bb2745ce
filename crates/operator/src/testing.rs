//! Services and tasks for tests.

use jiff::{SignedDuration, Timestamp};
use service::protocol::WorkerKind;
use service::protocol::cluster::{Node, Restarts, Service, Task};

/// So many seconds after the beginning of a test's time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(seconds)
}

pub(crate) fn task(id: &str, slot: u32, state: &str) -> Task {
    let is_over = matches!(state, "complete" | "failed" | "rejected" | "shutdown" | "orphaned");
    Task {
        id: id.to_owned(),
        slot: Some(slot),
        node: Some("box-1".to_owned()),
        state: state.to_owned(),
        desired_state: if is_over { "shutdown" } else { "running" }.to_owned(),
        since: Some(at(0)),
        exit_code: None,
        error: (state == "failed").then(|| "task: non-zero exit (3)".to_owned()),
    }
}

/// A service of the stack; if it has the name of a kind of workers, it is one.
pub(crate) fn service(name: &str, replicas: u32, tasks: Vec<Task>) -> Service {
    let running = tasks.iter().filter(|task| task.state == "running").count();
    Service {
        name: name.to_owned(),
        kind: WorkerKind::ALL.into_iter().find(|kind| kind.name() == name),
        image: "oneshift:1".to_owned(),
        replicas: Some(replicas),
        running: u32::try_from(running).unwrap(),
        draining: 0,
        tasks,
        restarts: Restarts::default(),
        update: None,
        autoscale: None,
    }
}

pub(crate) fn node(hostname: &str) -> Node {
    Node {
        id: format!("id of {hostname}"),
        hostname: hostname.to_owned(),
        role: "leader".to_owned(),
        availability: "active".to_owned(),
        state: "ready".to_owned(),
        cpus: 2.0,
        memory_bytes: 1 << 30,
        engine_version: "20.10.24".to_owned(),
        address: None,
    }
}
