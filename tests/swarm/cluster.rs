//! Oneshift as the script deploys it.

use std::path::Path;
use std::time::{Duration, Instant};

use end_to_end::model::Script;
use end_to_end::{GitServer, Model};
use serde_json::Value;

use crate::deploy::Reached;
use crate::engine::Engine;
use crate::images;
use crate::jobs::{Client, Way};
use crate::network::{FIXTURES, Wire};
use crate::place::Place;

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

/// The services whose containers may be on any node.
const ANYWHERE: [&str; 4] = ["workflow", "git-pull", "claude-exec", "operator"];

/// The cluster, until it is dropped.
pub(crate) struct Cluster {
    /// The manager first.
    pub(crate) engines: Vec<Engine>,
    pub(crate) git: GitServer,
    pub(crate) model: Model,
    /// The settings as they were deployed last.
    pub(crate) settings: Vec<(String, String)>,
    token: String,
    pub(crate) reached: Reached,
    _wire: Wire,
    place: Place,
}

impl Cluster {
    /// One node with 5, 3 and 3 workers.
    pub(crate) fn start() -> Self {
        let place = Place::take();
        let wire = Wire::lay();
        let engine = Engine::new(place.path(), 10);
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
            reached: Reached::ByPort,
            _wire: wire,
            place,
        };
        cluster.build_images();
        cluster.manager().run();
        let printed = cluster.must_deploy(&[]);
        cluster.token = printed.lines().find(|line| line.len() == 64).expect("a token").to_owned();
        cluster
    }

    /// Adds nodes that have the images which run.
    pub(crate) fn add_nodes(&mut self, count: u8) {
        let token = self.manager().ask(&["swarm", "join-token", "--quiet", "worker"]);
        let images = ANYWHERE.map(|service| self.image_of(service));
        for number in 11..11 + count {
            let engine = Engine::new(self.folder(), number);
            engine.run();
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

    /// What a setting is.
    pub(crate) fn setting(&self, name: &str) -> String {
        let found = self.settings.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    pub(crate) fn manager(&self) -> &Engine {
        &self.engines[0]
    }

    /// Builds the product's images while the manager has a network for it.
    fn build_images(&mut self) {
        let ids = self.manager().build(|engine| {
            images::provide(engine, self.folder());
            let output = self.script(&["build"]);
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "deploy-swarm.sh build: {words}");
            let built = String::from_utf8_lossy(&output.stdout).into_owned();
            let id = |image| engine.ask(&["image", "inspect", "--format", "{{.Id}}", image]);
            built.lines().map(id).collect::<Vec<_>>()
        });
        // By id from here on: the sources may change while the tests run.
        for (variable, id) in IMAGES.into_iter().zip(&ids) {
            self.set(variable, id);
        }
    }

    /// Where the tests' files are.
    pub(crate) fn folder(&self) -> &Path {
        self.place.path()
    }

    /// A caller of the gateway.
    pub(crate) fn client(&self) -> Client<'_> {
        let way = match self.reached {
            Reached::ByPort => Way::Port(self.manager()),
            Reached::ByName => {
                let container = self.containers("caller").pop().expect("the caller runs");
                Way::Name(self.manager().entrance_of(&container))
            }
        };
        Client { token: &self.token, way }
    }

    /// The containers of a service that run on the first node.
    pub(crate) fn containers(&self, service: &str) -> Vec<String> {
        let filter = format!("label=com.docker.swarm.service.name=oneshift_{service}");
        let found = self.manager().ask(&["ps", "--quiet", "--filter", &filter]);
        found.lines().map(str::to_owned).collect()
    }

    /// The image that a service runs.
    pub(crate) fn image_of(&self, service: &str) -> String {
        let format = "{{.Spec.TaskTemplate.ContainerSpec.Image}}";
        self.manager().ask(&[
            "service",
            "inspect",
            "--format",
            format,
            &format!("oneshift_{service}"),
        ])
    }

    /// The address of a repository of the tests' git server, for containers.
    pub(crate) fn repository_url(&self, url: &str) -> String {
        reachable(url)
    }

    /// Waits until the gateway has this many idle workers of a kind.
    pub(crate) fn until_idle(&self, kind: &str, count: u64) {
        let client = self.client();
        self.until(&format!("{count} {kind} are idle"), || {
            let health = client.get("/health");
            health.is_some_and(|health: Value| health["workers"][kind]["idle"] == count)
        });
    }

    /// Waits until at least this many agents work.
    pub(crate) fn until_agents_work(&self, count: u64) {
        let client = self.client();
        self.until(&format!("{count} agents work"), || {
            let health = client.get("/health").unwrap_or_default();
            let of = |state| health["workers"]["claude-exec"][state].as_u64().unwrap_or_default();
            of("busy") + of("leased") >= count
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
