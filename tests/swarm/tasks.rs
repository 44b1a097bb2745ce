//! The containers of a service, in Swarm's words.

use crate::cluster::Cluster;

/// One container's life.
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

impl Cluster {
    /// How the service's tasks are, as `docker service ps` shows them.
    pub(crate) fn tasks(&self, service: &str) -> Vec<Task> {
        let format = "{{.ID}}|{{.Node}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}}";
        let name = format!("oneshift_{service}");
        let text = self.manager().ask(&["service", "ps", "--no-trunc", "--format", format, &name]);
        text.lines().map(Task::read).collect()
    }

    /// What a person looks at first when something is wrong.
    pub(crate) fn describe(&self) -> String {
        let mut words = String::new();
        for arguments in [
            &["node", "ls"][..],
            &["service", "ls"],
            &["service", "ps", "--filter", "desired-state=running", "oneshift_workflow"],
            &["service", "ps", "--filter", "desired-state=running", "oneshift_git-pull"],
            &["service", "ps", "--filter", "desired-state=running", "oneshift_claude-exec"],
            &["service", "ps", "oneshift_gateway"],
            &["service", "logs", "--tail", "30", "oneshift_gateway"],
            &["service", "logs", "--tail", "10", "oneshift_operator"],
        ] {
            let output = self.manager().docker(arguments);
            words.push_str(&format!("== docker {}\n", arguments.join(" ")));
            words.push_str(&String::from_utf8_lossy(&output.stdout));
            words.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        words
    }
}
