//! Jobs on one node.

use std::collections::BTreeSet;

use end_to_end::git_server::Access;
use end_to_end::sse::{Frame, assert_complete};
use serde_json::json;

use super::scaling::service;
use crate::cluster::{Cluster, IMAGES};
use crate::deploy::Builder;
use crate::engine::Engine;
use crate::images;
use crate::jobs::job;

/// The name and address of a small repository, for containers.
pub(crate) fn repository(cluster: &Cluster, name: &str) -> String {
    cluster.git.repository(name, |repository| {
        repository.file("README.md", "demo\n").file("src/lib.rs", "// nothing\n").commit("first");
    });
    cluster.repository_url(&cluster.git.url(Access::Public, name))
}

/// What ten jobs take of each kind: a pull and a delivery are a git-pull each.
const CONTAINERS_OF_TEN_JOBS: [(&str, u64); 3] =
    [("workflow", 10), ("git-pull", 20), ("claude-exec", 10)];

/// How many containers of a kind have ended well since the operator's start.
fn used_up(cluster: &Cluster, kind: &str) -> Option<u64> {
    service(cluster, kind)["restarts"]["afterJob"].as_u64()
}

pub(crate) fn ten_curls(cluster: &mut Cluster) {
    let url = repository(cluster, "ten");
    cluster.until_at_full_strength();
    cluster.until("the operator has looked", || used_up(cluster, "workflow").is_some());
    let before = CONTAINERS_OF_TEN_JOBS.map(|(kind, _)| used_up(cluster, kind));
    let script = "hostname; cat /proc/sys/kernel/random/uuid > uuid; sleep 1";
    let streams: Vec<_> = (0..10).map(|_| cluster.client().run(&job(&url, script))).collect();
    let mut hosts = Vec::new();
    for stream in streams {
        let frames = stream.frames();
        let outcome = assert_complete(&frames)["outcome"].clone();
        assert_eq!(outcome["state"], "completed", "{outcome}");
        let spoken = frames.iter().filter(|frame| frame.event == "output").map(Frame::json);
        let mut words = spoken.filter(|data| data["stream"] == "stdout");
        hosts.push(words.next().expect("the agent told its host")["text"].to_string());
    }
    let different: BTreeSet<_> = hosts.iter().collect();
    assert_eq!(different.len(), 10, "each job had a container of its own: {hosts:?}");
    cluster.until_at_full_strength();
    for ((kind, count), before) in CONTAINERS_OF_TEN_JOBS.into_iter().zip(before) {
        let expected = before.map(|before| before + count);
        cluster.until(&format!("{count} containers of {kind} have been used up"), || {
            used_up(cluster, kind) == expected
        });
    }
    for service in ["workflow", "git-pull", "claude-exec"] {
        let crashed = |task: &crate::tasks::Task| !task.error.is_empty();
        let crashed: Vec<_> = cluster.tasks(service).into_iter().filter(crashed).collect();
        assert!(crashed.is_empty(), "{crashed:?}");
    }
}

pub(crate) fn real_agent(cluster: &mut Cluster) {
    let url = repository(cluster, "real");
    let mut request = job(&url, "Say hello");
    request["agent"] = json!("claude");
    let outcome = cluster.client().run(&request).outcome();
    assert_eq!(outcome["state"], "completed", "{outcome}");
    assert_eq!(outcome["changes"]["files"], 1, "{outcome}");
    assert!(outcome["usage"]["turns"].as_u64().is_some_and(|turns| turns > 0), "{outcome}");
    assert!(!cluster.model.turns().is_empty(), "the model was asked");
}

/// What a hostile agent tries first. Each line of the script that succeeds is a hole.
pub(crate) fn no_rights(cluster: &mut Cluster) {
    let url = repository(cluster, "rights");
    let script = r#"
        hole() { echo "HOLE: $*"; }
        [ "$(id -u)" != 0 ] || hole root
        grep -q '^CapEff:.*[1-9a-f]' /proc/self/status && hole capabilities
        grep -q '^NoNewPrivs:.*1' /proc/self/status || hole new privileges
        touch /usr/local/bin/x 2>/dev/null && hole root file system
        touch /workspace/cache/x 2>/dev/null && hole cache
        for mirror in /workspace/cache/*.git; do touch "$mirror/HEAD" 2>/dev/null && hole mirror; done
        for secret in /run/secrets/*; do cat "$secret" >/dev/null 2>&1 && hole "$secret"; done
        for job in /workspace/jobs/*/repo; do [ "$job" -ef . ] || { ls "$job" >/dev/null 2>&1 && hole "$job"; }; done
        env | grep -i -E 'token|sk-ant' && hole environment
        [ -e /var/run/docker.sock ] && hole docker socket
        echo tried "everything"
        echo done > tried
    "#;
    let frames = cluster.client().run(&job(&url, &script.replace("\n        ", "\n"))).frames();
    let outcome = assert_complete(&frames)["outcome"].clone();
    assert_eq!(outcome["state"], "completed", "{outcome}");
    let words: Vec<_> = frames.iter().map(|frame| frame.data.as_str()).collect();
    let holes: Vec<_> = words.iter().filter(|words| words.contains("HOLE: ")).collect();
    assert!(holes.is_empty(), "{holes:#?}");
    assert!(words.iter().any(|words| words.contains("tried everything")), "{words:#?}");
}

/// The bounds that docs/swarm.md names, in MB; those of the agent's image are mostly its tools.
const SIZES: [(&str, u64); 6] = [
    ("gateway", 60),
    ("workflow", 60),
    ("git-pull", 60),
    ("operator", 60),
    ("docker-proxy", 200),
    ("claude-exec", 1000),
];

/// What is the same of an image, whatever built it.
const CONFIG: &str = "{{json .Config.User}} {{json .Config.Entrypoint}} {{json .Config.Env}} \
     {{json .Config.Healthcheck}} {{json .Config.ExposedPorts}}";

/// Builds all images once more, on an engine of their own.
pub(crate) fn buildkit(cluster: &mut Cluster) {
    let engine = Engine::new(cluster.folder(), 20);
    engine.build(|engine| {
        images::provide(engine, cluster.folder());
        let given: Vec<_> = IMAGES.map(|name| cluster.setting(name)).into();
        // Without the images that the tests deploy, it builds all.
        let settings = cluster.settings.clone();
        cluster.settings.retain(|(name, _)| !IMAGES.contains(&name.as_str()));
        let output = cluster.script_at(engine, Builder::BuildKit, &["build"]);
        cluster.settings = settings;
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "deploy-swarm.sh build: {words}");
        let inspect = |engine: &Engine, image: &str| {
            engine.ask(&["image", "inspect", "--format", CONFIG, image])
        };
        let built = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(built.lines().count(), given.len(), "{built}");
        for (built, given) in built.lines().zip(&given) {
            assert_eq!(inspect(engine, built), inspect(cluster.manager(), given), "{built}");
        }
    });
}

/// Its program is not ours, and the socket that it guards belongs to root.
const PROXY: &str = "docker-proxy";

#[allow(clippy::print_stdout, reason = "the figures of docs/swarm.md")]
pub(crate) fn images_are_small(cluster: &mut Cluster) {
    for (service, bound) in SIZES {
        let image = cluster.image_of(service);
        assert!(image.starts_with("sha256:"), "{service} runs {image}, which a tag could change");
        let inspect =
            |format: &str| cluster.manager().ask(&["image", "inspect", "--format", format, &image]);
        let megabytes = inspect("{{.Size}}").parse::<u64>().expect("a number") / 1_000_000;
        println!("{service}: {megabytes} MB");
        assert!(megabytes <= bound, "{service} has {megabytes} MB, more than {bound}");
        let label = |name: &str| {
            inspect(&format!("{{{{index .Config.Labels \"org.opencontainers.image.{name}\"}}}}"))
        };
        assert_eq!(label("revision").len(), 40, "{service} names its commit");
        assert!(label("version").starts_with(env!("CARGO_PKG_VERSION")));
        if service != PROXY {
            assert!(!inspect("{{.Config.User}}").is_empty(), "{service} does not run as root");
            assert!(inspect("{{json .Config.Healthcheck.Test}}").contains("health"));
        }
    }
}
