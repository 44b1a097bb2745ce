//! Several nodes, each with a workspace of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use end_to_end::sse::{Frame, assert_complete};
use serde_json::Value;

use super::one_node::repository;
use crate::cluster::Cluster;
use crate::jobs::job;
use crate::network::Link;

/// Tells in which workspace the agent works, then works for some seconds.
const SCRIPT: &str = "cat /workspace/.oneshift-workspace; sleep 4; date > date";

/// Brings the cluster to three nodes, and spreads the workers over them.
fn three_nodes(cluster: &mut Cluster) {
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

fn workspace(frames: &[Frame]) -> String {
    let mut outputs = frames.iter().filter(|frame| frame.event == "output").map(Frame::json);
    let said: Value =
        outputs.find(|data| data["stream"] == "stdout").expect("the agent says where it is");
    said["text"].as_str().expect("a text").trim().to_owned()
}

pub(crate) fn stay_together(cluster: &mut Cluster) {
    three_nodes(cluster);
    let url = repository(cluster, "spread");
    let request = job(&url, SCRIPT);
    let streams: Vec<_> = (0..9).map(|_| cluster.client().run(&request)).collect();
    let mut workspaces = BTreeSet::new();
    for stream in streams {
        let frames = stream.frames();
        let outcome = assert_complete(&frames)["outcome"].clone();
        assert_eq!(outcome["state"], "completed", "{outcome}");
        workspaces.insert(workspace(&frames));
    }
    assert!(workspaces.len() > 1, "jobs ran on one node only: {workspaces:?}");
}

pub(crate) fn drained(cluster: &mut Cluster) {
    three_nodes(cluster);
    let url = repository(cluster, "drained");
    let ids: Vec<_> = (0..5).map(|_| cluster.client().submit(&job(&url, SCRIPT))).collect();
    cluster.until("all run", || {
        ids.iter().all(|id| cluster.client().state(id).as_deref() == Some("running"))
    });
    std::thread::sleep(Duration::from_secs(1));
    let node = cluster.engines[1].name.clone();
    cluster.manager().ask(&["node", "update", "--availability", "drain", &node]);
    for id in ids {
        let outcome = cluster.client().events(&id).outcome();
        assert_eq!(outcome["state"], "completed", "a drained node finishes: {outcome}");
    }
    let left = |cluster: &Cluster| {
        let tasks =
            ["workflow", "git-pull", "claude-exec"].into_iter().flat_map(|s| cluster.tasks(s));
        tasks.filter(|task| task.node == node && task.runs()).count()
    };
    cluster.until("nobody works on the drained node", || left(cluster) == 0);
    cluster.manager().ask(&["node", "update", "--availability", "active", &node]);
}

pub(crate) fn cut_off(cluster: &mut Cluster) {
    three_nodes(cluster);
    let url = repository(cluster, "cut");
    let mut request = job(&url, SCRIPT);
    request["retries"] = 3.into();
    let ids: Vec<_> = (0..5).map(|_| cluster.client().submit(&request)).collect();
    cluster.until("all run", || {
        ids.iter().all(|id| cluster.client().state(id).as_deref() == Some("running"))
    });
    std::thread::sleep(Duration::from_secs(1));
    cluster.engines[2].network().set_connected(Link::Out);
    cluster.engines[1].kill();
    for id in &ids {
        let outcome = cluster.client().events(id).outcome();
        assert_eq!(outcome["state"], "completed", "job {id}: {outcome}");
    }
    cluster.engines[1].run();
    cluster.engines[2].network().set_connected(Link::In);
    three_nodes(cluster);
    let outcome = cluster.client().run(&request).outcome();
    assert_eq!(outcome["state"], "completed", "after the nodes came back: {outcome}");
}
