//! Deployments while jobs run.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use end_to_end::git_server::{Access, PASSWORD, USER};
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
    LOGGING.into_iter().flat_map(|service| running_of(cluster, service)).collect()
}

fn running_of(cluster: &Cluster, service: &str) -> Vec<String> {
    cluster.tasks(service).into_iter().filter(Task::runs).map(|task| task.id).collect()
}

/// As an operator does it who wants new containers of the same image: one service after the other.
pub(crate) fn in_turn(cluster: &mut Cluster) {
    let url = repository(cluster, "turn");
    cluster.reach(Reached::ByName);
    cluster.until_at_full_strength();
    let jobs = under_load(cluster, &url, |cluster| {
        for service in LOGGING {
            // After its own update, and the gateway's, it takes the operator a moment to come back.
            cluster
                .until("the operator is there", || cluster.client().get("/api/cluster").is_some());
            let before = running_of(cluster, service);
            let path = format!("/api/cluster/services/{service}/update");
            let (status, answer) = cluster.client().post(&path, &json!({}));
            assert_eq!(status, 200, "{service}: {answer}");
            cluster.until(&format!("all containers of {service} are other ones"), || {
                let now = running_of(cluster, service);
                now.len() >= before.len() && before.iter().all(|task| !now.contains(task))
            });
        }
    });
    assert!(jobs > 5, "the updates met {jobs} jobs");
    cluster.until_at_full_strength();
}

pub(crate) fn changed_credential(cluster: &mut Cluster) {
    let _ = repository(cluster, "private");
    let url = cluster.repository_url(&cluster.git.url(Access::Private, "private"));
    let request = job(&url, "date > date");
    let address = url.split('/').nth(2).expect("a host").to_owned();
    for (password, expected) in [("wrong", "login_refused"), (PASSWORD, "completed")] {
        let login = format!("http://{USER}:{}@{address}", password.replace(' ', "%20"));
        cluster.set("GIT_CREDENTIALS", &login);
        cluster.must_deploy(&[]);
        cluster.until_at_full_strength();
        let outcome = cluster.client().run(&request).outcome();
        let end = outcome["reason"].as_str().or_else(|| outcome["state"].as_str());
        assert_eq!(end, Some(expected), "{outcome}");
        assert!(!outcome.to_string().contains(password), "{outcome}");
    }
    // What is not mentioned any more would be kept.
    cluster.set("GIT_CREDENTIALS", "''");
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
