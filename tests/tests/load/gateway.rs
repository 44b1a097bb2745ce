//! A gateway without workers, and what the kernel knows of any gateway.

use std::fs;
use std::net::SocketAddr;

use end_to_end::{Launch, Process, http};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A gateway that nobody gives workers to.
pub(crate) struct Gateway {
    process: Process,
    address: SocketAddr,
    data: TempDir,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let process = launch("127.0.0.1:0", &data).start();
        Self { address: process.address().await, process, data }
    }

    /// Kills it, and starts another in its place.
    pub(crate) async fn replace(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.exit().await;
        self.process = launch(&self.address.to_string(), &self.data).start();
        self.process.address().await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = http::client().get(self.url(path)).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Submits a job without following it; returns its id.
    pub(crate) async fn submit(&self, prompt: String) -> String {
        let body = json!({"prompt": prompt, "repoUrl": "https://host.example/org/repo"});
        let post = http::client().post(self.url("/api/workflow")).header("prefer", "respond-async");
        let answer = post.body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        let job: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        job["id"].as_str().unwrap().to_owned()
    }
}

fn launch(listen: &str, data: &TempDir) -> Launch {
    Launch::of("gateway")
        .env("ONESHIFT_LISTEN", listen)
        .env("ONESHIFT_DATA", data.path())
        .env("ONESHIFT_CLUSTER_TOKEN", "a secret of the inside")
        .env("ONESHIFT_LOG", "warn,gateway=info")
}

/// A program's memory in MiB.
pub(crate) fn memory(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

/// How many files and sockets a program has open.
pub(crate) fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Sets the limit of open files of a program, and of those that it starts from now on.
pub(crate) fn limit_files(process: u32, count: u64) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    let limit = Rlimit { current: Some(count), maximum: Some(count) };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
}

/// Lets this process, and all that it starts, have so many files open.
pub(crate) fn need_files(count: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= count) {
        return;
    }
    let maximum = maximum.map(|maximum| maximum.max(count));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum });
    assert!(
        raised.is_ok(),
        "this test needs {count} open files: raise the limit, as with ulimit -n"
    );
}
