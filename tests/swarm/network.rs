//! Network namespaces as machines: one a node, joined by a bridge in one more.

use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The namespace that holds the bridge.
const WIRE: &str = "oneshift-wire";

/// The bridge's own address, where nobody listens.
pub(crate) const GATE: &str = "10.200.0.1";

/// Where containers reach what listens on the first node's loopback: the tests' git server and model.
pub(crate) const FIXTURES: &str = "10.200.0.2";

/// Runs a program to its end.
///
/// # Panics
/// When it fails; its words are in the message.
pub(crate) fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} does not run: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The wire between the nodes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Wire;

impl Wire {
    pub(crate) fn lay() -> Self {
        remove(WIRE);
        command("ip", &["netns", "add", WIRE]);
        inside(WIRE, &["ip", "link", "add", "bridge", "type", "bridge"]);
        inside(WIRE, &["ip", "addr", "add", &format!("{GATE}/24"), "dev", "bridge"]);
        inside(WIRE, &["ip", "link", "set", "bridge", "up"]);
        Self
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        remove(WIRE);
    }
}

/// One node's namespace, until it is dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    port: String,
}

impl Namespace {
    /// A namespace with the address `10.200.0.<number>`.
    pub(crate) fn plug_in(name: &str, number: u8) -> Self {
        let port = format!("port{number}");
        remove(name);
        command("ip", &["netns", "add", name]);
        let peer = ["link", "add", &port, "netns", WIRE, "type", "veth", "peer", "name", "eth0"];
        command("ip", &[&peer[..], &["netns", name]].concat());
        inside(WIRE, &["ip", "link", "set", &port, "master", "bridge", "up"]);
        inside(name, &["ip", "link", "set", "lo", "up"]);
        inside(name, &["ip", "addr", "add", &format!("10.200.0.{number}/24"), "dev", "eth0"]);
        inside(name, &["ip", "link", "set", "eth0", "up"]);
        inside(name, &["ip", "route", "add", "default", "via", GATE]);
        inside(name, &["sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1"]);
        Self { name: name.to_owned(), port }
    }

    /// Lets all nodes' containers reach what listens on this one's loopback, at [`FIXTURES`].
    pub(crate) fn show_loopback(&self) {
        let address = format!("{FIXTURES}/24");
        inside(&self.name, &["ip", "addr", "add", &address, "dev", "eth0"]);
        for setting in ["net.ipv4.conf.all.route_localnet=1", "net.ipv4.conf.eth0.route_localnet=1"]
        {
            inside(&self.name, &["sysctl", "--quiet", "--write", setting]);
        }
        let rule = "-t nat -I PREROUTING -p tcp -d 10.200.0.2 -j DNAT --to-destination 127.0.0.1";
        inside(&self.name, &[&["iptables"], &rule.split(' ').collect::<Vec<_>>()[..]].concat());
    }

    /// Cuts the node off from the others, or joins it again.
    pub(crate) fn set_connected(&self, to: Link) {
        inside(WIRE, &["ip", "link", "set", &self.port, to.word()]);
    }

    /// The beginning of a command line that runs in this namespace.
    pub(crate) fn entrance(&self) -> [String; 2] {
        ["nsenter".to_owned(), self.file()]
    }

    /// The word that tells `nsenter` of this namespace.
    pub(crate) fn file(&self) -> String {
        format!("--net=/run/netns/{}", self.name)
    }

    /// Does something on a thread whose sockets, and those of threads that it starts, belong here.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        let enter = || {
            let file = rustix::fs::open(path.as_str(), OFlags::RDONLY, Mode::empty());
            let file = file.expect("the namespace has a name");
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind)
                .expect("root may enter it");
            act()
        };
        std::thread::scope(|scope| match scope.spawn(enter).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Whether a node's cable is in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link {
    In,
    Out,
}

impl Link {
    fn word(self) -> &'static str {
        match self {
            Self::In => "up",
            Self::Out => "down",
        }
    }
}

fn inside(namespace: &str, arguments: &[&str]) -> String {
    let net = format!("--net=/run/netns/{namespace}");
    command("nsenter", &[&[net.as_str()], arguments].concat())
}

/// Also what an earlier run has left behind that was killed.
fn remove(namespace: &str) {
    let _ = Command::new("ip").args(["netns", "delete", namespace]).stderr(Stdio::null()).status();
}
