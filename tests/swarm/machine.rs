//! A machine: processes and mounts of their own, which end with it, and it with the tests.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::network::command;

/// What is set up inside: nothing of the real machine's Docker is seen or touched, and whoever loses
/// its parent is waited for here.
const INIT: &str = "hostname \"$1\"; for folder in /etc/docker /run/docker; do \
     if [ -d $folder ]; then mount -t tmpfs none $folder; fi; done; \
     mkdir -p /run/docker; echo ready; while :; do sleep 86400 & wait; done";

/// Where the control groups of all machines are, below each hierarchy.
const GROUPS: &str = "oneshift-tests";

/// A machine, until it is dropped. Also when the tests are killed, the kernel ends all its processes
/// with them, and with these its mounts are gone.
#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    outside: Child,
    init: u32,
}

impl Machine {
    /// A machine with this host name. The thread that starts it must live as long as the tests.
    pub(crate) fn start(name: &str) -> Self {
        let mut outside = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--uts", "--pid", "--mount-proc"])
            .args(["--fork", "--kill-child=KILL", "sh", "-euc", INIT, "sh", name])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv and unshare run");
        let words = outside.stdout.as_mut().expect("it is piped");
        let mut line = String::new();
        let _ = BufReader::new(words).read_line(&mut line);
        assert_eq!(line.trim(), "ready", "the machine {name} starts");
        let pid = outside.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).expect("the kernel lists children");
        let init = children.trim().parse().expect("unshare has one child");
        Self { name: name.to_owned(), outside, init }
    }

    /// The beginning of a command line that runs in this machine, with the namespace that is the
    /// caller's for its network.
    pub(crate) fn entrance(&self) -> Vec<String> {
        let target = self.init.to_string();
        let words = ["nsenter", "--target", &target, "--mount", "--uts", "--pid"];
        words.map(str::to_owned).to_vec()
    }

    /// Sends a signal, as `TERM` or `KILL`, to the process whose id within the machine is in a file.
    pub(crate) fn signal(&self, signal: &str, pid_file: &Path) {
        let Ok(pid) = std::fs::read_to_string(pid_file) else { return };
        let mut kill = self.entrance();
        kill.extend(["kill", "-s", signal, pid.trim()].map(str::to_owned));
        // It may have ended by itself.
        let _ = Command::new(&kill[0]).args(&kill[1..]).stderr(Stdio::null()).status();
    }

    /// The parent of its containers' control groups.
    pub(crate) fn groups(&self) -> String {
        format!("/{GROUPS}/{}", self.name)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The kernel ends all others before it takes the first process away, and `unshare` waits.
        let init = i32::try_from(self.init).ok().and_then(Pid::from_raw);
        if init.is_none_or(|init| kill_process(init, Signal::KILL).is_err()) {
            let _ = self.outside.kill();
        }
        let _ = self.outside.wait();
    }
}

/// Removes the empty control groups of all machines, also of those that were killed.
pub(crate) fn remove_groups() {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let places = hierarchies.map(|entry| entry.path().join(GROUPS));
    for place in places.chain([Path::new("/sys/fs/cgroup").join(GROUPS)]) {
        if place.is_dir() {
            let place = place.display().to_string();
            command("find", &[&place, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
        }
    }
}
