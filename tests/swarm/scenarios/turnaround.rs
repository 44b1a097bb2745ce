//! How long Swarm takes to replace a worker, beside an empty container in the same run.

use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::one_node::repository;
use crate::cluster::Cluster;
use crate::deploy::Reached;
use crate::images;
use crate::jobs::job;

/// Samples of each kind.
const ROUNDS: usize = 10;

/// How many jobs come at once to measure how many a node does in an hour.
const JOBS: u32 = 40;

/// The empty container has a name, as a worker's would be.
const EMPTY: &str = "service create --detach --name oneshift_empty --network oneshift_jobs \
     --endpoint-mode dnsrr --restart-condition any --restart-delay 0s --no-healthcheck --init \
     --no-resolve-image";

/// Ends one idle worker and one empty container in turn, and prints medians; a busy machine proves
/// nothing by a single time, so nothing is asserted of them.
#[allow(clippy::print_stdout, reason = "the figures of docs/swarm.md")]
pub(crate) fn beside_an_empty_container(cluster: &mut Cluster) {
    cluster.reach(Reached::ByPort);
    cluster.until_at_full_strength();
    // By id: of a tag Swarm would ask the registry at every restart.
    let image = cluster.manager().ask(&["image", "inspect", "--format", "{{.Id}}", images::BASE]);
    let mut words: Vec<&str> = EMPTY.split_whitespace().collect();
    words.extend([&image, "sleep", "infinity"]);
    cluster.manager().ask(&words);
    cluster.until("the empty container runs", || cluster.containers("empty").len() == 1);
    let since = now();
    for _ in 0..ROUNDS {
        for (service, count) in [("empty", 1), ("workflow", 5)] {
            let container = cluster.containers(service).pop().expect("one runs");
            cluster.manager().ask(&["kill", "--signal", "TERM", &container]);
            cluster.until("another runs", || {
                let containers = cluster.containers(service);
                containers.len() == count && !containers.contains(&container)
            });
        }
    }
    let empty = replacements(cluster, "oneshift_empty", since);
    let worker = replacements(cluster, "oneshift_workflow", since);
    cluster.manager().ask(&["service", "rm", "oneshift_empty"]);
    assert_eq!((empty.len(), worker.len()), (ROUNDS, ROUNDS), "each was replaced");
    let (empty, worker) = (median(empty), median(worker));
    println!(
        "turnaround: workflow {worker:.0} ms, empty container {empty:.0} ms, ratio {:.3}",
        worker / empty
    );
    cluster.until_at_full_strength();
}

#[allow(clippy::print_stdout, reason = "the figures of docs/swarm.md")]
pub(crate) fn throughput(cluster: &mut Cluster) {
    cluster.reach(Reached::ByPort);
    let url = repository(cluster, "throughput");
    cluster.until_at_full_strength();
    let begin = Instant::now();
    let outcome = cluster.client().run(&job(&url, "echo x > x")).outcome();
    assert_eq!(outcome["state"], "completed", "{outcome}");
    println!("one job that does nothing: {} ms", begin.elapsed().as_millis());
    cluster.until_at_full_strength();
    let begin = Instant::now();
    let client = cluster.client();
    let ids: Vec<_> = (0..JOBS).map(|_| client.submit(&job(&url, "echo x > x"))).collect();
    for id in ids {
        let outcome = client.events(&id).outcome();
        assert_eq!(outcome["state"], "completed", "{outcome}");
    }
    let an_hour = f64::from(JOBS) / begin.elapsed().as_secs_f64() * 3600.0;
    println!("{JOBS} jobs at once with 5, 3 and 3 workers: {an_hour:.0} an hour");
}

/// From each container's end to the start of the next one in its place, in milliseconds.
fn replacements(cluster: &Cluster, service: &str, since: u64) -> Vec<f64> {
    let label = format!("label=com.docker.swarm.service.name={service}");
    let (since, until) = (since.to_string(), (now() + 1).to_string());
    let events = cluster.manager().ask(&[
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        &label,
        "--filter",
        "event=die",
        "--filter",
        "event=start",
        "--format",
        "{{json .}}",
    ]);
    let mut ended: HashMap<String, f64> = HashMap::new();
    let mut gaps = Vec::new();
    for event in events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let task = event["Actor"]["Attributes"]["com.docker.swarm.task.name"].as_str();
        let Some(slot) = task.and_then(|name| name.rsplit_once('.')).map(|(slot, _)| slot) else {
            continue;
        };
        let at = event["timeNano"].as_f64().unwrap_or_default() / 1e6;
        if event["Action"] == "die" {
            ended.insert(slot.to_owned(), at);
        } else if let Some(end) = ended.remove(slot) {
            gaps.push(at - end);
        }
    }
    gaps
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
