//! A Docker engine of the tests' own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use end_to_end::variable;

use crate::machine::Machine;
use crate::network::{self, Namespace};

/// What a machine needs for these tests.
const TOOLS: [&str; 11] = [
    "dockerd",
    "docker",
    "iptables",
    "ip",
    "nsenter",
    "unshare",
    "setpriv",
    "debootstrap",
    "curl",
    "tar",
    "strip",
];

/// How long an engine may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why this machine cannot run the tests, if it cannot.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, to run Docker engines".to_owned());
    }
    let path = variable("PATH").unwrap_or_default();
    let is_there =
        |tool: &&str| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !is_there(tool)).collect();
    (!missing.is_empty()).then(|| format!("{} missing", missing.join(", ")))
}

/// An engine on a machine of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) address: String,
    process: Mutex<Option<Child>>,
    machine: Mutex<Option<Machine>>,
    network: Namespace,
    folder: PathBuf,
}

/// Which network an engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// That of its node, which is cut off from the world.
    Node,
    /// That of the machine that the tests run on; then it has no containers but builds images.
    World,
}

impl Engine {
    /// A node with the address `10.200.0.<number>` and files in `folder`. Its engine does not run.
    pub(crate) fn new(folder: &Path, number: u8) -> Self {
        let name = format!("oneshift-{number}");
        let network = Namespace::plug_in(&name, number);
        let address = format!("10.200.0.{number}");
        let folder = folder.join(&name);
        std::fs::create_dir_all(&folder).expect("there is room for an engine");
        std::fs::write(folder.join("config"), "{}").expect("there is room for an engine");
        let (process, machine) = (Mutex::default(), Mutex::new(Some(Machine::start(&name))));
        Self { name, address, network, folder, process, machine }
    }

    /// The namespace of a node.
    pub(crate) fn network(&self) -> &Namespace {
        &self.network
    }

    /// Runs the engine; also again after [`Self::stop`].
    pub(crate) fn run(&self) {
        self.run_in(Place::Node);
    }

    /// Runs the engine with the network of the tests while images are built.
    pub(crate) fn build<T>(&self, build: impl FnOnce(&Self) -> T) -> T {
        self.run_in(Place::World);
        let built = build(self);
        self.stop();
        built
    }

    fn run_in(&self, place: Place) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.file("log"));
        let log = log.expect("the engine's folder is there");
        let mut words =
            lock(&self.machine).get_or_insert_with(|| Machine::start(&self.name)).entrance();
        let groups = lock(&self.machine).as_ref().map(Machine::groups).expect("it was just made");
        match place {
            // The wire has a name server that refuses at once, as good as one that knows nothing.
            Place::Node => words.extend([
                self.network.file(),
                "dockerd".to_owned(),
                "--dns".to_owned(),
                network::GATE.to_owned(),
            ]),
            Place::World => words.extend(
                ["dockerd", "--bridge=none", "--iptables=false", "--ip-forward=false"]
                    .map(str::to_owned),
            ),
        }
        words.extend(["--host".to_owned(), self.host(), "--cgroup-parent".to_owned(), groups]);
        words.extend(["--exec-opt", "native.cgroupdriver=cgroupfs"].map(str::to_owned));
        for (option, file) in [
            ("--config-file", "config"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            words.extend([option.to_owned(), self.file(file).display().to_string()]);
        }
        let started = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn();
        *lock(&self.process) = Some(started.expect("nsenter runs"));
        self.until("the engine answers", || self.docker(&["info"]).status.success());
    }

    /// Ends the engine and with it its containers.
    pub(crate) fn stop(&self) {
        self.end("TERM");
    }

    /// Ends the engine alone, as its own crash would: containers are left to the next one.
    pub(crate) fn kill(&self) {
        self.end("KILL");
    }

    /// Ends all that runs on the node, as pulling the plug would.
    pub(crate) fn crash(&self) {
        drop(lock(&self.machine).take());
        self.await_end();
        // What a machine has in its memory only.
        let _ = std::fs::remove_dir_all(self.file("exec"));
    }

    fn end(&self, signal: &str) {
        if let Some(machine) = lock(&self.machine).as_ref() {
            machine.signal(signal, &self.file("pid"));
        }
        self.await_end();
    }

    fn await_end(&self) {
        let Some(mut process) = lock(&self.process).take() else { return };
        self.until("the engine ends", || process.try_wait().is_ok_and(|status| status.is_some()));
        let _ = std::fs::remove_file(self.file("pid"));
    }

    /// Runs the docker command line against this engine.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Output {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", self.host()).env("DOCKER_BUILDKIT", "0");
        docker.args(arguments).stdin(Stdio::null()).output().expect("docker runs")
    }

    /// What the docker command line prints; panics when it fails.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The beginning of a command line that runs in a container of this node.
    pub(crate) fn entrance_of(&self, container: &str) -> Vec<String> {
        let pid = self.ask(&["inspect", "--format", "{{.State.Pid}}", container]);
        let mut words = lock(&self.machine).as_ref().map(Machine::entrance).unwrap_or_default();
        words.extend(["nsenter", "--target", &pid, "--mount", "--net"].map(str::to_owned));
        words
    }

    /// The files of a volume on this node.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.file("data/volumes").join(name).join("_data")
    }

    /// Where it listens, as `DOCKER_HOST` wants it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.file("socket").display())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn until(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_true() {
            let log = || std::fs::read_to_string(self.file("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{}: {what} never; {}", self.name, log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
