//! More replicas and fewer, by order and by demand; and how their ends are counted.

use serde_json::{Value, json};

use super::one_node::repository;
use crate::cluster::Cluster;
use crate::deploy::Reached;
use crate::jobs::job;

/// What the operator told the gateway of a service.
pub(super) fn service(cluster: &Cluster, name: &str) -> Value {
    let shown = cluster.client().get("/api/cluster").unwrap_or_default();
    let services = shown["services"].as_array().cloned().unwrap_or_default();
    services.into_iter().find(|service| service["name"] == name).unwrap_or_default()
}

/// Waits until the operator has seen so many replicas, all of which run.
fn until_replicas(cluster: &Cluster, name: &str, count: u64) {
    cluster.until(&format!("the operator sees {count} replicas of {name}"), || {
        let service = service(cluster, name);
        service["replicas"] == count && service["running"] == count
    });
}

pub(crate) fn by_order(cluster: &mut Cluster) {
    cluster.reach(Reached::ByPort);
    let url = repository(cluster, "scale");
    cluster.until_at_full_strength();
    let client = cluster.client();
    let said = client.oneshift(&["scale", "claude-exec=6"]);
    assert!(said.contains("claude-exec is scaled from 3 to 6"), "{said}");
    let (status, answer) =
        client.post("/api/cluster/services/git-pull/scale", &json!({ "replicas": 5 }));
    assert_eq!((status, &answer["done"]), (200, &json!(true)), "{answer}");
    until_replicas(cluster, "claude-exec", 6);
    until_replicas(cluster, "git-pull", 5);
    // Five agents at once, all of which finish though half of their containers are to go.
    let ids: Vec<_> = (0..5).map(|_| client.submit(&job(&url, "sleep 6; date > date"))).collect();
    cluster.until_agents_work(5);
    let said = client.oneshift(&["scale", "claude-exec=3"]);
    assert!(said.contains("claude-exec is scaled from 6 to 3"), "{said}");
    let (status, answer) =
        client.post("/api/cluster/services/git-pull/scale", &json!({ "replicas": 3 }));
    assert_eq!(status, 200, "{answer}");
    for id in ids {
        let outcome = client.events(&id).outcome();
        assert_eq!(outcome["state"], "completed", "{outcome}");
    }
    until_replicas(cluster, "claude-exec", 3);
    cluster.until_at_full_strength();
    let (status, answer) =
        client.post("/api/cluster/services/nothing/scale", &json!({ "replicas": 5 }));
    assert_eq!(status, 404, "{answer}");
}

pub(crate) fn by_demand(cluster: &mut Cluster) {
    cluster.reach(Reached::ByPort);
    let url = repository(cluster, "burst");
    cluster.set("ONESHIFT_AUTOSCALE", "workflow=2..8,git-pull=1..6,claude-exec=2..7");
    cluster.set("ONESHIFT_AUTOSCALE_COOL_SECONDS", "15");
    cluster.must_deploy(&[]);
    let lowest = [("workflow", 2), ("git-pull", 1), ("claude-exec", 2)];
    for (kind, count) in lowest {
        until_replicas(cluster, kind, count);
    }
    let client = cluster.client();
    let ids: Vec<_> = (0..12).map(|_| client.submit(&job(&url, "sleep 6; date > date"))).collect();
    cluster.until("there are as many workers as there may be", || {
        service(cluster, "workflow")["replicas"] == 8
            && service(cluster, "claude-exec")["replicas"] == 7
    });
    for id in ids {
        let outcome = client.events(&id).outcome();
        assert_eq!(outcome["state"], "completed", "{outcome}");
    }
    for (kind, count) in lowest {
        until_replicas(cluster, kind, count);
    }
    cluster.set("ONESHIFT_AUTOSCALE", "");
    cluster.set("ONESHIFT_AUTOSCALE_COOL_SECONDS", "");
    let replicas = ["workflow=5", "git-pull=3", "claude-exec=3"];
    cluster.must_deploy(&replicas.map(|count| ["--replicas", count]).concat());
    cluster.until_at_full_strength();
}

pub(crate) fn restarts(cluster: &mut Cluster) {
    cluster.reach(Reached::ByPort);
    let url = repository(cluster, "restarts");
    cluster.until_at_full_strength();
    until_replicas(cluster, "claude-exec", 3);
    let count = |which: &str| service(cluster, "claude-exec")["restarts"][which].as_u64();
    let (jobs, crashes) = (count("afterJob"), count("afterCrash"));
    let (jobs, crashes) = (jobs.expect("a number"), crashes.expect("a number"));
    for _ in 0..2 {
        let outcome = cluster.client().run(&job(&url, "exit 3")).outcome();
        assert_eq!(outcome["reason"], "agent_error", "a failed job is no crash: {outcome}");
        cluster.until_at_full_strength();
    }
    let container = cluster.containers("claude-exec").pop().expect("three run");
    cluster.manager().ask(&["kill", &container]);
    cluster.until("each is counted where it belongs", || {
        count("afterJob") == Some(jobs + 2) && count("afterCrash") == Some(crashes + 1)
    });
    let shown = cluster.client().oneshift(&["cluster"]);
    let line = shown.lines().find(|line| line.starts_with("claude-exec")).expect("it is shown");
    let cells: Vec<_> = line.split_whitespace().collect();
    let expected = [(jobs + 2).to_string(), (crashes + 1).to_string()];
    assert_eq!(cells[4..6], expected, "AFTER JOB and CRASHED in:\n{shown}");
    cluster.until_at_full_strength();
}
