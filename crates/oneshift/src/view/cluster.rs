//! The cluster as lines.

use client::protocol::cluster::{Cluster, KindDemand, Node, Service};
use jiff::Timestamp;

use super::table::table;
use super::{Line, Tone, format, text};

/// All that there is to see, harmless for a terminal and not wider than it if that can be.
pub(crate) fn lines(cluster: &Cluster, now: Timestamp, width: usize) -> Vec<Line> {
    let mut lines = vec![headline(cluster, now), Line::new(Tone::Plain, "")];
    lines.extend(nodes(&cluster.nodes, width));
    lines.push(Line::new(Tone::Plain, ""));
    lines.extend(services(cluster, width));
    lines.extend(cluster.services.iter().filter_map(|service| remark(service, now)));
    lines.push(Line::new(Tone::Plain, ""));
    lines.extend(problems(cluster, now, width));
    lines
}

fn headline(cluster: &Cluster, now: Timestamp) -> Line {
    let queued = cluster.demand.of(client::protocol::WorkerKind::Workflow).queued;
    let running = cluster.demand.running_jobs;
    let jobs = if running == 1 { "1 job runs".to_owned() } else { format!("{running} jobs run") };
    let waits = if queued == 1 { "waits" } else { "wait" };
    let seen = match cluster.at {
        Some(at) => format!("Docker was seen {}", format::age(at, now)),
        None => "Docker was never seen".to_owned(),
    };
    Line::new(Tone::Plain, format!("{jobs}, {queued} {waits} for a worker; {seen}"))
}

fn nodes(nodes: &[Node], width: usize) -> Vec<Line> {
    let heading = ["NODE", "ROLE", "STATE", "TAKES TASKS", "CPUS", "MEMORY", "ENGINE"];
    let row = |node: &Node| {
        let tone = match (node.state.as_str(), node.availability.as_str()) {
            ("ready", "active") => Tone::Plain,
            ("ready", _) => Tone::Warning,
            _ => Tone::Bad,
        };
        let takes_tasks = match node.availability.as_str() {
            "active" => "yes".to_owned(),
            other => format!("no ({})", text::one_line(other)),
        };
        #[allow(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
        let gibibytes = node.memory_bytes as f64 / f64::from(1 << 30);
        let cells = [
            text::shortened(&text::one_line(&node.hostname), 24),
            text::one_line(&node.role),
            text::one_line(&node.state),
            takes_tasks,
            format!("{}", node.cpus),
            format!("{gibibytes:.1} GiB"),
            text::one_line(&node.engine_version),
        ];
        (tone, cells)
    };
    table(heading, nodes.iter().map(row).collect(), width)
}

fn services(cluster: &Cluster, width: usize) -> Vec<Line> {
    let heading = ["SERVICE", "RUNNING", "BUSY", "IDLE", "AFTER JOB", "CRASHED", "SCALED", "IMAGE"];
    let row = |service: &Service| {
        let demand = service.kind.map(|kind| cluster.demand.of(kind));
        let count = |count: fn(KindDemand) -> u32| {
            demand.map_or_else(|| "-".to_owned(), |demand| count(demand).to_string())
        };
        let running = match service.replicas {
            Some(replicas) => format!("{}/{replicas}", service.running),
            None => format!("{}", service.running),
        };
        let scaled = service.autoscale.map(|bounds| format!("{}..{}", bounds.min, bounds.max));
        let cells = [
            text::shortened(&text::one_line(&service.name), 20),
            running,
            count(|demand| demand.busy + demand.leased),
            count(|demand| demand.idle),
            service.restarts.after_job.to_string(),
            service.restarts.after_crash.to_string(),
            scaled.unwrap_or_else(|| not_scaled(service).to_owned()),
            image(&service.image),
        ];
        let is_named = |problem: &client::protocol::cluster::Problem| {
            problem.service.as_ref() == Some(&service.name)
        };
        let tone = if cluster.problems.iter().any(is_named) { Tone::Warning } else { Tone::Plain };
        (tone, cells)
    };
    table(heading, cluster.services.iter().map(row).collect(), width)
}

fn not_scaled(service: &Service) -> &'static str {
    if service.kind.is_some() { "by hand" } else { "-" }
}

/// An image without the digest behind its name, or the beginning of the id that it is named by.
fn image(image: &str) -> String {
    let image = text::one_line(image);
    match image.strip_prefix("sha256:") {
        Some(id) => format!("sha256:{}", id.chars().take(12).collect::<String>()),
        None => image.split_once('@').map_or(image.as_str(), |(name, _)| name).to_owned(),
    }
}

/// What goes on with a service.
fn remark(service: &Service, now: Timestamp) -> Option<Line> {
    let mut facts = Vec::new();
    if let Some(update) = &service.update
        && matches!(update.state.as_str(), "updating" | "rollback_started")
    {
        let what = if update.state == "updating" { "update" } else { "rollback" };
        let since = update.started_at.map(|start| format::age(start, now)).unwrap_or_default();
        facts.push(format!("the {what} that was started {since} goes on"));
    }
    match service.draining {
        0 => {}
        1 => facts.push("1 more finishes its job and stops".to_owned()),
        count => facts.push(format!("{count} more finish their jobs and stop")),
    }
    let name = text::one_line(&service.name);
    (!facts.is_empty()).then(|| Line::new(Tone::Faint, format!("{name}: {}", facts.join("; "))))
}

fn problems(cluster: &Cluster, now: Timestamp, width: usize) -> Vec<Line> {
    if cluster.problems.is_empty() {
        return vec![Line::new(Tone::Good, "no problems")];
    }
    let count = format::count(cluster.problems.len() as u64, "problem");
    let mut lines = vec![Line::new(Tone::Heading, count)];
    for problem in &cluster.problems {
        let age = format::age(problem.since, now);
        let message = format!("{} (first seen {age})", text::one_line(&problem.message));
        for (index, part) in text::wrapped(&message, width.saturating_sub(2)).iter().enumerate() {
            let indent = if index == 0 { "- " } else { "  " };
            lines.push(Line::new(Tone::Warning, format!("{indent}{part}")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use client::protocol::WorkerKind;
    use client::protocol::cluster::{Autoscale, Demand, Problem, Restarts, Update};

    use super::*;

    fn service(name: &str, kind: Option<WorkerKind>) -> Service {
        Service {
            name: name.to_owned(),
            kind,
            image: "registry.example:5000/oneshift:1@sha256:0123".to_owned(),
            replicas: Some(5),
            running: 4,
            draining: 0,
            tasks: Vec::new(),
            restarts: Restarts { after_job: 127, after_crash: 0 },
            update: None,
            autoscale: kind.map(|_| Autoscale { min: 2, max: 20 }),
        }
    }

    fn cluster() -> Cluster {
        let node = Node {
            id: "n1".to_owned(),
            hostname: "box-1\u{1b}[31m".to_owned(),
            role: "leader".to_owned(),
            availability: "drain".to_owned(),
            state: "ready".to_owned(),
            cpus: 2.0,
            memory_bytes: 25_276_514_304,
            engine_version: "20.10.24".to_owned(),
            address: None,
        };
        let kind = WorkerKind::GitPull;
        let busy = KindDemand { kind, queued: 0, idle: 1, leased: 1, busy: 2 };
        let updated = Service {
            draining: 2,
            update: Some(Update {
                state: "updating".to_owned(),
                message: String::new(),
                started_at: Some("2026-01-01T00:00:40Z".parse().unwrap()),
            }),
            ..service("git-pull", Some(kind))
        };
        Cluster {
            at: Some("2026-01-01T00:00:58Z".parse().unwrap()),
            age_ms: 500,
            nodes: vec![node],
            services: vec![service("gateway", None), updated],
            problems: vec![Problem {
                service: Some("git-pull".to_owned()),
                node: None,
                since: "2026-01-01T00:00:30Z".parse().unwrap(),
                message: "only 4 of the 5 replicas of git-pull run; Docker says: no suitable node"
                    .to_owned(),
            }],
            demand: Demand { running_jobs: 3, workers: vec![busy] },
        }
    }

    #[test]
    fn all_is_there_within_the_width_of_the_terminal() {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let lines: Vec<String> =
            lines(&cluster(), now, 80).into_iter().map(|line| line.text).collect();
        let expected = [
            "3 jobs run, 0 wait for a worker; Docker was seen 2 s ago",
            "",
            "NODE   ROLE    STATE  TAKES TASKS  CPUS  MEMORY    ENGINE",
            "box-1  leader  ready  no (drain)   2     23.5 GiB  20.10.24",
            "",
            "SERVICE   RUNNING  BUSY  IDLE  AFTER JOB  CRASHED  SCALED  IMAGE",
            "gateway   4/5      -     -     127        0        -       registry.example:500…",
            "git-pull  4/5      3     1     127        0        2..20   registry.example:500…",
            "git-pull: the update that was started 20 s ago goes on; 2 more finish their jobs and stop",
            "",
            "1 problem",
            "- only 4 of the 5 replicas of git-pull run; Docker says: no suitable node (first",
            "  seen 30 s ago)",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_cluster_of_which_nothing_is_known_yet_is_shown_as_such() {
        let empty = Cluster {
            at: None,
            age_ms: 0,
            nodes: Vec::new(),
            services: Vec::new(),
            problems: Vec::new(),
            demand: Demand::default(),
        };
        let lines = lines(&empty, Timestamp::UNIX_EPOCH, 80);
        assert_eq!(lines[0].text, "0 jobs run, 0 wait for a worker; Docker was never seen");
        assert_eq!(lines.last().unwrap().text, "no problems");
    }

    #[test]
    fn images_are_shown_without_their_digests() {
        assert_eq!(image("a/b:1@sha256:01"), "a/b:1");
        assert_eq!(image("sha256:0123456789abcdef"), "sha256:0123456789ab");
        assert_eq!(image("b"), "b");
    }
}
