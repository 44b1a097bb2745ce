//! Programs that run beside a test.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::binaries::binaries;
use crate::environment::variable;

/// How long a test waits for a program before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a program will be started: in an empty environment (but for `PATH` and `TMPDIR`), with an
/// empty home folder of its own.
#[derive(Debug)]
pub struct Launch {
    command: Command,
    home: TempDir,
    name: String,
}

impl Launch {
    /// Will start a program of the workspace, such as `git-pull`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self::program(&binaries().join(name))
    }

    /// Will start any program.
    ///
    /// # Panics
    /// When there is no room for its home folder.
    #[must_use]
    pub fn program(path: &Path) -> Self {
        let home = tempfile::tempdir().expect("there is room for a temporary folder");
        let mut command = Command::new(path);
        command
            .env_clear()
            .env("HOME", home.path())
            .env("RUST_BACKTRACE", "1")
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in ["PATH", "TMPDIR"] {
            if let Some(value) = variable(name) {
                command.env(name, value);
            }
        }
        Self { command, home, name: path.display().to_string() }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Starts it; needs a tokio runtime.
    ///
    /// # Panics
    /// When the program is not there.
    #[must_use]
    pub fn start(mut self) -> Process {
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.name));
        let id = child.id().expect("it has just been started");
        let lines = watch::Sender::new(Vec::new());
        collect(child.stdout.take().expect("it is piped"), lines.clone());
        collect(child.stderr.take().expect("it is piped"), lines.clone());
        Process { child, id, lines: lines.subscribe(), home: self.home, name: self.name }
    }
}

/// A running program, with all that it started in its process group; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    id: u32,
    lines: watch::Receiver<Vec<String>>,
    home: TempDir,
    name: String,
}

impl Process {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What it has printed so far, on standard output and standard error.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits for a line that contains `text`, and returns the first one.
    ///
    /// # Panics
    /// When there is none within half a minute, or the program ends before.
    pub async fn line(&self, text: &str) -> String {
        let mut lines = self.lines.clone();
        let find = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        let found = tokio::time::timeout(PATIENCE, lines.wait_for(find)).await;
        let found = found.ok().and_then(|found| {
            let found = found.ok()?;
            found.iter().find(|line| line.contains(text)).cloned()
        });
        found.unwrap_or_else(|| panic!("{} never said {text:?}: {:#?}", self.name, self.lines()))
    }

    /// The address that it listens on, by its line `… listening … 127.0.0.1:<port>`.
    ///
    /// # Panics
    /// When it says none within half a minute.
    pub async fn address(&self) -> SocketAddr {
        let line = self.line("listening").await;
        let start = line.find("127.0.0.1:").unwrap_or_else(|| panic!("no address in {line:?}"));
        let rest = &line[start..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
        let address = &rest[..end.unwrap_or(rest.len())];
        address.parse().unwrap_or_else(|error| panic!("{address:?}: {error}"))
    }

    /// The URL of a path, once it listens.
    pub async fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address().await)
    }

    /// Sends it a signal; not to its group.
    ///
    /// # Panics
    /// When it has been waited for already.
    pub fn signal(&self, signal: Signal) {
        assert!(self.child.id().is_some(), "{} has ended", self.name);
        kill_process(self.pid(), signal).expect("a child that was not waited for can be signalled");
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not within half a minute.
    pub async fn exit(&mut self) -> ExitStatus {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("{} does not end: {:#?}", self.name, self.lines()),
        }
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// Never, but for a broken kernel.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked for").is_none()
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.id).expect("the kernel's ids are that small");
        Pid::from_raw(id).expect("no child has the id 0")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once it was waited for, its id may be somebody else's.
        if self.child.id().is_some() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
        }
    }
}

/// Appends each line of `output`, as long as it comes.
fn collect(output: impl AsyncRead + Unpin + Send + 'static, lines: watch::Sender<Vec<String>>) {
    tokio::spawn(async move {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            lines.send_modify(|lines| lines.push(text));
            line.clear();
        }
    });
}
