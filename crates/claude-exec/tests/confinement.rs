//! What an agent that runs as the worker's user cannot reach all the same.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use std::path::Path;
use std::process::{Child, Command};

use common::Scene;
use serde_json::json;
use service::protocol::State;

/// Says of each thing whether it could be done.
const PROBE: &str = r#"
try() { what=$1; shift; if "$@" > /dev/null 2>&1; then echo "can $what"; else echo "cannot $what"; fi; }
own=${PWD%/repo} jobs=${PWD%/*/repo} workspace=${PWD%/jobs/*}
try "write here" sh -c 'echo x > new && mkdir folder && mv new folder/new && cat folder/new'
try "write into its home" sh -c 'echo x > "$HOME/new"'
try "write into its temporary folder" sh -c 'echo x > "$TMPDIR/new" && mv "$TMPDIR/new" moved'
try "run programs" ls /usr
try "use devices" sh -c 'echo x > /dev/null'
try "look at its processes" cat /proc/self/status
try "signal its own" sh -c 'sleep 1000 & kill $!'
try "read its mirror" cat "$workspace/cache/$MIRROR/HEAD"
try "write into its mirror" sh -c 'echo x > "$0"' "$workspace/cache/$MIRROR/HEAD"
try "read another mirror" cat "$workspace/cache/$OTHER_MIRROR/HEAD"
try "read another job's file" cat "$jobs/another/repo/file"
try "write into another job's folder" sh -c 'echo x > "$0"' "$jobs/another/repo/new"
try "list jobs" ls "$jobs"
try "lock another job's folder" flock -n "$jobs/another" true
try "follow a link there" sh -c 'ln -s "$0" link && cat link' "$jobs/another/repo/file"
try "give the workspace another id" sh -c 'echo x > "$0"' "$workspace/.oneshift-workspace"
try "read the worker's secret" cat "$SECRET"
try "read what its operator hides" cat "$HIDDEN/file"
try "signal a stranger" kill -0 "$STRANGER"
"#;

/// A process that is none of the agent's, though of the same user.
struct Stranger(Child);

impl Stranger {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What the agent of a worker with this setting could do, and what not.
async fn probe(confined: &str) -> Vec<String> {
    let stranger = Stranger::start();
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("cluster_token");
    std::fs::write(&secret, "s3cret").unwrap();
    let hidden = secrets.path().join("hidden");
    std::fs::create_dir(&hidden).unwrap();
    std::fs::write(hidden.join("file"), "s3cret").unwrap();
    let [mirror, other_mirror] = ["0a", "0b"].map(|hex| format!("{}.git", hex.repeat(32)));
    let script = format!(
        "MIRROR={mirror} OTHER_MIRROR={other_mirror} SECRET={} HIDDEN={} STRANGER={}\n{PROBE}",
        secret.display(),
        hidden.display(),
        stranger.0.id(),
    );
    let scene = Scene::with([
        ("ONESHIFT_AGENT", "command"),
        ("ONESHIFT_AGENT_COMMAND", &json!(["sh", "-c", script]).to_string()),
        ("ONESHIFT_AGENT_CONFINED", confined),
        ("ONESHIFT_CLUSTER_TOKEN_FILE", secret.to_str().unwrap()),
        ("ONESHIFT_AGENT_HIDDEN", &format!("/nowhere:{}", hidden.display())),
    ]);
    let write = |path: &Path, text: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let root = scene.root.path();
    write(&root.join("cache").join(&mirror).join("HEAD"), "ref: refs/heads/main\n");
    write(&root.join("cache").join(&other_mirror).join("HEAD"), "ref: refs/heads/main\n");
    write(&root.join("jobs/another/repo/file"), "theirs\n");
    write(&scene.checkout().with_file_name("mirror"), &mirror);
    let outcome = scene.run(json!({"prompt": "x"})).await;
    assert_eq!(outcome.state, State::Completed, "{outcome:?}");
    scene.stdout()
}

#[tokio::test]
async fn a_confined_agent_reaches_its_own_job_and_nobody_elses() {
    if !claude_exec::can_confine() {
        return end_to_end::skipped("confinement", "this kernel has no Landlock");
    }
    assert_eq!(
        probe("1").await,
        [
            "can write here",
            "can write into its home",
            "can write into its temporary folder",
            "can run programs",
            "can use devices",
            "can look at its processes",
            "can signal its own",
            "can read its mirror",
            "cannot write into its mirror",
            "cannot read another mirror",
            "cannot read another job's file",
            "cannot write into another job's folder",
            "cannot list jobs",
            "cannot lock another job's folder",
            "cannot follow a link there",
            "cannot give the workspace another id",
            "cannot read the worker's secret",
            "cannot read what its operator hides",
            "cannot signal a stranger",
        ]
    );
}

#[tokio::test]
async fn an_agent_that_is_not_confined_could_do_all_of_that() {
    let cannot: Vec<_> = probe("").await;
    let cannot: Vec<_> = cannot.iter().filter(|line| line.starts_with("cannot")).collect();
    assert!(cannot.is_empty(), "{cannot:?}");
}
