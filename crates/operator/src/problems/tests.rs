use service::protocol::cluster::{KindDemand, Task, Update};

use super::*;
use crate::testing::{at, node, service, task};

/// Looks every two seconds, and tells what there is to say at the end.
struct Watch {
    tally: Tally,
    problems: Problems,
    nodes: Vec<Node>,
    demand: Option<Demand>,
    now: i64,
}

impl Watch {
    fn new() -> Self {
        let (tally, problems) = (Tally::default(), Problems::default());
        Self { tally, problems, nodes: vec![node("box-1")], demand: None, now: 0 }
    }

    /// Lets things be like this for some seconds, with a whole stack around it.
    fn see(&mut self, seconds: i64, seen: &Service) -> Vec<Problem> {
        let end = self.now + seconds;
        let kinds = WorkerKind::ALL.map(|kind| {
            let id = format!("the {kind}");
            service(kind.name(), 1, vec![task(&id, 1, "running")])
        });
        let mut services = vec![seen.clone()];
        services.extend(kinds.into_iter().filter(|kind| kind.name != seen.name));
        loop {
            self.tally.look(&services, at(self.now));
            let view = View {
                nodes: &self.nodes,
                services: &services,
                tally: &self.tally,
                demand: self.demand.as_ref(),
                now: at(self.now),
            };
            let problems = self.problems.of(view);
            if self.now >= end {
                return problems;
            }
            self.now += 2;
        }
    }

    fn messages(&mut self, seconds: i64, seen: &Service) -> Vec<String> {
        self.see(seconds, seen).into_iter().map(|problem| problem.message).collect()
    }
}

fn failed(id: &str, error: &str) -> Task {
    Task { since: None, error: Some(error.to_owned()), ..task(id, 1, "rejected") }
}

#[test]
fn a_stack_in_which_all_is_well_has_no_problems() {
    let gateway = service("gateway", 1, vec![task("a", 1, "running")]);
    assert_eq!(Watch::new().see(60, &gateway), []);
}

#[test]
fn a_node_that_is_down_is_a_problem_from_the_moment_it_is_seen() {
    let mut watch = Watch::new();
    let gateway = service("gateway", 1, vec![task("a", 1, "running")]);
    watch.see(10, &gateway);
    watch.nodes[0].state = "down".to_owned();
    let problems = watch.see(20, &gateway);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].message, "the node box-1 is down; Swarm starts its tasks elsewhere");
    assert_eq!((problems[0].node.as_deref(), problems[0].since), (Some("box-1"), at(10)));
    watch.nodes[0].state = "ready".to_owned();
    assert_eq!(watch.see(0, &gateway), []);
}

#[test]
fn an_image_that_is_missing_is_named_at_once_with_its_node() {
    let tasks = vec![failed("a", "No such image: oneshift-nope:1"), task("b", 1, "preparing")];
    let problems = Watch::new().see(0, &service("git-pull", 1, tasks));
    assert_eq!(problems.len(), 1);
    let expected = "git-pull cannot start on box-1, where its image neither is nor can be pulled: \
        No such image: oneshift-nope:1";
    assert_eq!(problems[0].message, expected);
}

#[test]
fn an_image_that_is_missing_for_an_update_is_named_although_the_old_ones_run() {
    let mut tasks = vec![task("old", 1, "running")];
    let mut watch = Watch::new();
    for round in 0..10 {
        tasks.push(failed(&format!("new-{round}"), "No such image: oneshift-nope:2"));
        let problems = watch.see(2, &service("git-pull", 1, tasks.clone()));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].message.contains("No such image: oneshift-nope:2"), "{problems:?}");
    }
    assert_eq!(watch.see(70, &service("git-pull", 1, vec![task("old", 1, "running")])), []);
}

#[test]
fn a_service_that_stays_short_of_replicas_is_named_with_dockers_reason() {
    let mut waiting = task("b", 2, "pending");
    waiting.error = Some("no suitable node (insufficient resources on 1 node)".to_owned());
    let short = service("workflow", 2, vec![task("a", 1, "running"), waiting]);
    let mut watch = Watch::new();
    assert_eq!(watch.see(14, &short), []);
    let expected = "only 1 of the 2 replicas of workflow run; Docker says: no suitable node \
        (insufficient resources on 1 node)";
    assert_eq!(watch.messages(4, &short), [expected]);
    let enough = [task("a", 1, "running"), task("b", 2, "running")];
    assert_eq!(watch.see(0, &service("workflow", 2, enough.into())), []);
}

#[test]
fn without_any_replica_of_a_kind_jobs_wait() {
    let none = service("workflow", 2, vec![task("a", 1, "starting"), task("b", 2, "pending")]);
    let expected = "none of the 2 replicas of workflow runs, so jobs wait for it";
    assert_eq!(Watch::new().messages(20, &none), [expected]);
    let expected = "workflow is scaled to 0, so jobs wait for it";
    assert_eq!(Watch::new().messages(0, &service("workflow", 0, Vec::new())), [expected]);
    let gateway = service("gateway", 1, vec![task("a", 1, "starting")]);
    assert_eq!(Watch::new().messages(20, &gateway), ["none of the 1 replicas of gateway runs"]);
}

#[test]
fn replicas_that_are_replaced_after_each_job_are_no_problem() {
    let mut watch = Watch::new();
    for round in 0..60 {
        let tasks = vec![task(&format!("t{round}"), 1, "complete"), task("n", 1, "starting")];
        assert_eq!(watch.see(2, &service("workflow", 1, tasks)), []);
    }
}

#[test]
fn a_service_that_fails_again_and_again_is_named_with_its_last_words() {
    let mut watch = Watch::new();
    watch.nodes.push(node("box-2"));
    for round in 0..6 {
        let tasks = vec![task(&format!("t{round}"), 1, "failed"), task("n", 1, "running")];
        watch.see(2, &service("workflow", 1, tasks));
    }
    let quiet = service("workflow", 1, vec![task("n", 1, "running")]);
    let expected = "workflow failed 6 times on box-1 within 5 minutes, so Swarm prefers other nodes \
        for it; the last time: task: non-zero exit (3)";
    assert_eq!(watch.messages(2, &quiet), [expected]);
    assert_eq!(watch.see(320, &quiet), []);
}

#[test]
fn a_kind_without_a_service_is_a_problem() {
    let (tally, mut problems) = (Tally::default(), Problems::default());
    let mut seen = Vec::new();
    for now in [0, 20] {
        let (nodes, services, demand) = (&[][..], &[][..], None);
        seen = problems.of(View { nodes, services, tally: &tally, demand, now: at(now) });
    }
    let messages: Vec<&str> = seen.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(messages.len(), 3);
    assert!(messages[1].contains("oneshift.kind=git-pull"), "{messages:?}");
}

#[test]
fn workers_that_run_and_do_not_attach_are_a_problem() {
    let mut watch = Watch::new();
    let attached = |kind| KindDemand { kind, queued: 0, idle: 1, leased: 0, busy: 0 };
    let nobody = KindDemand { idle: 0, ..attached(WorkerKind::GitPull) };
    let others = [attached(WorkerKind::Workflow), nobody, attached(WorkerKind::ClaudeExec)];
    watch.demand = Some(Demand { running_jobs: 0, workers: others.into() });
    let pulls = service("git-pull", 1, vec![task("a", 1, "running")]);
    assert_eq!(watch.see(10, &pulls), []);
    let expected = "git-pull has 1 running replica, but none has attached to the gateway; look at \
        the logs";
    assert_eq!(watch.messages(10, &pulls), [expected]);
}

#[test]
fn updates_that_went_wrong_are_told_and_old_news_are_not() {
    let runs = service("gateway", 1, vec![task("a", 1, "running")]);
    let updated = |state: &str, message: &str| Service {
        update: Some(Update {
            state: state.to_owned(),
            message: message.to_owned(),
            started_at: Some(at(0)),
        }),
        ..runs.clone()
    };
    for (state, message, expected) in [
        ("updating", "", None),
        ("completed", "", None),
        ("paused", "why", Some("is paused; update it again or roll it back: why")),
        ("rollback_paused", "why", Some("the rollback of gateway is paused: why")),
        ("rollback_started", "why", Some("the update of gateway failed and is rolled back: why")),
        ("rollback_started", "manually requested rollback", None),
        ("rollback_completed", "", Some("gateway was rolled back to the version before")),
    ] {
        let seen = Watch::new().messages(0, &updated(state, message));
        assert_eq!(seen.len(), usize::from(expected.is_some()), "{state} {message}: {seen:?}");
        if let Some(expected) = expected {
            assert!(seen[0].ends_with(expected), "{seen:?}");
        }
    }
    assert_eq!(Watch::new().see(3700, &updated("rollback_completed", "")), []);
    assert_eq!(Watch::new().see(3700, &updated("paused", "why")).len(), 1);
}
