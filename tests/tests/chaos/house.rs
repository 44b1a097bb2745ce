//! The house that is treated badly, with its repository and its agents' notes.

use std::path::PathBuf;

use end_to_end::git_server::{Access, GitServer};
use end_to_end::{Setup, Stack, kernel, tool};
use tempfile::TempDir;

use crate::agent::Notes;
use crate::crowd::{Counter, Submitted};
use crate::door::Door;
use crate::verdict::Verdict;
use crate::{leftovers, orphans};

/// `oneshift up`, and what its jobs need.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) stack: Stack,
    pub(crate) counter: Counter,
    notes: Notes,
    temporary: TempDir,
    _server: GitServer,
}

/// What is left of a house that has been stopped: its store, its workspace and its log.
#[derive(Debug)]
pub(crate) struct Remains {
    folder: TempDir,
    pub(crate) log: Vec<String>,
}

impl House {
    /// Starts 5 workflow, 3 git-pull and 3 claude-exec workers with this setup; `name` tells its
    /// jobs' idempotency keys from another's. `None`, which is said aloud, where the agent cannot
    /// run.
    pub(crate) async fn start(setup: Setup, name: String) -> Option<Self> {
        for program in ["flock", "setsid"] {
            tool(program)?;
        }
        orphans::adopt();
        let server = GitServer::start();
        server.repository("demo", |repository| {
            repository.file("a.txt", "a\n").commit("first");
        });
        let notes = Notes::new();
        let temporary = tempfile::tempdir().expect("there is room for a temporary folder");
        let stack = setup
            .env("TMPDIR", temporary.path())
            .env("ONESHIFT_AGENT_COMMAND", notes.command())
            // So that what was cut off comes to an end within a short run.
            .env("ONESHIFT_READER_WAIT_SECONDS", "8")
            .env("ONESHIFT_REATTACH_SECONDS", "10")
            .sizes(5, 3, 3)
            .start()
            .await;
        let door = Door { url: stack.url("") };
        let counter = Counter { door, repository: server.url(Access::Public, "demo"), name };
        Some(Self { stack, counter, notes, temporary, _server: server })
    }

    /// Waits until all jobs have ended, looks at them, stops the house, and looks at what it has
    /// left behind.
    pub(crate) async fn judge(self, all: Vec<Submitted>) -> (Verdict, Remains) {
        let Self { stack, counter, notes, temporary, .. } = self;
        let mut verdict = Verdict::on(&counter.door, &stack, all, &notes).await;
        let workspace = stack.workspace();
        let agents = orphans::that_stay(|| kernel::working_below(&workspace)).await;
        let supervisor = stack.supervisor().id();
        let zombies = orphans::that_stay(|| kernel::zombies_of(supervisor)).await;
        let (folder, log) = stack.stop().await;
        let survivors = orphans::that_stay(orphans::alive).await;
        let processes = [agents, zombies, survivors].concat();
        verdict.leftovers.extend(processes.iter().map(|process| format!("{process:?}")));
        verdict.leftovers.extend(leftovers::below(&folder, temporary.path()));
        (verdict, Remains { folder, log })
    }
}

impl Remains {
    /// Keeps them; returns where.
    pub(crate) fn keep(self) -> PathBuf {
        let folder = self.folder.keep();
        // Without it there is still the store.
        let _ = std::fs::write(folder.join("log"), self.log.join("\n"));
        folder
    }
}
