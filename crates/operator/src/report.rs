//! What is told of the stack, kept to a size that the gateway takes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use service::protocol::WorkerKind;
use service::protocol::cluster::{Autoscale, ClusterReport, Problem, Service};
use service::protocol::request::MAX_BODY_BYTES;

use crate::snapshot::{Snapshot, is_wanted};
use crate::tally::Tally;

/// Most tasks in a report: those of 5 services with 50 replicas and 5 predecessors of each. Those
/// that ended longest ago are left out first.
const MAX_TASKS: usize = 1500;

/// Most nodes, services and problems in a report.
const MAX_NODES: usize = 200;
const MAX_SERVICES: usize = 100;
const MAX_PROBLEMS: usize = 100;

/// What the gateway takes, less some room for the results of orders.
const MAX_BYTES: usize = MAX_BODY_BYTES - 128 * 1024;

/// The stack's nodes and services, with what is known of them besides what Docker shows.
pub(crate) fn report(
    snapshot: &Snapshot,
    tally: &Tally,
    autoscale: &BTreeMap<WorkerKind, Autoscale>,
    problems: Vec<Problem>,
) -> ClusterReport {
    let mut services: Vec<Service> = snapshot.services.iter().take(MAX_SERVICES).cloned().collect();
    for service in &mut services {
        service.restarts = tally.restarts(&service.name);
        service.autoscale = service.kind.and_then(|kind| autoscale.get(&kind).copied());
    }
    let mut report = ClusterReport {
        nodes: snapshot.nodes.iter().take(MAX_NODES).cloned().collect(),
        services,
        problems: problems.into_iter().take(MAX_PROBLEMS).collect(),
        ..ClusterReport::default()
    };
    let mut tasks = MAX_TASKS;
    keep(&mut report.services, tasks);
    while tasks > 0 && size(&report) > MAX_BYTES {
        tasks /= 2;
        keep(&mut report.services, tasks);
    }
    report
}

fn size(report: &ClusterReport) -> usize {
    serde_json::to_string(report).expect("a report is plain JSON").len()
}

/// Keeps so many tasks in all.
fn keep(services: &mut [Service], most: usize) {
    let mut tasks: Vec<_> = services.iter().flat_map(|service| &service.tasks).collect();
    if tasks.len() <= most {
        return;
    }
    tasks.sort_by_key(|task| (!is_wanted(task), Reverse(task.since)));
    let kept: HashSet<String> = tasks.into_iter().take(most).map(|task| task.id.clone()).collect();
    for service in services {
        service.tasks.retain(|task| kept.contains(&task.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, node, service, task};
    use crate::text::{MAX_TEXT_BYTES, one_line};
    use service::protocol::cluster::Task;

    fn of(snapshot: &Snapshot, problems: Vec<Problem>) -> ClusterReport {
        report(snapshot, &Tally::default(), &BTreeMap::new(), problems)
    }

    #[test]
    fn the_largest_report_fits_into_a_request() {
        // The text that takes most room in JSON.
        let text = one_line(&"\"".repeat(2 * MAX_TEXT_BYTES));
        let old = |service: usize, id: usize| Task {
            error: Some(text.clone()),
            exit_code: Some(-2_147_483_648),
            node: Some("h".repeat(64)),
            ..task(&format!("{service:05}{id:020}"), u32::MAX, "shutdown")
        };
        let services = (0..150).map(|it| {
            service(&format!("service-{it:055}"), 1000, (0..40).map(|id| old(it, id)).collect())
        });
        let snapshot = Snapshot {
            nodes: vec![node(&"h".repeat(64)); 300],
            services: services.collect(),
            ..Snapshot::default()
        };
        let problem = Problem {
            service: Some("s".repeat(63)),
            node: Some("h".repeat(64)),
            since: at(0),
            message: text.repeat(3),
        };
        let report = of(&snapshot, vec![problem; 1000]);
        assert!(size(&report) <= MAX_BYTES, "{} bytes", size(&report));
        assert_eq!(report.services.len(), MAX_SERVICES);
        assert!(report.services.iter().any(|service| !service.tasks.is_empty()));
    }

    #[test]
    fn a_large_usual_report_is_whole() {
        let tasks = |service: usize| {
            let task = |id: usize| task(&format!("{service:05}{id:020}"), 50, "failed");
            (0..300).map(task).collect()
        };
        let services = (0..5).map(|it| service("claude-exec", 50, tasks(it))).collect::<Vec<_>>();
        let snapshot = Snapshot { services: services.clone(), ..Snapshot::default() };
        assert_eq!(of(&snapshot, Vec::new()).services, services);
    }

    #[test]
    fn tasks_that_ended_longest_ago_are_left_out_first() {
        let mut tasks = Vec::new();
        for second in 0..2000 {
            tasks.push(Task { since: Some(at(second)), ..task(&format!("{second}"), 1, "failed") });
        }
        tasks.push(Task { since: Some(at(-1)), ..task("runs", 1, "running") });
        let services = vec![service("git-pull", 1, tasks)];
        let snapshot = Snapshot { services, ..Snapshot::default() };
        let kept = &of(&snapshot, Vec::new()).services[0].tasks;
        assert_eq!(kept.len(), MAX_TASKS);
        assert!(kept.iter().any(|task| task.id == "runs"));
        assert!(kept.iter().all(|task| task.id == "runs" || task.since >= Some(at(501))));
    }
}
