//! Jobs, as a caller with curl gives them.

use std::process::{Child, Command, Stdio};

use end_to_end::sse::{Frame, assert_complete, parse};
use serde_json::{Value, json};

use crate::engine::Engine;

/// A caller on the first node.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) token: &'a str,
}

/// A stream that curl follows.
pub(crate) struct Following(Child);

impl Client<'_> {
    /// What the gateway answers to a GET, if it answers.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let output = self.curl(&["--max-time", "5", "--fail", &url(path)]).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Posts JSON; the answer's status and body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut curl = self.curl(&["--max-time", "30", "--write-out", "\n%{http_code}"]);
        let output = curl.args(["--data", &body.to_string(), &url(path)]).output();
        let text = String::from_utf8(output.expect("curl runs").stdout).expect("UTF-8");
        let (body, status) = text.rsplit_once('\n').expect("curl writes the status last");
        (status.parse().expect("a status"), serde_json::from_str(body).unwrap_or_default())
    }

    /// Submits a job and follows it, as `curl -N` does.
    pub(crate) fn run(&self, body: &Value) -> Following {
        let mut curl = self.curl(&["--no-buffer", "--request", "POST"]);
        curl.args(["--data", &body.to_string(), &url("/api/workflow")]);
        Following(curl.stdout(Stdio::piped()).spawn().expect("curl runs"))
    }

    /// Submits a job and does not wait for it; its id.
    pub(crate) fn submit(&self, body: &Value) -> String {
        let mut curl = self.curl(&["--header", "Prefer: respond-async", "--retry", "10"]);
        curl.args(["--retry-connrefused", "--fail-with-body", "--max-time", "60"]);
        let output = curl.args(["--data", &body.to_string(), &url("/api/workflow")]).output();
        let output = output.expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let job: Value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{text} {}", String::from_utf8_lossy(&output.stderr)));
        job["id"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned()
    }

    /// The job's state, if the gateway answers.
    pub(crate) fn state(&self, id: &str) -> Option<String> {
        let job = self.get(&format!("/api/jobs/{id}"))?;
        Some(job["state"].as_str()?.to_owned())
    }

    /// The whole stream of a job, from its beginning.
    pub(crate) fn events(&self, id: &str) -> Following {
        let mut curl = self.curl(&["--no-buffer", &url(&format!("/api/jobs/{id}/events"))]);
        Following(curl.stdout(Stdio::piped()).spawn().expect("curl runs"))
    }

    fn curl(&self, arguments: &[&str]) -> Command {
        let [nsenter, net] = self.engine.network().entrance();
        let mut command = Command::new(nsenter);
        command.args([net.as_str(), "curl", "--silent", "--show-error"]);
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

fn url(path: &str) -> String {
    format!("http://127.0.0.1:5000{path}")
}
