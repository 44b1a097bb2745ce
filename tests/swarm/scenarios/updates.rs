//! Deployments while jobs run.

use std::path::Path;

use serde_json::json;

use super::one_node::repository;
use crate::cluster::{Cluster, IMAGES};
use crate::jobs::{Client, job};

/// Submits a job that takes a few seconds, again and again, while `act` goes on; all must complete.
fn under_load(cluster: &Cluster, url: &str, act: impl FnOnce(&Cluster) + Send) -> usize {
    let request = job(url, "sleep 2; date > date");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let client: Client<'_> = cluster.client();
    let ids = std::thread::scope(|scope| {
        let submitting = scope.spawn(|| {
            let mut ids = Vec::new();
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                ids.push(client.submit(&request));
                std::thread::sleep(std::time::Duration::from_millis(700));
            }
            ids
        });
        act(cluster);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        submitting.join().expect("every submission is accepted")
    });
    for id in &ids {
        cluster.until(&format!("job {id} ends"), || {
            client.state(id).is_some_and(|state| !["queued", "running"].contains(&state.as_str()))
        });
        let outcome = client.events(id).outcome();
        assert_eq!(outcome["state"], "completed", "job {id}: {outcome}");
    }
    ids.len()
}

pub(crate) fn rolling_update(cluster: &mut Cluster) {
    let url = repository(cluster, "update");
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
    cluster.must_deploy(&["--rollback"]);
    let outcome = cluster.client().run(&job(&url, "echo back > again")).outcome();
    assert_eq!(outcome["state"], "completed", "after the rollback: {outcome}");
    cluster.set("ONESHIFT_LOG", "");
    cluster.must_deploy(&[]);
}

fn running(cluster: &Cluster) -> Vec<String> {
    let services = ["gateway", "workflow", "git-pull", "claude-exec"];
    let tasks = services.into_iter().flat_map(|service| cluster.tasks(service));
    tasks.filter(crate::cluster::Task::runs).map(|task| task.id).collect()
}

/// With the ingress mesh, which this kernel may not have, callers reach whichever gateway there is.
/// Here they do by the service's name, from a container on its network.
pub(crate) fn gateway_start_first(cluster: &mut Cluster) {
    let overlay = cluster.folder.path().join("by-name.yml");
    std::fs::write(&overlay, BY_NAME).expect("the overlay can be written");
    let image = "{{.Spec.TaskTemplate.ContainerSpec.Image}}";
    let image =
        cluster.manager().ask(&["service", "inspect", "--format", image, "oneshift_claude-exec"]);
    cluster.set("CALLER_IMAGE", &image);
    cluster.must_deploy(&["--overlay", path(&overlay)]);
    let failures = |cluster: &Cluster| {
        let logs = cluster.manager().ask(&["service", "logs", "--raw", "oneshift_caller"]);
        let answers = logs.lines().filter(|line| line.starts_with("status ")).count();
        let refused: Vec<_> = logs
            .lines()
            .filter(|line| line.starts_with("status ") && !line.ends_with(" 200"))
            .map(str::to_owned)
            .collect();
        (answers, refused)
    };
    cluster.until("the caller calls", || failures(cluster).0 > 5);
    let before = failures(cluster).0;
    cluster.set("ONESHIFT_MAX_QUEUED", "1000");
    cluster.must_deploy(&["--overlay", path(&overlay)]);
    cluster.until("the caller calls the new gateway", || failures(cluster).0 > before + 50);
    let (answers, refused) = failures(cluster);
    assert!(refused.is_empty(), "of {answers} calls during the update: {refused:?}");
    cluster.set("ONESHIFT_MAX_QUEUED", "");
    cluster.must_deploy(&[]);
    cluster.until_at_full_strength();
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of the tests is UTF-8")
}

const BY_NAME: &str = r#"
version: "3.9"
services:
  gateway:
    ports: []
    deploy:
      endpoint_mode: dnsrr
      update_config: { order: start-first, failure_action: rollback, monitor: 5s }
  caller:
    image: ${CALLER_IMAGE}
    networks: [front]
    stop_grace_period: 0s
    entrypoint:
      - sh
      - -c
      - |
        while true; do
          curl --silent --output /dev/null --max-time 50 --write-out 'status %{http_code}\n' http://tasks.gateway:5000/health || echo 'status refused'
          sleep 0.1
        done
"#;

pub(crate) fn bad_image(cluster: &mut Cluster) {
    let url = repository(cluster, "bad");
    let images = |cluster: &Cluster| {
        let format = "{{.Spec.TaskTemplate.ContainerSpec.Image}}";
        let names =
            ["oneshift_gateway", "oneshift_workflow", "oneshift_git-pull", "oneshift_claude-exec"];
        names.map(|name| cluster.manager().ask(&["service", "inspect", "--format", format, name]))
    };
    let before = images(cluster);
    let bad =
        cluster.manager().ask(&["image", "inspect", "--format", "{{.Id}}", crate::images::BASE]);
    for (index, service) in [(1, "workflow"), (0, "gateway")] {
        cluster.set(IMAGES[index], &bad);
        let output = cluster.deploy(&["--wait", "60"]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "a bad image of {service} is no success: {words}");
        assert!(words.contains(&format!("oneshift_{service} does not run: task ")), "{words}");
        assert!(words.contains("rolled back"), "{words}");
        cluster.set(IMAGES[index], &before[index]);
        cluster.until("the old images are back", || images(cluster) == before);
        cluster.until_at_full_strength();
    }
    let outcome = cluster.client().run(&job(&url, "echo fine > fine")).outcome();
    assert_eq!(outcome["state"], "completed", "{outcome}");
}

pub(crate) fn rotated_token(cluster: &mut Cluster) {
    let url = repository(cluster, "token");
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
    assert_eq!(
        cluster.client().post("/api/workflow", &request).0,
        400,
        "callers' tokens are as they were"
    );
}
