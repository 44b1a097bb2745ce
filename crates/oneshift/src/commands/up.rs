//! `oneshift up`: a gateway and its workers on this machine.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::absolute;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::UpArgs;
use crate::config::Config;
use crate::failure::Usage;
use crate::supervisor::{Binaries, Machine, Sizes, Stack, Surroundings, random_token};
use crate::view::{Line, Tone, out, text};

/// What is logged by default: a worker's ordinary life would be a few lines for each job.
const LOG: &str = "warn";

/// A signal that follows another this closely is the same one.
const ECHO: Duration = Duration::from_millis(200);

/// How long the port may be taken, and the pause between two looks.
const PORT_WAIT: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// Starts everything and keeps it running until somebody presses Ctrl-C.
pub(crate) async fn up(args: UpArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let binaries = Binaries::find(config)?;
    let surroundings = surroundings(&args, config)?;
    let sizes = sizes(&args);
    free(args.port).await?;
    let mut stops = Stops::listen()?;
    let stack = tokio::select! {
        stack = Stack::start(&binaries, &surroundings, sizes) => stack?,
        () = stops.next() => return Ok(ExitCode::SUCCESS),
    };
    for line in banner(&surroundings, sizes) {
        out::line(&line.paint())?;
    }
    stops.next().await;
    let note = "stopping; running jobs may go on for a while, Ctrl-C again ends them at once\n";
    // Jobs must be drained even if nobody can be told: the terminal may be gone.
    let _ = std::io::stderr().write_all(note.as_bytes());
    stack.stop(stops.again()).await;
    Ok(ExitCode::SUCCESS)
}

fn surroundings(args: &UpArgs, config: &Config) -> anyhow::Result<Surroundings> {
    let data = match &args.data {
        Some(folder) => folder.clone(),
        None => config.data_folder()?,
    };
    let workspace = args.workspace.clone().unwrap_or_else(|| data.join("workspace"));
    let whole = |folder| absolute(folder).context("cannot find out the current folder");
    Ok(Surroundings {
        config: config.clone(),
        port: args.port,
        cluster_token: random_token()?,
        data: whole(data)?,
        workspace: whole(workspace)?,
        log: LOG,
        agent_command: None,
    })
}

fn sizes(args: &UpArgs) -> Sizes {
    let fitting = Sizes::fitting(Machine::this());
    Sizes {
        workflow: args.workflow.unwrap_or(fitting.workflow),
        git_pull: args.git_pull.unwrap_or(fitting.git_pull),
        claude_exec: args.claude_exec.unwrap_or(fitting.claude_exec),
    }
}

/// Looks whether the port can be had, so that a gateway that cannot listen is told well. The gateway
/// of a supervisor that was killed a moment ago has it for a moment more.
async fn free(port: u16) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                return Err(error).with_context(|| format!("cannot listen on 127.0.0.1:{port}"));
            }
            Err(_) if since.elapsed() < PORT_WAIT => tokio::time::sleep(LOOK).await,
            Err(_) => {
                let other = port.checked_add(1).unwrap_or(5000);
                return Err(Usage::error(format!(
                    "port {port} on 127.0.0.1 is taken; choose another, such as --port {other}"
                )));
            }
        }
    }
}

fn banner(surroundings: &Surroundings, sizes: Sizes) -> Vec<Line> {
    let url = format!("http://127.0.0.1:{}", surroundings.port);
    let Sizes { workflow, git_pull, claude_exec } = sizes;
    let path = |path: &std::path::Path| text::one_line(&path.display().to_string());
    let plain = |text: String| Line::new(Tone::Plain, text);
    let address = if surroundings.port == 5000 { String::new() } else { format!(" --url {url}") };
    let body = r#"{"prompt":"Add a README file","repoUrl":"file:///path/to/repo"}"#;
    vec![
        Line::new(Tone::Heading, format!("Oneshift is up at {url}; Ctrl-C stops it")),
        plain(String::new()),
        plain(format!(
            "  workers    {workflow} workflow, {git_pull} git-pull, {claude_exec} claude-exec"
        )),
        plain(format!("  data       {}", path(&surroundings.data))),
        plain(format!("  workspace  {}", path(&surroundings.workspace))),
        Line::new(
            Tone::Warning,
            "  agents     run as this user, without a sandbox, and with permission prompts off",
        ),
        plain(String::new()),
        plain("Give it a job:".to_owned()),
        plain(format!("  oneshift run{address} --repo . \"Add a README file\"")),
        plain(format!("  curl -N {url}/api/workflow -d '{body}'")),
        plain(String::new()),
    ]
}

/// Ctrl-C and SIGTERM.
pub(super) struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    /// From here on they no longer end this process by themselves.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for a second one that is meant as such: `timeout` and the like send the first to
    /// their child and to its group, and so twice.
    async fn again(&mut self) {
        let echoes = async {
            loop {
                self.next().await;
            }
        };
        let _: Result<(), _> = tokio::time::timeout(ECHO, echoes).await;
        self.next().await;
    }

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
