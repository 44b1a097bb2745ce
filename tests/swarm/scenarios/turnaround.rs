//! How long Swarm takes to replace a worker, beside an empty container in the same run.

use std::collections::HashMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::one_node::repository;
use crate::cluster::Cluster;
use crate::images;
use crate::jobs::job;

/// Samples of each kind.
const ROUNDS: usize = 12;

/// Prints medians; a busy machine proves nothing by a single time, so nothing is asserted of it.
#[allow(clippy::print_stdout, reason = "the figures of docs/swarm.md")]
pub(crate) fn beside_an_empty_container(cluster: &mut Cluster) {
    let url = repository(cluster, "turnaround");
    cluster.until_at_full_strength();
    let empty = "service create --detach --name empty --network oneshift_jobs --endpoint-mode dnsrr \
                 --restart-condition any --restart-delay 0s --no-healthcheck";
    let mut words: Vec<&str> = empty.split_whitespace().collect();
    words.extend([images::BASE, "sleep", "2"]);
    let since = now();
    cluster.manager().ask(&words);
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        let outcome = cluster.client().run(&job(&url, "echo x > x")).outcome();
        assert_eq!(outcome["state"], "completed", "{outcome}");
        cluster.until_idle("workflow", 5);
    }
    let seconds = begin.elapsed().as_secs_f64();
    cluster.until("the empty container was replaced as often", || {
        replacements(cluster, "empty", since).len() >= ROUNDS
    });
    let empty = median(replacements(cluster, "empty", since));
    let worker = median(replacements(cluster, "oneshift_workflow", since));
    println!(
        "turnaround: workflow {worker:.0} ms, empty container {empty:.0} ms, ratio {:.3}; one after \
         the other: {:.0} jobs an hour",
        worker / empty,
        3600.0 * ROUNDS as f64 / seconds
    );
    cluster.manager().ask(&["service", "rm", "empty"]);
    cluster.until_at_full_strength();
}

/// From each container's end to the start of the next one in its place, in milliseconds.
fn replacements(cluster: &Cluster, service: &str, since: u64) -> Vec<f64> {
    let label = format!("label=com.docker.swarm.service.name={service}");
    let (since, until) = (since.to_string(), now().to_string());
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
