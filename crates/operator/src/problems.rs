//! What a person should know of, in plain words: pure, no I/O.

mod of_service;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use service::protocol::WorkerKind;
use service::protocol::cluster::{Demand, Node, Problem, Service};

use crate::tally::{FAILURES, Failed, Tally};

/// So many failures within five minutes, and Swarm prefers other nodes for a service (swarmkit,
/// `manager/scheduler/scheduler.go`).
const FAILURES_TO_AVOID: usize = 5;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) nodes: &'a [Node],
    pub(crate) services: &'a [Service],
    pub(crate) tally: &'a Tally,
    /// What the gateway knows of the workers; absent until it has answered.
    pub(crate) demand: Option<&'a Demand>,
    pub(crate) now: Timestamp,
}

/// Something that is wrong at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    topic: Topic,
    service: Option<String>,
    node: Option<String>,
    message: String,
    /// How long it must have been so before it is worth a word.
    patience: SignedDuration,
}

/// What a finding is about; of one topic there is one finding for each service and node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Docker,
    Node,
    Failures,
    Kind,
    Replicas,
    Attachment,
    Update,
}

/// The problems that there are, and since when.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    since: BTreeMap<(Topic, Option<String>, Option<String>), Timestamp>,
}

impl Problems {
    /// What is wrong with a stack that was looked at.
    pub(crate) fn of(&mut self, view: View<'_>) -> Vec<Problem> {
        let nodes = view.nodes.iter().filter_map(of_node);
        let kinds = WorkerKind::ALL.into_iter().filter_map(|kind| missing_kind(view, kind));
        let services = view.services.iter().flat_map(|it| of_service::findings(view, it));
        let findings = nodes.chain(failures(view)).chain(kinds).chain(services).collect();
        self.settle(findings, view.now)
    }

    /// That Docker does not let itself be looked at.
    pub(crate) fn of_docker(&mut self, message: String, now: Timestamp) -> Vec<Problem> {
        let patience = SignedDuration::ZERO;
        let (topic, service, node) = (Topic::Docker, None, None);
        self.settle(vec![Finding { topic, service, node, message, patience }], now)
    }

    fn settle(&mut self, findings: Vec<Finding>, now: Timestamp) -> Vec<Problem> {
        let before = std::mem::take(&mut self.since);
        let mut problems = Vec::new();
        for Finding { topic, service, node, message, patience } in findings {
            let key = (topic, service.clone(), node.clone());
            let since = before.get(&key).copied().unwrap_or(now);
            self.since.insert(key, since);
            if now.duration_since(since) >= patience {
                problems.push(Problem { service, node, since, message });
            }
        }
        problems
    }
}

fn of_node(node: &Node) -> Option<Finding> {
    if node.state == "ready" {
        return None;
    }
    let Node { hostname, state, .. } = node;
    let message = match state.as_str() {
        "down" => format!("the node {hostname} is down; Swarm starts its tasks elsewhere"),
        _ => format!("the node {hostname} is {state}"),
    };
    let (service, node) = (None, Some(hostname.clone()));
    Some(Finding { topic: Topic::Node, service, node, message, patience: SignedDuration::ZERO })
}

/// Nodes on which a service fails so often that Swarm prefers others.
fn failures(view: View<'_>) -> Vec<Finding> {
    let mut failed: BTreeMap<(&str, &str), Vec<&Failed>> = BTreeMap::new();
    for failure in view.tally.failed() {
        if let Some(node) = &failure.node {
            failed.entry((&failure.service, node)).or_default().push(failure);
        }
    }
    failed.retain(|_, failed| {
        let is_told = failed.last().is_some_and(|last| of_service::is_missing_image(&last.error));
        failed.len() >= FAILURES_TO_AVOID && !is_told
    });
    let others = if view.nodes.len() > 1 { ", so Swarm prefers other nodes for it" } else { "" };
    let finding = |((service, node), failed): ((&str, &str), Vec<&Failed>)| {
        let (count, minutes) = (failed.len(), FAILURES.as_mins());
        let last = failed.last().map_or("", |failed| &failed.error);
        let message = format!(
            "{service} failed {count} times on {node} within {minutes} minutes{others}; the last \
             time: {last}"
        );
        let (topic, patience) = (Topic::Failures, SignedDuration::ZERO);
        let (service, node) = (Some(service.to_owned()), Some(node.to_owned()));
        Finding { topic, service, node, message, patience }
    };
    failed.into_iter().map(finding).collect()
}

fn missing_kind(view: View<'_>, kind: WorkerKind) -> Option<Finding> {
    if view.services.iter().any(|service| service.kind == Some(kind)) {
        return None;
    }
    let message = format!(
        "no service of the stack has the label oneshift.kind={kind}, so jobs wait for such a worker"
    );
    let (topic, patience) = (Topic::Kind, SignedDuration::from_secs(15));
    Some(Finding { topic, service: Some(kind.name().to_owned()), node: None, message, patience })
}

#[cfg(test)]
mod tests;
