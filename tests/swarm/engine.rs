//! A Docker engine of the tests' own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use end_to_end::variable;
use rustix::process::{Pid, Signal, kill_process};

use crate::network::{Namespace, command};

/// What a machine needs for these tests.
const TOOLS: [&str; 6] = ["dockerd", "docker", "iptables", "ip", "nsenter", "debootstrap"];

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

/// An engine, until it is dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) address: String,
    network: Option<Namespace>,
    folder: PathBuf,
    process: Mutex<Option<Child>>,
}

impl Engine {
    /// Starts an engine with the address `10.200.0.<number>` whose files are in `folder`.
    pub(crate) fn start(folder: &Path, number: u8) -> Self {
        let name = format!("oneshift-{number}");
        let network = Some(Namespace::plug_in(&name, number));
        let address = format!("10.200.0.{number}");
        Self::with(folder, name, address, network)
    }

    /// Starts an engine that has no containers of its own, but builds images with the machine's own
    /// network, which the nodes are cut off from.
    pub(crate) fn start_builder(folder: &Path) -> Self {
        Self::with(folder, "builder".to_owned(), String::new(), None)
    }

    fn with(folder: &Path, name: String, address: String, network: Option<Namespace>) -> Self {
        let folder = folder.join(&name);
        std::fs::create_dir_all(&folder).expect("there is room for an engine");
        let engine = Self { name, address, network, folder, process: Mutex::default() };
        engine.run();
        engine
    }

    /// The namespace of a node.
    pub(crate) fn network(&self) -> &Namespace {
        self.network.as_ref().expect("only the builder has none")
    }

    /// Runs the engine; also again after [`Self::stop`].
    pub(crate) fn run(&self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.file("log"));
        let log = log.expect("the engine's folder is there");
        let mut words = vec!["--uts".to_owned(), "sh".to_owned(), "-c".to_owned()];
        words.push(format!("hostname {}; exec \"$@\"", self.name));
        words.push("sh".to_owned());
        match &self.network {
            Some(network) => words.extend(network.entrance().into_iter().chain(["dockerd".into()])),
            None => {
                words.extend(["dockerd", "--bridge=none", "--iptables=false"].map(str::to_owned))
            }
        }
        words.extend(["--host".to_owned(), self.host()]);
        for (option, file) in
            [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")]
        {
            words.extend([option.to_owned(), self.file(file).display().to_string()]);
        }
        let started = Command::new("unshare")
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn();
        *self.process() = Some(started.expect("unshare runs"));
        self.until("the engine answers", || self.docker(&["info"]).status.success());
    }

    /// Ends the engine and with it its containers.
    pub(crate) fn stop(&self) {
        self.end(Signal::TERM);
    }

    /// Ends the engine as a machine that crashes would.
    pub(crate) fn kill(&self) {
        self.end(Signal::KILL);
    }

    fn end(&self, signal: Signal) {
        // `unshare`, the shell and `nsenter` have each become the next: it is the engine itself.
        let Some(mut process) = self.process().take() else { return };
        let _ = kill_process(Pid::from_child(&process), signal);
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

    /// Where it listens, as `DOCKER_HOST` wants it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.file("socket").display())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Drop for Engine {
    fn drop(&mut self) {
        // A swarm would start the containers again that are removed.
        let _ = self.docker(&["swarm", "leave", "--force"]);
        self.stop();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = |line: &str| {
            let place = line.split(' ').nth(1)?;
            place.starts_with(self.folder.to_str()?).then(|| place.to_owned())
        };
        for place in mounts.lines().rev().filter_map(ours) {
            command("umount", &["--lazy", &place]);
        }
    }
}
