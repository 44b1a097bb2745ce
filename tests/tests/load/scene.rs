//! A house with a job in it, and whether both are well.

use end_to_end::git_server::{Access, GitServer};
use end_to_end::sse::{Events, Frame, parse};
use end_to_end::{Ended, Setup, Stack};
use serde_json::{Value, json};

/// Two workers of each kind, and a repository.
pub(crate) struct Scene {
    pub(crate) stack: Stack,
    server: GitServer,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::of(Setup::new()).await
    }

    pub(crate) async fn of(setup: Setup) -> Self {
        let server = GitServer::start();
        server.repository("demo", |repository| {
            repository.file("a.txt", "a\n").commit("first");
        });
        Self { stack: setup.sizes(2, 2, 2).start().await, server }
    }

    /// The gateway's process.
    pub(crate) fn gateway(&self) -> u32 {
        self.stack.processes("gateway")[0]
    }

    pub(crate) fn request(&self, prompt: &str) -> Value {
        json!({"prompt": prompt, "repoUrl": self.server.url(Access::Public, "demo")})
    }

    /// A job that waits until it is told to go on; its id, and its events after the agent's first.
    pub(crate) async fn waiting(&self) -> (String, Events) {
        let prompt = "echo ready; while [ ! -e go ]; do sleep 0.05; done; echo b > b.txt";
        let mut events = self.stack.submit(&self.request(prompt)).await;
        let frame = events.until(|frame| frame.data.contains("\"ready\"")).await;
        (frame.json()["jobId"].as_str().unwrap().to_owned(), events)
    }

    pub(crate) fn go_on(&self, job: &str) {
        std::fs::write(self.stack.job_folder(job).join("repo/go"), "").unwrap();
    }

    /// A job that has ended, as it is stored.
    pub(crate) async fn ended(&self, job: &str) -> Ended {
        Ended::of(parse(&self.stack.text(&format!("/api/jobs/{job}/events")).await))
    }

    /// Whoever comes is served, and so is who is there: with a new job, and with the rest of one that
    /// runs already.
    pub(crate) async fn serves(&self, (job, events): (String, Events)) {
        let ended = self.stack.run(&self.request("echo c > c.txt")).await;
        assert_eq!(ended.ending(), "completed", "{}", ended.outcome);
        self.go_on(&job);
        let rest = events.rest().await;
        assert!(rest.last().is_some_and(Frame::is_terminal));
        let whole = self.ended(&job).await;
        assert_eq!(rest, whole.frames[whole.frames.len() - rest.len()..]);
        assert_eq!(whole.ending(), "completed", "{}", whole.outcome);
        // Workers that have done a job are replaced, and the new ones attach.
        self.stack.at_full_strength().await;
    }
}
