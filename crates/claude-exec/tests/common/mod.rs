//! A shift in the test's own process, with a shell script as its agent.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use claude_exec::{Config, Execute};
use serde_json::{Value, json};
use service::Environment;
use service::one_shot::{Job, Shift};
use service::protocol::event::{AgentEvent, Step, StepEvent, Stream};
use service::protocol::{Outcome, Payload, RequestError};
use tempfile::TempDir;

/// The real binary: worker, and guard of agents.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_claude-exec");

/// A job that is about to run.
pub(crate) struct Scene {
    pub(crate) root: TempDir,
    pub(crate) job: Job,
    shift: Execute,
    kept: Vec<TempDir>,
}

impl Scene {
    /// The agent is `sh -c script`.
    pub(crate) fn script(script: &str) -> Self {
        let command = json!(["sh", "-c", script]).to_string();
        Self::with([("ONESHIFT_AGENT", "command"), ("ONESHIFT_AGENT_COMMAND", &command)])
    }

    /// A worker with these settings, beside PATH and workspace.
    pub(crate) fn with<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap().1;
        let mut all: Vec<(&str, &str)> = pairs.to_vec();
        all.push(("PATH", path.to_str().unwrap()));
        all.push(("ONESHIFT_WORKSPACE", root.path().to_str().unwrap()));
        let environment = environment(&all);
        let config = Config::read(&environment).unwrap().with_shim(BINARY);
        let job = Job::detached();
        std::fs::create_dir_all(config.workspace().checkout(job.id())).unwrap();
        Self { root, job, shift: Execute::new(config), kept: Vec::new() }
    }

    /// Runs the request to its end as another attempt's job.
    pub(crate) async fn run_as(&self, job: &Job, request: Value) -> Outcome {
        let request = service::protocol::request::parse(request.to_string().as_bytes()).unwrap();
        self.shift.run(request, job.clone()).await
    }

    /// Keeps a folder as long as the scene.
    pub(crate) fn keep(&mut self, folder: TempDir) {
        self.kept.push(folder);
    }

    pub(crate) fn checkout(&self) -> PathBuf {
        self.root.path().join("jobs").join(self.job.id().to_string()).join("repo")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.checkout().with_file_name("home")
    }

    /// Runs the request to its end.
    pub(crate) async fn run(&self, request: Value) -> Outcome {
        let request = service::protocol::request::parse(request.to_string().as_bytes()).unwrap();
        self.shift.run(request, self.job.clone()).await
    }

    pub(crate) fn admit(&self, request: &Value) -> Result<(), RequestError> {
        let request = service::protocol::request::parse(request.to_string().as_bytes()).unwrap();
        self.shift.admit(&request)
    }

    pub(crate) fn payloads(&self) -> Vec<Payload> {
        self.job.events().into_iter().map(|event| event.payload).collect()
    }

    /// The lines of output of a step.
    pub(crate) fn output(&self, wanted: Step, from: Stream) -> Vec<String> {
        let text = |payload| match payload {
            Payload::Output { step, stream, text, .. } if step == wanted && stream == from => {
                Some(text)
            }
            _ => None,
        };
        self.payloads().into_iter().filter_map(text).collect()
    }

    pub(crate) fn stdout(&self) -> Vec<String> {
        self.output(Step::Execute, Stream::Stdout)
    }

    pub(crate) fn steps(&self) -> Vec<StepEvent> {
        let step = |payload| match payload {
            Payload::Step(event) => Some(*event),
            _ => None,
        };
        self.payloads().into_iter().filter_map(step).collect()
    }

    pub(crate) fn notices(&self) -> Vec<String> {
        let code = |payload| match payload {
            Payload::Agent(AgentEvent::Notice { code, .. }) => Some(code),
            _ => None,
        };
        self.payloads().into_iter().filter_map(code).collect()
    }

    /// Waits until the agent has printed a line that starts like this; returns the rest of it.
    pub(crate) async fn line(&self, start: &str) -> String {
        eventually(|| {
            self.stdout().iter().find_map(|line| line.strip_prefix(start).map(str::to_owned))
        })
        .await
    }
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    // Room for the most that a test sets; a name that nobody reads fills the rest.
    let mut array = [("UNUSED", ""); 16];
    array[..pairs.len()].copy_from_slice(pairs);
    Environment::from_pairs(array)
}

/// Whether a process is there and not a zombie.
pub(crate) fn is_alive(id: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(id.trim()).join("stat"));
    stat.is_ok_and(|stat| {
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().chars().next());
        !matches!(state, Some(Some('Z' | 'X')))
    })
}

/// Waits until `look` finds something.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "what the test waits for never came");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
