//! Containers and engines that die under load.

use std::time::Duration;

use super::one_node::repository;
use crate::cluster::{Cluster, Task};
use crate::jobs::job;

pub(crate) fn under_load(cluster: &mut Cluster) {
    let url = repository(cluster, "deaths");
    cluster.until_at_full_strength();
    let mut request = job(&url, "echo one >> ran; sleep 1");
    request["retries"] = 5.into();
    let ids: Vec<_> = (0..30).map(|_| cluster.client().submit(&request)).collect();
    let services = ["workflow", "git-pull", "claude-exec", "workflow", "gateway", "claude-exec"];
    for (round, service) in services.iter().cycle().take(12).enumerate() {
        let filter = format!("name=oneshift_{service}");
        let found = cluster.manager().ask(&["ps", "--quiet", "--filter", &filter]);
        let containers: Vec<_> = found.lines().collect();
        if let Some(container) = containers.get(round % containers.len().max(1)) {
            // It may have ended by itself meanwhile.
            let _ = cluster.manager().docker(&["kill", container]);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    cluster.manager().kill();
    cluster.manager().run();
    for id in &ids {
        cluster.until(&format!("job {id} ends"), || {
            let state = cluster.client().state(id);
            state.is_some_and(|state| !["queued", "running"].contains(&state.as_str()))
        });
        let outcome = cluster.client().events(id).outcome();
        assert_eq!(outcome["state"], "completed", "job {id}: {outcome}");
    }
    cluster.until_at_full_strength();
}

pub(crate) fn restart_storm(cluster: &mut Cluster) {
    let url = repository(cluster, "storm");
    cluster.must_deploy(&["--replicas", "workflow=50"]);
    cluster.until_idle("workflow", 50);
    let found = cluster.manager().ask(&["ps", "--quiet", "--filter", "name=oneshift_workflow"]);
    let containers: Vec<_> = found.lines().collect();
    assert_eq!(containers.len(), 50);
    cluster.manager().ask(&[&["stop", "--time", "10"], &containers[..]].concat());
    let ids: Vec<_> =
        (0..10).map(|_| cluster.client().submit(&job(&url, "echo calm > calm"))).collect();
    for id in ids {
        let outcome = cluster.client().events(&id).outcome();
        assert_eq!(outcome["state"], "completed", "{outcome}");
    }
    cluster.until_idle("workflow", 50);
    let failed = cluster.tasks("workflow").into_iter().filter(|task: &Task| !task.error.is_empty());
    assert_eq!(failed.count(), 0, "who is told to stop exits with 0");
    cluster.must_deploy(&["--replicas", "workflow=5"]);
    cluster.until_at_full_strength();
}
