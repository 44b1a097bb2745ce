//! Deployments while jobs run.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::one_node::repository;
use crate::cluster::{Cluster, IMAGES};
use crate::deploy::Reached;
use crate::jobs::job;
use crate::tasks::Task;

/// The services that another setting of the log makes others of.
const LOGGING: [&str; 5] = ["gateway", "workflow", "git-pull", "claude-exec", "operator"];

/// Submits jobs of a few seconds, one after the other, while `act` goes on. None may be refused, not
/// even for a moment, and all must complete. Returns how many there were.
fn under_load(cluster: &Cluster, url: &str, act: impl FnOnce(&Cluster)) -> usize {
    let request = job(url, "sleep 2; date > date");
    let is_over = AtomicBool::new(false);
    let client = cluster.client();
    let submitted = std::thread::scope(|scope| {
        let submitting = scope.spawn(|| {
            let mut submitted = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                submitted.push(client.try_submit(&request));
                std::thread::sleep(Duration::from_millis(1500));
            }
            submitted
        });
        let acted = catch_unwind(AssertUnwindSafe(|| act(cluster)));
        is_over.store(true, Ordering::Relaxed);
        let submitted = submitting.join().expect("nothing is asserted there");
        acted.map_or_else(|panic| resume_unwind(panic), |()| submitted)
    });
    let refused: Vec<_> = submitted.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(refused.is_empty(), "of {}: {refused:#?}", submitted.len());
    for id in submitted.iter().flatten() {
        cluster.until(&format!("job {id} ends"), || client.has_ended(id));
        let outcome = client.events(id).outcome();
        assert_eq!(outcome["state"], "completed", "job {id}: {outcome}");
    }
    submitted.len()
}

pub(crate) fn rolling_update(cluster: &mut Cluster) {
    let url = repository(cluster, "update");
    cluster.reach(Reached::ByName);
    cluster.until_at_full_strength();
    // Another environment is another container, for every service.
    cluster.set("ONESHIFT_LOG", "info,oneshift=debug");
    let before: Vec<_> = running(cluster);
    let jobs = under_load(cluster, &url, |cluster| {
        cluster.must_deploy(&[]);
    });
    assert!(jobs >= 3, "the update met {jobs} jobs");
    let after = running(cluster);
    assert!(before.iter().all(|task| !after.contains(task)), "every container is another one");
    let jobs = under_load(cluster, &url, |cluster| {
        cluster.must_deploy(&["--rollback"]);
    });
    assert!(jobs >= 3, "the rollback met {jobs} jobs");
    cluster.set("ONESHIFT_LOG", "");
    assert!(LOGGING.iter().all(|service| log_of(cluster, service) == "info"), "all is as before");
}

fn running(cluster: &Cluster) -> Vec<String> {
    let tasks = LOGGING.into_iter().flat_map(|service| cluster.tasks(service));
    tasks.filter(Task::runs).map(|task| task.id).collect()
}

/// What a service's environment says of its log.
fn log_of(cluster: &Cluster, service: &str) -> String {
    let format = "{{range .Spec.TaskTemplate.ContainerSpec.Env}}{{println .}}{{end}}";
    let name = format!("oneshift_{service}");
    let environment = cluster.manager().ask(&["service", "inspect", "--format", format, &name]);
    let mut lines = environment.lines().filter_map(|line| line.strip_prefix("ONESHIFT_LOG="));
    lines.next().unwrap_or_default().to_owned()
}

pub(crate) fn bad_image(cluster: &mut Cluster) {
    let url = repository(cluster, "bad");
    cluster.reach(Reached::ByName);
    cluster.until_at_full_strength();
    let images = |cluster: &Cluster| IMAGED.map(|service| cluster.image_of(service));
    let before = images(cluster);
    let bad =
        cluster.manager().ask(&["image", "inspect", "--format", "{{.Id}}", crate::images::BASE]);
    for (index, service) in [(1, "workflow"), (0, "gateway")] {
        cluster.set(IMAGES[index], &bad);
        under_load(cluster, &url, |cluster| {
            let output = cluster.deploy(&["--wait", "60"]);
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "a bad image of {service} is no success: {words}");
            assert!(words.contains(&format!("oneshift_{service} does not run: task ")), "{words}");
            assert!(words.contains("rolled back"), "{words}");
        });
        cluster.set(IMAGES[index], &before[index]);
        cluster.until("the old images are back", || images(cluster) == before);
    }
    // What was mended can be deployed, though nothing of it is new.
    cluster.must_deploy(&[]);
    cluster.until_at_full_strength();
}

/// The services whose images are looked at, in the order of [`IMAGES`].
const IMAGED: [&str; 4] = ["gateway", "workflow", "git-pull", "claude-exec"];

pub(crate) fn rotated_token(cluster: &mut Cluster) {
    let url = repository(cluster, "token");
    cluster.reach(Reached::ByName);
    let secrets = |cluster: &Cluster| {
        let filter = "label=oneshift.secret=oneshift/cluster_token";
        cluster.manager().ask(&["secret", "ls", "--filter", filter, "--format", "{{.Name}}"])
    };
    let before = secrets(cluster);
    cluster.set("CLUSTER_TOKEN", "\"another token, with spaces and {braces}\"");
    let jobs = under_load(cluster, &url, |cluster| {
        cluster.must_deploy(&[]);
    });
    assert!(jobs > 3, "the change met {jobs} jobs");
    let after = secrets(cluster);
    assert_eq!(after.lines().count(), 1, "the old token is gone: {after}");
    assert_ne!(before, after);
    let request = json!({ "prompt": "x", "repoUrl": url, "unknown": 1 });
    let status = cluster.client().post("/api/workflow", &request).0;
    assert_eq!(status, 422, "callers' tokens are as they were");
}
