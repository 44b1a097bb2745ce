//! `GET /metrics`, in the text format of Prometheus.

use std::fmt::{Display, Write};
use std::sync::Arc;

use axum::extract::State;
use service::protocol::job::JobState;
use service::protocol::{State as Ending, WorkerKind};

use crate::gateway::Gateway;
use crate::registry::Activity;
use crate::scheduler::Limited;

pub(super) async fn metrics(State(gateway): State<Arc<Gateway>>) -> String {
    let mut text = String::new();
    let (workers, (queued, running), parkings) = {
        let core = gateway.core();
        let count = |kind: WorkerKind, it: Activity| {
            let labels = format!("kind=\"{kind}\",state=\"{}\"", it.name());
            (labels, core.registry.count(kind, it))
        };
        let workers = WorkerKind::ALL
            .into_iter()
            .flat_map(|kind| Activity::ALL.map(|it| count(kind, it)))
            .collect::<Vec<_>>();
        (workers, core.scheduler.counts(), core.scheduler.parkings())
    };
    let jobs = [("state=\"queued\"", queued), ("state=\"running\"", running)];
    family(&mut text, "oneshift_jobs", "gauge", "Jobs that have not ended.", jobs);
    let endings = [Ending::Completed, Ending::Failed, Ending::Cancelled].map(|ending| {
        let state = JobState::from(ending).name();
        (format!("state=\"{state}\""), gateway.endings.of(ending))
    });
    let help = "Jobs that ended since the start.";
    family(&mut text, "oneshift_jobs_ended_total", "counter", help, endings);
    family(&mut text, "oneshift_workers", "gauge", "Attached workers.", workers);
    let parked = parkings.iter().map(|(it, jobs)| (format!("agent={:?}", it.agent), jobs));
    let help = "Jobs that wait because their agent's credential is rate limited.";
    family(&mut text, "oneshift_parked_jobs", "gauge", help, parked);
    let until = |it: &Limited| it.limit.until.as_second();
    let until = parkings.iter().map(|(it, _)| (format!("agent={:?}", it.agent), until(it)));
    let help = "Until when they wait, in seconds since 1970.";
    family(&mut text, "oneshift_parked_until_seconds", "gauge", help, until);
    let followers = [("", gateway.live.followers())];
    family(&mut text, "oneshift_followers", "gauge", "Open streams of events.", followers);
    let (commits, changes) = gateway.store.counts.read();
    let help = "Transactions of the store, each with one fsync.";
    family(&mut text, "oneshift_store_commits_total", "counter", help, [("", commits)]);
    let help = "Changes that these transactions held.";
    family(&mut text, "oneshift_store_changes_total", "counter", help, [("", changes)]);
    text
}

fn family<L: Display, N: Display>(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl IntoIterator<Item = (L, N)>,
) {
    let mut write = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("a String takes all that is written to it");
    };
    write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    for (labels, number) in samples {
        let labels = labels.to_string();
        if labels.is_empty() {
            write(format_args!("{name} {number}\n"));
        } else {
            write(format_args!("{name}{{{labels}}} {number}\n"));
        }
    }
}
