//! What the tests of this crate share: a workspace, and shifts run in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use end_to_end::git;
use service::config::Environment;
use service::one_shot::{Job, Shift};
use service::protocol::event::{AgentEvent, Stream};
use service::protocol::request::{PullRequest, parse};
use service::protocol::{Outcome, Payload, Reason, State};
use tempfile::TempDir;

use crate::deliver::Deliver;
use crate::pull::Pull;
use crate::settings::Settings;

/// A workspace that is gone when the test is over.
pub(crate) struct Site {
    folder: TempDir,
    pub(crate) settings: Arc<Settings>,
}

/// A pull that is over.
pub(crate) struct Pulled {
    pub(crate) job: Job,
    pub(crate) outcome: Outcome,
    pub(crate) checkout: PathBuf,
}

/// Looks again and again until it is so. A lock may be taken for a moment although nobody has it:
/// another test starts a program, which has a copy of it until it has begun.
pub(crate) fn soon(mut look: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !look() {
        assert!(std::time::Instant::now() < deadline, "what the test waits for never came");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

impl Site {
    /// A workspace whose operator allows local repositories.
    pub(crate) fn new() -> Self {
        Self::with([])
    }

    pub(crate) fn with<const N: usize>(more: [(&str, &str); N]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut environment = vec![
            ("ONESHIFT_WORKSPACE", folder.path().to_str().unwrap()),
            ("ONESHIFT_ALLOW_LOCAL_REPOS", "1"),
        ];
        environment.extend(more);
        // `from_pairs` takes arrays; the later pair wins, as it should.
        let environment: [(&str, &str); 8] =
            std::array::from_fn(|place| environment.get(place).copied().unwrap_or(("", "")));
        let settings = Settings::read(&Environment::from_pairs(environment)).unwrap();
        Self { folder, settings: Arc::new(settings) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn deliverer(&self) -> Deliver {
        Deliver { settings: Arc::clone(&self.settings) }
    }

    /// Delivers what became of a checkout as a patch.
    pub(crate) fn deliver(&self, url: &str, pulled: &Pulled) -> Delivered {
        let base = pulled.outcome.commit.as_ref().map(|base| format!(",\"base\":{base:?}"));
        let body = format!("{{\"repoUrl\":{url:?}{}}}", base.unwrap_or_default());
        // A job of its own, as in another worker process.
        let job = Job::detached_as(pulled.job.id());
        let request = parse(body.as_bytes()).unwrap();
        let outcome = runtime().block_on(self.deliverer().run(request, job.clone()));
        Delivered { job, outcome }
    }

    pub(crate) fn puller(&self) -> Pull {
        Pull { settings: Arc::clone(&self.settings) }
    }

    /// Pulls the default branch.
    pub(crate) fn pull(&self, url: &str) -> Pulled {
        self.pull_with(url, "")
    }

    /// Pulls; `more` are further fields of the request, each with a comma before it.
    pub(crate) fn pull_with(&self, url: &str, more: &str) -> Pulled {
        self.pull_as(url, more, Job::detached())
    }

    pub(crate) fn pull_as(&self, url: &str, more: &str, job: Job) -> Pulled {
        let request = request(url, more);
        let outcome = runtime().block_on(self.puller().run(request, job.clone()));
        let checkout = self.settings.workspace.checkout(job.id());
        Pulled { job, outcome, checkout }
    }
}

pub(crate) fn request(url: &str, more: &str) -> PullRequest {
    parse(format!("{{\"repoUrl\":{url:?}{more}}}").as_bytes()).unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A delivery that is over.
pub(crate) struct Delivered {
    pub(crate) job: Job,
    pub(crate) outcome: Outcome,
}

impl Delivered {
    /// The patch, put together from its events.
    pub(crate) fn patch(&self) -> Vec<u8> {
        assert_eq!(self.outcome.state, State::Completed, "{}", self.outcome.message);
        let piece = |payload| match payload {
            Payload::Output { stream: Stream::Patch, text, encoding: None, .. } => {
                text.into_bytes()
            }
            Payload::Output { stream: Stream::Patch, text, .. } => STANDARD.decode(text).unwrap(),
            _ => Vec::new(),
        };
        self.job.events().into_iter().flat_map(|event| piece(event.payload)).collect()
    }

    /// Files, insertions, deletions.
    pub(crate) fn changes(&self) -> (u64, u64, u64) {
        let changes = self.outcome.changes.unwrap();
        (changes.files, changes.insertions, changes.deletions)
    }

    /// The codes of its notices.
    pub(crate) fn notices(&self) -> Vec<String> {
        notices(&self.job).into_iter().map(|(code, _)| code).collect()
    }
}

impl Pulled {
    /// The commit that was checked out.
    pub(crate) fn commit(&self) -> &str {
        assert_eq!(self.outcome.state, State::Completed, "{}", self.outcome.message);
        self.outcome.commit.as_deref().unwrap()
    }

    /// Why the pull failed, and the sentence about it.
    pub(crate) fn failure(&self) -> (Reason, &str) {
        assert_eq!(self.outcome.state, State::Failed, "{}", self.outcome.message);
        (self.outcome.reason.unwrap(), &self.outcome.message)
    }

    /// What git prints in the checkout.
    pub(crate) fn git<const N: usize>(&self, arguments: [&str; N]) -> String {
        git::run(&self.checkout, arguments)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.checkout.join(path)).unwrap()
    }

    pub(crate) fn notices(&self) -> Vec<(String, String)> {
        notices(&self.job)
    }
}

pub(crate) fn notices(job: &Job) -> Vec<(String, String)> {
    let notice = |payload| match payload {
        Payload::Agent(AgentEvent::Notice { code, message }) => Some((code, message)),
        _ => None,
    };
    job.events().into_iter().filter_map(|event| notice(event.payload)).collect()
}

/// The address of a server that redirects every request to `target`, with the path's tail.
pub(crate) fn redirect_to(target: &str) -> String {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = target.to_owned();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let lines = BufReader::new(connection.try_clone().unwrap()).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let location = format!("{target}/info/refs?service=git-upload-pack");
            let answer =
                format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    format!("http://localhost:{port}")
}
