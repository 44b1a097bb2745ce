//! Oneshift as the script deploys it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use end_to_end::model::Script;
use end_to_end::{GitServer, Model};
use serde_json::Value;
use tempfile::TempDir;

use crate::engine::Engine;
use crate::images;
use crate::jobs::Client;
use crate::network::{FIXTURES, Wire};

/// How long the cluster may take to become what a test waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `.env` says beside what the tests add. The agent does as the prompt says: it is a shell.
const SETTINGS: [(&str, &str); 8] = [
    ("ONESHIFT_BASE_IMAGE", images::BASE),
    ("ONESHIFT_BINARIES_IMAGE", images::BINARIES),
    ("ONESHIFT_CLAUDE_IMAGE", images::CLAUDE),
    ("ONESHIFT_BUILD_NETWORK", "host"),
    ("ONESHIFT_AGENT", "command"),
    ("ONESHIFT_AGENT_COMMAND", r#"["sh", "-eu"]"#),
    ("ANTHROPIC_API_KEY", "'sk-ant-loopback'"),
    ("ONESHIFT_DRAIN_SECONDS", "60"),
];

/// The settings that name the services' images, in the order in which the script builds them.
pub(crate) const IMAGES: [&str; 6] = [
    "ONESHIFT_IMAGE_GATEWAY",
    "ONESHIFT_IMAGE_WORKFLOW",
    "ONESHIFT_IMAGE_GIT_PULL",
    "ONESHIFT_IMAGE_CLAUDE_EXEC",
    "ONESHIFT_IMAGE_OPERATOR",
    "ONESHIFT_IMAGE_DOCKER_PROXY",
];

/// The cluster, until it is dropped.
pub(crate) struct Cluster {
    /// The manager first.
    pub(crate) engines: Vec<Engine>,
    pub(crate) git: GitServer,
    pub(crate) model: Model,
    /// The settings as they were deployed last.
    pub(crate) settings: Vec<(String, String)>,
    token: String,
    _wire: Wire,
    pub(crate) folder: TempDir,
}

impl Cluster {
    /// One node with 5, 3 and 3 workers.
    pub(crate) fn start() -> Self {
        let wire = Wire::lay();
        let folder = tempfile::tempdir().expect("there is room for a cluster");
        let engine = Engine::start(folder.path(), 10);
        engine.network().show_loopback();
        let (git, model) = engine
            .network()
            .within(|| (GitServer::start(), Model::start(Script::writes("HELLO.md", "Hello\n"))));
        let mut settings: Vec<_> = SETTINGS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        settings.push(("ANTHROPIC_BASE_URL".to_owned(), reachable(&model.url())));
        let socket = engine.host().replace("unix://", "");
        settings.push(("ONESHIFT_DOCKER_SOCKET".to_owned(), socket));
        let mut cluster = Self {
            engines: vec![engine],
            git,
            model,
            settings,
            token: String::new(),
            _wire: wire,
            folder,
        };
        cluster.build_images();
        let printed = cluster.must_deploy(&[]);
        cluster.token = printed.lines().find(|line| line.len() == 64).expect("a token").to_owned();
        cluster
    }

    /// Adds nodes that have the images which run.
    pub(crate) fn add_nodes(&mut self, count: u8) {
        let token = self.manager().ask(&["swarm", "join-token", "--quiet", "worker"]);
        let format = "{{.Spec.TaskTemplate.ContainerSpec.Image}}";
        let names = ["oneshift_workflow", "oneshift_git-pull", "oneshift_claude-exec"];
        let image =
            |name: &str| self.manager().ask(&["service", "inspect", "--format", format, name]);
        let images: Vec<_> = names.into_iter().map(image).collect();
        for number in 11..11 + count {
            let engine = Engine::start(self.folder.path(), number);
            images::copy(self.manager(), &engine, &images);
            let manager = format!("{}:2377", self.manager().address);
            let address = engine.address.as_str();
            engine.ask(&[
                "swarm",
                "join",
                "--token",
                &token,
                "--advertise-addr",
                address,
                &manager,
            ]);
            self.engines.push(engine);
        }
    }

    pub(crate) fn manager(&self) -> &Engine {
        &self.engines[0]
    }

    /// Changes a setting for the next deployment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(other, _)| other != name);
        if !value.is_empty() {
            self.settings.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Builds the product's images where there is a network for it, and gives them to the manager.
    fn build_images(&mut self) {
        let builder = Engine::start_builder(self.folder.path());
        images::provide(&builder, self.folder.path());
        let output = self.script(&builder, &["build"]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "deploy-swarm.sh build: {words}");
        let built = String::from_utf8_lossy(&output.stdout);
        let mut images: Vec<_> = built.lines().map(str::to_owned).collect();
        images.push(images::BASE.to_owned());
        images::copy(&builder, self.manager(), &images);
        // By id from here on: the sources may change while the tests run.
        for (variable, image) in IMAGES.into_iter().zip(&images) {
            let id = builder.ask(&["image", "inspect", "--format", "{{.Id}}", image]);
            self.set(variable, &id);
        }
    }

    /// Runs the script.
    pub(crate) fn deploy(&self, arguments: &[&str]) -> Output {
        let overlays = ["--overlay", "swarm.host-ports.yml", "--overlay", "swarm.small.yml"];
        self.script(self.manager(), &[&overlays, arguments].concat())
    }

    fn script(&self, engine: &Engine, arguments: &[&str]) -> Output {
        let env = self.folder.path().join("env");
        let mut text = String::new();
        for (name, value) in &self.settings {
            let _ = writeln!(text, "{name}={value}");
        }
        std::fs::write(&env, text).expect("the settings can be written");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests are in a folder");
        let mut script = Command::new(root.join("deploy-swarm.sh"));
        script.env("DOCKER_HOST", engine.host()).env("DOCKER_BUILDKIT", "0");
        script.args(["--env".as_ref(), env.as_os_str()]);
        script.args(["--advertise-addr", &self.manager().address, "--yes"]);
        script.args(arguments).stdin(Stdio::null()).output().expect("the script runs")
    }

    /// Runs the script, which must succeed; returns what it prints for programs.
    pub(crate) fn must_deploy(&self, arguments: &[&str]) -> String {
        let output = self.deploy(arguments);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "deploy-swarm.sh {arguments:?}: {words}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A caller of the gateway.
    pub(crate) fn client(&self) -> Client<'_> {
        Client { engine: self.manager(), token: &self.token }
    }

    /// The address of a repository of the tests' git server, for containers.
    pub(crate) fn repository_url(&self, url: &str) -> String {
        reachable(url)
    }

    /// How the services' tasks are, as `docker service ps` shows them.
    pub(crate) fn tasks(&self, service: &str) -> Vec<Task> {
        let format = "{{.ID}}|{{.Node}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}}";
        let name = format!("oneshift_{service}");
        let text = self.manager().ask(&["service", "ps", "--no-trunc", "--format", format, &name]);
        text.lines().map(Task::read).collect()
    }

    /// Waits until the gateway has this many idle workers of a kind.
    pub(crate) fn until_idle(&self, kind: &str, count: u64) {
        self.until(&format!("{count} {kind} are idle"), || {
            let health = self.client().get("/health");
            health.is_some_and(|health: Value| health["workers"][kind]["idle"] == count)
        });
    }

    /// Waits until all 5, 3 and 3 workers are idle.
    pub(crate) fn until_at_full_strength(&self) {
        for (kind, count) in [("workflow", 5), ("git-pull", 3), ("claude-exec", 3)] {
            self.until_idle(kind, count);
        }
    }

    /// Waits for something to become true.
    pub(crate) fn until(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_true() {
            let services = || self.manager().ask(&["service", "ls"]);
            assert!(Instant::now() < deadline, "in two minutes not: {what}\n{}", services());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// What listens on the first node's loopback, as containers reach it.
fn reachable(url: &str) -> String {
    url.replace("127.0.0.1", FIXTURES)
}

/// One container's life, in Swarm's words.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) wanted: String,
    pub(crate) state: String,
    pub(crate) error: String,
}

impl Task {
    fn read(line: &str) -> Self {
        let mut fields = line.split('|').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        Self { id: next(), node: next(), wanted: next(), state: next(), error: next() }
    }

    pub(crate) fn runs(&self) -> bool {
        self.wanted == "Running" && self.state.starts_with("Running")
    }
}
