//! Whether every promise was kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use end_to_end::sse::Frame;
use end_to_end::{Stack, kernel};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::door::{Door, Followed};
use crate::submitted::Submitted;

/// How long the queue may take to empty once the killing has stopped.
const DRAIN: Duration = Duration::from_secs(300);

/// What was found. All but `endings`, `retries` and `resumed` must be zero.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// How many jobs ended in each way.
    pub(crate) endings: BTreeMap<String, u32>,
    /// Attempts beyond each job's first.
    pub(crate) retries: u64,
    /// Times that a follower came back.
    pub(crate) resumed: u32,
    /// Accepted jobs that are unknown, have not ended, or "completed" without an agent.
    pub(crate) lost: Vec<String>,
    /// Jobs with two terminal events, more runs than attempts, or a second job under their key.
    pub(crate) doubled: Vec<String>,
    /// Streams whose ids are not 1, 2, 3, …, and followers that saw something else than is stored.
    pub(crate) gaps: Vec<String>,
    /// Processes and jobs that should be gone.
    pub(crate) leftovers: Vec<String>,
}

impl Verdict {
    pub(crate) fn broken_promises(&self) -> Vec<&String> {
        let all = [&self.lost, &self.doubled, &self.gaps, &self.leftovers];
        all.into_iter().flatten().collect()
    }

    /// Waits until no job is queued or runs, and then looks at all of them.
    pub(crate) async fn on(door: &Door, stack: &Stack, all: Vec<Submitted>, runs: &Path) -> Self {
        let mut verdict = Self::default();
        verdict.drain(door).await;
        verdict.count(door, &all).await;
        for submitted in all {
            let again = door.submit(&submitted.key, &submitted.request).await;
            if again != submitted.job {
                verdict.doubled.push(format!("{}: {} and {again}", submitted.key, submitted.job));
            }
            verdict.look_at(door, submitted, runs).await;
        }
        stack.at_full_strength().await;
        let left = kernel::working_below(&stack.workspace());
        verdict.leftovers.extend(left.iter().map(|process| format!("{process:?}")));
        verdict
    }

    async fn drain(&mut self, door: &Door) {
        let deadline = Instant::now() + DRAIN;
        loop {
            let jobs = door.get("/health").await["jobs"].take();
            if jobs["queued"] == 0 && jobs["running"] == 0 {
                return;
            }
            if Instant::now() > deadline {
                return self.leftovers.push(format!("the queue never became empty: {jobs}"));
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// There are those jobs and no others.
    async fn count(&mut self, door: &Door, all: &[Submitted]) {
        let ids = |id: Option<&str>| id.unwrap_or_default().to_owned();
        let listed: BTreeSet<_> =
            door.jobs().await.iter().map(|it| ids(it["id"].as_str())).collect();
        let accepted: BTreeSet<_> = all.iter().map(|it| it.job.clone()).collect();
        if accepted.len() < all.len() {
            self.doubled.push("two keys have one job".to_owned());
        }
        self.lost.extend(accepted.difference(&listed).map(|job| format!("{job}: not listed")));
        self.doubled.extend(listed.difference(&accepted).map(|job| format!("{job}: nobody's")));
    }

    async fn look_at(&mut self, door: &Door, submitted: Submitted, runs: &Path) {
        let job = &submitted.job;
        let view = door.get(&format!("/api/jobs/{job}")).await;
        let attempts = view["attempt"].as_u64().unwrap_or_default();
        self.retries += attempts.saturating_sub(1);
        let ending = ending(&view);
        *self.endings.entry(ending.clone()).or_default() += 1;
        if matches!(ending.as_str(), "queued" | "running") {
            // Its stream would not end.
            return self.lost.push(format!("{job}: {view}"));
        }
        // An agent appends its process id as soon as it runs.
        let lines = std::fs::read_to_string(runs.join(job)).unwrap_or_default();
        let runs = lines.lines().count() as u64;
        if runs > attempts {
            self.doubled.push(format!("{job}: {runs} runs in {attempts} attempts"));
        }
        if ending == "completed" && runs == 0 {
            self.lost.push(format!("{job}: completed without an agent"));
        }
        let stored = door.follow(job).await.frames;
        self.look_at_stream(job, &stored);
        if let Some(follower) = submitted.follower {
            self.compare(job, &stored, &follower.await.expect("no follower panics"));
        }
    }

    fn look_at_stream(&mut self, job: &str, frames: &[Frame]) {
        let has_its_number = |(n, frame): (u64, &Frame)| frame.id == Some(n.to_string());
        if !(1..).zip(frames).all(has_its_number) {
            let ids: Vec<_> = frames.iter().map(|frame| frame.id.as_deref()).collect();
            self.gaps.push(format!("{job}: {ids:?}"));
        }
        match frames.iter().filter(|frame| frame.is_terminal()).count() {
            0 => self.lost.push(format!("{job}: no terminal event")),
            1 if frames.last().is_some_and(Frame::is_terminal) => {}
            ends => self.doubled.push(format!("{job}: {ends} ends, or events after the end")),
        }
    }

    fn compare(&mut self, job: &str, stored: &[Frame], followed: &Followed) {
        self.resumed += followed.connections.saturating_sub(1);
        if followed.frames != stored {
            let ids: Vec<_> = followed.frames.iter().map(|frame| frame.id.as_deref()).collect();
            self.gaps.push(format!("{job}: its follower saw {ids:?} of {}", stored.len()));
        }
    }
}

/// For example `failed worker_lost`, or `queued`.
fn ending(job: &Value) -> String {
    let words = [job["state"].as_str(), job["outcome"]["reason"].as_str()];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
