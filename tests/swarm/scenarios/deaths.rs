//! Containers and engines that die under load.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::one_node::repository;
use crate::cluster::Cluster;
use crate::deploy::Reached;
use crate::jobs::job;

/// How many jobs there are, every other one with retries.
const JOBS: usize = 24;

/// How many containers are killed before the engine is.
const KILLS: u64 = 12;

/// Whom it may hit.
const VICTIMS: [&str; 4] = ["gateway", "workflow", "git-pull", "claude-exec"];

/// The agent notes in its job's folder when it begins and ends, and whether another one is there.
const NOTING: &str = "exec 9>>../notes; flock --nonblock 9 || echo doubled >> ../notes; \
     echo begun >> ../notes; sleep 1; date > date; echo ended >> ../notes";

/// The promises of docs/reliability.md: no job is lost, none doubled, no stream has a gap.
pub(crate) fn under_load(cluster: &mut Cluster) {
    cluster.reach(Reached::ByPort);
    let url = repository(cluster, "deaths");
    cluster.until_at_full_strength();
    let ids: Vec<_> = (0..JOBS)
        .map(|number| {
            let mut request = job(&url, NOTING);
            request["retries"] = retries(number).into();
            cluster.client().submit(&request)
        })
        .collect();
    kill_containers(cluster);
    cluster.manager().kill();
    cluster.manager().run();
    let folder = cluster.manager().volume("oneshift_workspace").join("jobs");
    for (number, id) in ids.iter().enumerate() {
        cluster.until(&format!("job {id} ends"), || cluster.client().has_ended(id));
        let outcome = cluster.client().events(id).outcome();
        check(retries(number), &outcome, &notes(&folder.join(id)));
    }
    cluster.until_at_full_strength();
}

fn retries(number: usize) -> u64 {
    if number.is_multiple_of(2) { 8 } else { 0 }
}

#[allow(clippy::print_stdout, reason = "whoever wants to repeat it needs to know")]
fn kill_containers(cluster: &Cluster) {
    let random = RandomState::new();
    let mut killed = Vec::new();
    for round in 0..KILLS {
        let number = usize::try_from(random.hash_one(round) >> 32).expect("32 bits are enough");
        let victim = VICTIMS[number % VICTIMS.len()];
        let containers = cluster.containers(victim);
        if let Some(container) = containers.get(number / VICTIMS.len() % containers.len().max(1)) {
            // It may have ended by itself meanwhile.
            let _ = cluster.manager().docker(&["kill", container]);
            killed.push(victim);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    println!("killed {killed:?}, then the engine");
}

fn notes(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("notes")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn check(retries: u64, outcome: &Value, notes: &[String]) {
    let count = |word: &str| notes.iter().filter(|note| *note == word).count();
    assert_eq!(count("doubled"), 0, "two agents at once: {notes:?} {outcome}");
    if outcome["state"] == "completed" {
        assert!(count("ended") > 0, "what completed was done: {notes:?} {outcome}");
    } else {
        assert_eq!(outcome["reason"], "worker_lost", "{outcome}");
        assert_eq!(retries, 0, "a job with retries completes: {outcome}");
    }
    if retries == 0 {
        assert!(count("begun") <= 1, "an agent ran again unasked: {notes:?} {outcome}");
    }
}

pub(crate) fn restart_storm(cluster: &mut Cluster) {
    cluster.reach(Reached::ByPort);
    let url = repository(cluster, "storm");
    cluster.must_deploy(&["--replicas", "workflow=50"]);
    cluster.until_idle("workflow", 50);
    let containers = cluster.containers("workflow");
    assert_eq!(containers.len(), 50);
    let names: Vec<_> = containers.iter().map(String::as_str).collect();
    cluster.manager().ask(&[&["kill", "--signal", "TERM"], &names[..]].concat());
    let ids: Vec<_> =
        (0..10).map(|_| cluster.client().submit(&job(&url, "echo calm > calm"))).collect();
    for id in ids {
        let outcome = cluster.client().events(&id).outcome();
        assert_eq!(outcome["state"], "completed", "{outcome}");
    }
    cluster.until_idle("workflow", 50);
    let tasks = cluster.tasks("workflow").into_iter();
    let failed: Vec<_> = tasks.filter(|task| task.state.starts_with("Failed")).collect();
    assert!(failed.is_empty(), "who is told to stop exits with 0: {failed:?}");
    cluster.must_deploy(&["--replicas", "workflow=5"]);
    cluster.until_at_full_strength();
}
