//! Jobs, as a caller with curl gives them.

use std::process::{Child, Command, Stdio};

use end_to_end::binaries;
use end_to_end::sse::{Frame, assert_complete, parse};
use serde_json::{Value, json};

use crate::engine::Engine;

/// A caller of the gateway.
#[derive(Clone)]
pub(crate) struct Client<'a> {
    pub(crate) token: &'a str,
    pub(crate) way: Way<'a>,
}

/// How a caller reaches the gateway.
#[derive(Clone)]
pub(crate) enum Way<'a> {
    /// At the port of its node, as with `swarm.host-ports.yml`.
    Port(&'a Engine),
    /// By its name, from a container on its network: the beginning of a command line that runs there.
    /// This takes the place of the ingress mesh, which needs IPVS in the kernel.
    Name(Vec<String>),
}

impl Way<'_> {
    fn entrance(&self) -> Vec<String> {
        match self {
            Self::Port(engine) => engine.network().entrance().to_vec(),
            Self::Name(entrance) => entrance.clone(),
        }
    }

    fn host(&self) -> &'static str {
        match self {
            Self::Port(_) => "127.0.0.1",
            Self::Name(_) => "tasks.gateway",
        }
    }
}

/// A stream that curl follows.
pub(crate) struct Following(Child);

impl Client<'_> {
    /// What the gateway answers to a GET, if it answers.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let url = self.url(path);
        let output = self.curl(&["--max-time", "5", "--fail", &url]).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Posts JSON; the answer's status and body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut curl = self.curl(&["--max-time", "30", "--write-out", "\n%{http_code}"]);
        let output = curl.args(["--data", &body.to_string(), &self.url(path)]).output();
        let text = String::from_utf8(output.expect("curl runs").stdout).expect("UTF-8");
        let (body, status) = text.rsplit_once('\n').expect("curl writes the status last");
        (status.parse().expect("a status"), serde_json::from_str(body).unwrap_or_default())
    }

    /// Submits a job and follows it, as `curl -N` does.
    pub(crate) fn run(&self, body: &Value) -> Following {
        let mut curl = self.curl(&["--no-buffer", "--request", "POST"]);
        curl.args(["--data", &body.to_string(), &self.url("/api/workflow")]);
        Following(curl.stdout(Stdio::piped()).spawn().expect("curl runs"))
    }

    /// Submits a job and does not wait for it; its id, or why it was not accepted at once.
    pub(crate) fn try_submit(&self, body: &Value) -> Result<String, String> {
        let mut curl = self.curl(&["--header", "Prefer: respond-async", "--max-time", "60"]);
        let output = curl.args(["--data", &body.to_string(), &self.url("/api/workflow")]).output();
        let output = output.expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let id = serde_json::from_str(&text).ok().and_then(|job: Value| {
            let id = job["id"].as_str()?;
            Some(id.to_owned())
        });
        id.ok_or_else(|| format!("{text} {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The same, which must succeed.
    pub(crate) fn submit(&self, body: &Value) -> String {
        self.try_submit(body).unwrap_or_else(|refusal| panic!("not accepted: {refusal}"))
    }

    /// The job's state, if the gateway answers.
    pub(crate) fn state(&self, id: &str) -> Option<String> {
        let job = self.get(&format!("/api/jobs/{id}"))?;
        Some(job["state"].as_str()?.to_owned())
    }

    /// The whole stream of a job, from its beginning.
    pub(crate) fn events(&self, id: &str) -> Following {
        let mut curl = self.curl(&["--no-buffer", &self.url(&format!("/api/jobs/{id}/events"))]);
        Following(curl.stdout(Stdio::piped()).spawn().expect("curl runs"))
    }

    /// Whether the job has ended, as far as the gateway answers.
    pub(crate) fn has_ended(&self, id: &str) -> bool {
        let state = self.state(id);
        state.is_some_and(|state| !["queued", "running"].contains(&state.as_str()))
    }

    /// Runs the command line of Oneshift; what it prints.
    pub(crate) fn oneshift(&self, arguments: &[&str]) -> String {
        let entrance = self.way.entrance();
        let output = Command::new(&entrance[0])
            .args(&entrance[1..])
            .arg(binaries().join("oneshift"))
            .args(arguments)
            .env("ONESHIFT_URL", self.url(""))
            .env("ONESHIFT_TOKEN", self.token)
            .stdin(Stdio::null())
            .output()
            .expect("the command line runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "oneshift {arguments:?}: {out}{err}");
        out
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}:5000{path}", self.way.host())
    }

    fn curl(&self, arguments: &[&str]) -> Command {
        let entrance = self.way.entrance();
        let mut command = Command::new(&entrance[0]);
        command.args(&entrance[1..]).args(["curl", "--silent", "--show-error"]);
        command.args(["--header", &format!("Authorization: Bearer {}", self.token)]);
        command.args(arguments).stdin(Stdio::null());
        command
    }
}

impl Following {
    /// All events to the end of the stream.
    pub(crate) fn frames(self) -> Vec<Frame> {
        let output = self.0.wait_with_output().expect("curl ends");
        parse(&String::from_utf8(output.stdout).expect("events are UTF-8"))
    }

    /// The outcome; panics unless the stream is whole.
    pub(crate) fn outcome(self) -> Value {
        let frames = self.frames();
        assert_complete(&frames)["outcome"].clone()
    }
}

/// A job whose agent does what this shell script says.
pub(crate) fn job(repository: &str, script: &str) -> Value {
    json!({ "prompt": script, "repoUrl": repository })
}
