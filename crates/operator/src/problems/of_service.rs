//! What is wrong with one service.

use jiff::SignedDuration;
use service::protocol::cluster::{Service, Task};

use super::{FAILURES_TO_AVOID, Finding, Topic, View};
use crate::orders::is_under_way;
use crate::snapshot::{RUNNING, is_wanted};
use crate::tally::Failed;

/// On top of the time that a replica may take to be replaced, which makes 15 s.
const SHORT_OF_REPLICAS: SignedDuration = SignedDuration::from_secs(5);

/// A worker attaches within milliseconds, and tries again within a second.
const ATTACHES: SignedDuration = SignedDuration::from_secs(15);

/// Swarm tries again at least this often what it could not start.
const RETRIES: SignedDuration = SignedDuration::from_mins(1);

/// An update that is over is news for so long.
const NEWS: SignedDuration = SignedDuration::from_hours(1);

/// What Docker says when a node neither has an image nor gets it.
const NO_IMAGE: [&str; 4] =
    ["no such image", "pull access denied", "manifest unknown", "error pulling image"];

pub(super) fn findings(view: View<'_>, service: &Service) -> Vec<Finding> {
    let replicas = image(view, service).or_else(|| replicas(view, service));
    [replicas, attachment(view, service), update(view, service)].into_iter().flatten().collect()
}

fn finding(service: &Service, topic: Topic, message: String, patience: SignedDuration) -> Finding {
    Finding { topic, service: Some(service.name.clone()), node: None, message, patience }
}

/// An image that could not be had a moment ago.
fn image(view: View<'_>, service: &Service) -> Option<Finding> {
    let failed = last_failed(view, service)?;
    if !is_missing_image(&failed.error) || view.now.duration_since(failed.at) > RETRIES {
        return None;
    }
    let place = failed.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
    let message = format!(
        "{} cannot start{place}, where its image neither is nor can be pulled: {}",
        service.name, failed.error
    );
    let finding = finding(service, Topic::Replicas, message, SignedDuration::ZERO);
    Some(Finding { node: failed.node.clone(), ..finding })
}

fn replicas(view: View<'_>, service: &Service) -> Option<Finding> {
    let Service { name, kind, replicas, .. } = service;
    let wanted = (*replicas)? as usize;
    if wanted == 0 && kind.is_some() {
        let message = format!("{name} is scaled to 0, so jobs wait for it");
        return Some(finding(service, Topic::Replicas, message, SignedDuration::ZERO));
    }
    let well = view.tally.well(name, view.now).min(wanted);
    if well == wanted {
        return None;
    }
    let consequence = if well == 0 && kind.is_some() { ", so jobs wait for it" } else { "" };
    let cause = cause(view, service).map(|cause| format!("; {cause}")).unwrap_or_default();
    let message = match well {
        0 => format!("none of the {wanted} replicas of {name} runs{consequence}{cause}"),
        _ => format!("only {well} of the {wanted} replicas of {name} run{cause}"),
    };
    Some(finding(service, Topic::Replicas, message, SHORT_OF_REPLICAS))
}

/// Why replicas are missing, in Docker's words.
fn cause(view: View<'_>, service: &Service) -> Option<String> {
    let waits = |task: &&Task| is_wanted(task) && task.state != RUNNING;
    let waiting = service.tasks.iter().filter(waits).find_map(|task| task.error.as_deref());
    if let Some(error) = waiting {
        return Some(format!("Docker says: {error}"));
    }
    // What fails again and again is told anyway.
    let count = view.tally.failed().filter(|failed| failed.service == service.name).count();
    let failed = last_failed(view, service).filter(|_| count < FAILURES_TO_AVOID)?;
    Some(format!("the last one that failed: {}", failed.error))
}

/// Workers that run and that the gateway does not hear of.
fn attachment(view: View<'_>, service: &Service) -> Option<Finding> {
    let (kind, demand) = (service.kind?, view.demand?.of(service.kind?));
    let attached = demand.idle + demand.leased + demand.busy;
    if service.running == 0 || attached > 0 {
        return None;
    }
    let replicas = if service.running == 1 { "replica" } else { "replicas" };
    let message = format!(
        "{kind} has {} running {replicas}, but none has attached to the gateway; look at the logs",
        service.running
    );
    Some(finding(service, Topic::Attachment, message, ATTACHES))
}

fn update(view: View<'_>, service: &Service) -> Option<Finding> {
    let update = service.update.as_ref()?;
    let (name, words) = (&service.name, &update.message);
    let message = match update.state.as_str() {
        "paused" => {
            format!("the update of {name} is paused; update it again or roll it back: {words}")
        }
        "rollback_paused" => format!("the rollback of {name} is paused: {words}"),
        // What somebody asked for is no problem.
        "rollback_started" if words.contains("manually") => return None,
        "rollback_started" => format!("the update of {name} failed and is rolled back: {words}"),
        "rollback_completed" => format!("{name} was rolled back to the version before"),
        _ => return None,
    };
    let age = update.started_at.map(|start| view.now.duration_since(start));
    let is_old = age.is_some_and(|age| age > NEWS);
    (is_under_way(&update.state) || !is_old)
        .then(|| finding(service, Topic::Update, message, SignedDuration::ZERO))
}

fn last_failed<'a>(view: View<'a>, service: &Service) -> Option<&'a Failed> {
    view.tally.failed().rfind(|failed| failed.service == service.name)
}

/// Whether an error means that an image cannot be had.
pub(super) fn is_missing_image(error: &str) -> bool {
    let error = error.to_lowercase();
    NO_IMAGE.iter().any(|words| error.contains(words))
}
