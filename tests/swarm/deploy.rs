//! What the script is told.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use end_to_end::variable;

use crate::cluster::Cluster;
use crate::engine::Engine;

/// How callers reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// At its node's port, of which there is one: an update stops the old gateway first.
    ByPort,
    /// By its name, from a container: an update starts the new gateway first.
    ByName,
}

/// What builds images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builder {
    /// What engines had from their beginning.
    Classic,
    /// What replaces it.
    BuildKit,
}

/// A container from which the gateway is called by its name; and less patience with updates.
const BY_NAME: &str = r#"
version: "3.9"
services:
  gateway:
    deploy: { update_config: { order: start-first, failure_action: rollback, monitor: 2s } }
  operator:
    deploy: { update_config: { order: stop-first, failure_action: rollback, monitor: 2s } }
  caller:
    image: ${ONESHIFT_IMAGE_CLAUDE_EXEC}
    networks: [front]
    entrypoint: [sleep, infinity]
    healthcheck: { disable: true }
    stop_grace_period: 0s
"#;

/// Less patience with updates.
const BY_PORT: &str = r#"
version: "3.9"
services:
  gateway:
    deploy: { update_config: { order: stop-first, failure_action: rollback, monitor: 2s } }
  operator:
    deploy: { update_config: { order: stop-first, failure_action: rollback, monitor: 2s } }
"#;

impl Cluster {
    /// Changes a setting for the next deployment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(other, _)| other != name);
        if !value.is_empty() {
            self.settings.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Goes over to another way to the gateway.
    pub(crate) fn reach(&mut self, reached: Reached) {
        if self.reached != reached {
            self.reached = reached;
            self.must_deploy(&[]);
        }
    }

    /// Runs the script.
    pub(crate) fn deploy(&self, arguments: &[&str]) -> Output {
        let of_tests = self.folder().join("tests.yml");
        let (ports, text): (&[&str], _) = match self.reached {
            Reached::ByPort => (&["--overlay", "swarm.host-ports.yml"], BY_PORT),
            Reached::ByName => (&[], BY_NAME),
        };
        std::fs::write(&of_tests, text).expect("the overlay can be written");
        let of_tests = of_tests.display().to_string();
        let overlays = ["--overlay", "swarm.small.yml", "--overlay", &of_tests];
        self.script(&[ports, &overlays, arguments].concat())
    }

    pub(crate) fn script(&self, arguments: &[&str]) -> Output {
        self.script_at(self.manager(), Builder::Classic, arguments)
    }

    /// Runs the script against an engine, with one of Docker's two builders.
    pub(crate) fn script_at(
        &self,
        engine: &Engine,
        builder: Builder,
        arguments: &[&str],
    ) -> Output {
        let env = self.folder().join("env");
        let mut text = String::new();
        for (name, value) in &self.settings {
            let _ = writeln!(text, "{name}={value}");
        }
        std::fs::write(&env, text).expect("the settings can be written");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests are in a folder");
        let mut script = Command::new(root.join("deploy-swarm.sh"));
        script.env("DOCKER_HOST", engine.host());
        match builder {
            Builder::Classic => script.env("DOCKER_BUILDKIT", "0"),
            Builder::BuildKit => {
                // Debian's docker has BuildKit in it; later ones need a plugin for it.
                let mut path = OsString::from("/usr/bin:");
                path.push(variable("PATH").unwrap_or_default());
                script.env("DOCKER_BUILDKIT", "1").env("PATH", path)
            }
        };
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
}
