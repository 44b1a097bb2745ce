//! Several nodes, each with a workspace of its own.

use std::collections::BTreeSet;
use std::os::unix::fs::chown;
use std::path::Path;

use end_to_end::sse::{Frame, assert_complete};

use super::one_node::repository;
use crate::cluster::Cluster;
use crate::deploy::Reached;
use crate::jobs::job;
use crate::network::Link;

/// Works for some seconds.
const SCRIPT: &str = "sleep 8; date > date";

/// Brings the cluster to three nodes, and spreads the workers over them.
fn three_nodes(cluster: &mut Cluster) {
    cluster.reach(Reached::ByPort);
    if cluster.engines.len() == 1 {
        cluster.add_nodes(2);
        cluster.set("ONESHIFT_IMAGES_ARE_EVERYWHERE", "1");
        // Swarm moves nothing that runs; new tasks it spreads.
        cluster.set("ONESHIFT_LOG", "info,spread=info");
        cluster.must_deploy(&["--replicas", "git-pull=4", "--replicas", "claude-exec=6"]);
    }
    for (kind, count) in [("workflow", 5), ("git-pull", 4), ("claude-exec", 6)] {
        cluster.until_idle(kind, count);
    }
}

/// The nodes that have a folder of the job.
fn nodes_of(cluster: &Cluster, id: &str) -> Vec<String> {
    let has_folder = |engine: &&crate::engine::Engine| {
        engine.volume("oneshift_workspace").join("jobs").join(id).is_dir()
    };
    cluster.engines.iter().filter(has_folder).map(|engine| engine.name.clone()).collect()
}

/// Submits four jobs, as many as there are git-pulls, and waits until agents work, one of which may
/// have to wait for its node.
fn working(cluster: &Cluster, request: &serde_json::Value) -> Vec<String> {
    let client = cluster.client();
    let ids = (0..4).map(|_| client.submit(request)).collect();
    cluster.until_agents_work(3);
    ids
}

pub(crate) fn stay_together(cluster: &mut Cluster) {
    three_nodes(cluster);
    let url = repository(cluster, "spread");
    let ids: Vec<_> = (0..9).map(|_| cluster.client().submit(&job(&url, SCRIPT))).collect();
    let mut used = BTreeSet::new();
    for id in ids {
        let outcome = cluster.client().events(&id).outcome();
        assert_eq!(outcome["state"], "completed", "{outcome}");
        let nodes = nodes_of(cluster, &id);
        assert_eq!(nodes.len(), 1, "job {id} was on {nodes:?}");
        used.extend(nodes);
    }
    assert!(used.len() > 1, "jobs ran on one node only: {used:?}");
}

/// Jobs on a node that is being drained finish there.
pub(crate) fn drained(cluster: &mut Cluster) {
    three_nodes(cluster);
    let url = repository(cluster, "drained");
    let ids = working(cluster, &job(&url, SCRIPT));
    let nodes = ids.iter().flat_map(|id| nodes_of(cluster, id));
    let node = nodes.max().expect("each job is somewhere");
    assert_ne!(node, cluster.manager().name, "agents are on several nodes");
    cluster.manager().ask(&["node", "update", "--availability", "drain", &node]);
    for id in ids {
        let frames = cluster.client().events(&id).frames();
        let outcome = assert_complete(&frames)["outcome"].clone();
        assert_eq!(outcome["state"], "completed", "after a node was drained: {outcome}");
        let is_cut_short = |frame: &Frame| {
            let step = frame.json();
            step["step"] == "execute" && step["state"] == "failed"
        };
        let cut_short: Vec<_> = frames.iter().filter(|frame| is_cut_short(frame)).collect();
        assert!(cut_short.is_empty(), "an agent was not let finish: {cut_short:?}");
    }
    let left = |cluster: &Cluster| {
        let tasks =
            ["workflow", "git-pull", "claude-exec"].into_iter().flat_map(|s| cluster.tasks(s));
        tasks.filter(|task| task.node == node && task.state.starts_with("Running")).count()
    };
    cluster.until("nobody works on the drained node", || left(cluster) == 0);
    cluster.manager().ask(&["node", "update", "--availability", "active", &node]);
}

/// Volumes that are the same folder on every node, as with a network file system.
fn shared(folder: &Path) -> String {
    let volume = |name: &str| {
        format!(
            "  {name}: {{ name: shared_{name}, driver_opts: {{ type: none, o: bind, device: {} }} }}\n",
            folder.join(name).display()
        )
    };
    format!("version: \"3.9\"\nvolumes:\n{}{}", volume("workspace"), volume("cache"))
}

pub(crate) fn on_shared_storage(cluster: &mut Cluster) {
    three_nodes(cluster);
    let url = repository(cluster, "shared");
    let folder = cluster.folder().join("shared");
    for name in ["workspace", "cache"] {
        std::fs::create_dir_all(folder.join(name)).expect("there is room for folders");
        // The workers' user.
        chown(folder.join(name), Some(10_001), Some(10_001)).expect("root may give folders away");
    }
    let overlay = folder.join("shared.yml");
    std::fs::write(&overlay, shared(&folder)).expect("there is room for a file");
    cluster.must_deploy(&["--overlay", &overlay.display().to_string()]);
    three_nodes(cluster);
    let ids: Vec<_> = (0..9).map(|_| cluster.client().submit(&job(&url, SCRIPT))).collect();
    for id in &ids {
        let outcome = cluster.client().events(id).outcome();
        assert_eq!(outcome["state"], "completed", "{outcome}");
        assert!(folder.join("workspace/jobs").join(id).is_dir(), "job {id} is not there");
        assert!(nodes_of(cluster, id).is_empty(), "job {id} is on a node of its own");
    }
    let hosts: BTreeSet<_> = cluster.tasks("claude-exec").into_iter().map(|it| it.node).collect();
    assert!(hosts.len() > 1, "agents were on one node only: {hosts:?}");
    cluster.must_deploy(&[]);
}

/// One node is cut off from the others, one loses its power.
pub(crate) fn lost(cluster: &mut Cluster) {
    three_nodes(cluster);
    let url = repository(cluster, "lost");
    let mut request = job(&url, SCRIPT);
    let once = working(cluster, &request);
    request["retries"] = 5.into();
    let ids: Vec<_> = (0..3).map(|_| cluster.client().submit(&request)).collect();
    cluster.engines[2].network().set_connected(Link::Out);
    cluster.engines[1].crash();
    for id in &ids {
        let outcome = cluster.client().events(id).outcome();
        assert_eq!(outcome["state"], "completed", "job {id}: {outcome}");
    }
    for id in &once {
        let outcome = cluster.client().events(id).outcome();
        let nodes = nodes_of(cluster, id);
        let is_lost = outcome["reason"] == "worker_lost";
        assert!(outcome["state"] == "completed" || is_lost, "job {id}: {outcome}");
        assert_eq!(nodes.len(), 1, "it was not run elsewhere: {outcome}");
    }
    cluster.engines[1].run();
    cluster.engines[2].network().set_connected(Link::In);
    three_nodes(cluster);
    let outcome = cluster.client().run(&request).outcome();
    assert_eq!(outcome["state"], "completed", "after the nodes came back: {outcome}");
}
