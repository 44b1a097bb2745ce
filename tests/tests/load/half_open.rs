//! A client that is gone without having said so, as when its machine or the network between fails.

use std::path::Path;
use std::time::Duration;

use end_to_end::{Launch, Process, binaries, skipped, tool};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::network::clients;

/// A network of its own, in which there is nobody else, and which can be taken down.
struct Network {
    keeper: Process,
    own_user: bool,
}

impl Network {
    /// `None`, which is said aloud, where that is not allowed.
    async fn start() -> Option<Self> {
        for program in ["unshare", "nsenter", "ip"] {
            tool(program)?;
        }
        let own_user = !rustix::process::geteuid().is_root();
        let user: &[&str] = if own_user { &["--user", "--map-root-user"] } else { &[] };
        let mut keeper = Launch::program(Path::new("unshare"))
            .args(user)
            .args(["--net", "sh", "-c", "ip link set lo up && echo is up && exec sleep 100000"])
            .start();
        while keeper.is_running() {
            if keeper.lines().iter().any(|line| line == "is up") {
                return Some(Self { keeper, own_user });
            }
            sleep(Duration::from_millis(10)).await;
        }
        skipped("vanishing clients", "this machine allows no network namespaces");
        None
    }

    /// Will start a program in it.
    fn launch(&self, program: &Path) -> Launch {
        let user: &[&str] = if self.own_user { &["--user", "--preserve-credentials"] } else { &[] };
        Launch::program(Path::new("nsenter"))
            .args(["--target", &self.keeper.id().to_string(), "--net"])
            .args(user)
            .args(["--".as_ref(), program.as_os_str()])
    }

    async fn take_down(&self) {
        let mut ip = self.launch(Path::new("ip")).args(["link", "set", "lo", "down"]).start();
        assert!(ip.exit().await.success(), "{:#?}", ip.lines());
    }

    /// How many clients a service in it has, as far as it knows.
    fn clients(&self, port: u16) -> usize {
        clients(self.keeper.id(), port)
    }
}

#[tokio::test]
async fn a_follower_that_vanished_without_a_word_is_given_up() {
    let Some(network) = Network::start().await else { return };
    let data = tempfile::tempdir().unwrap();
    let gateway = network
        .launch(&binaries().join("gateway"))
        .env("ONESHIFT_LISTEN", "127.0.0.1:0")
        .env("ONESHIFT_DATA", data.path())
        .env("ONESHIFT_CLUSTER_TOKEN", "a secret of the inside")
        .start();
    let port = gateway.address().await.port();
    let job = r#"{"prompt":"x","repoUrl":"https://host.example/org/repo"}"#;
    let follower = network
        .launch(Path::new("curl"))
        .args(["-sN", "--data", job, &gateway.url("/api/workflow").await])
        .start();
    follower.line("event: queued").await;
    assert_eq!(network.clients(port), 1);
    network.take_down().await;
    follower.signal(Signal::KILL);
    // Nothing has arrived: as far as the gateway can know, the follower is still there. It notices
    // when it has sent something, every 15 s, and that was not acknowledged for a minute.
    assert_eq!(network.clients(port), 1);
    let deadline = Instant::now() + Duration::from_secs(150);
    while network.clients(port) > 0 {
        assert!(Instant::now() < deadline, "the gateway still believes in its follower");
        sleep(Duration::from_millis(100)).await;
    }
}
