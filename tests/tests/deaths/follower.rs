//! A client that follows a job, whatever happens to the gateway.

use std::time::Duration;

use end_to_end::sse::{Events, Frame};
use end_to_end::{Ended, http};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Between two tries to reach the gateway.
const PAUSE: Duration = Duration::from_millis(20);

/// Longer than anything that is awaited here: who waits for so long waits in vain.
const PATIENCE: Duration = Duration::from_secs(150);

/// Follows a job from its first event to its last, and comes back whenever the line breaks.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) job: String,
    frames: watch::Receiver<Vec<Frame>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Follows the job `job` of the gateway at `url`, of which the events `seen` are known already.
    pub(crate) fn of(url: &str, job: &str, seen: Vec<Frame>) -> Self {
        let (sender, frames) = watch::channel(seen);
        let address = format!("{url}/api/jobs/{job}/events");
        let task = tokio::spawn(async move { follow(&address, &sender).await });
        Self { job: job.to_owned(), frames, task }
    }

    /// Waits for the first event that is wanted.
    pub(crate) async fn until(&self, is_wanted: impl Fn(&Frame) -> bool) {
        let mut frames = self.frames.clone();
        let found = frames.wait_for(|frames| frames.iter().any(&is_wanted));
        let found = timeout(PATIENCE, found).await.is_ok_and(|found| found.is_ok());
        assert!(found, "the event never came: {:#?}", self.frames.borrow());
    }

    /// Waits for a step's start.
    pub(crate) async fn until_step(&self, step: &str) {
        let (step, started) = (format!("\"step\":\"{step}\""), "\"state\":\"started\"");
        let is_start = |frame: &Frame| frame.data.contains(&step) && frame.data.contains(started);
        self.until(|frame| frame.event == "step" && is_start(frame)).await;
    }

    /// Waits for the job's end.
    pub(crate) async fn end(self) -> Ended {
        let ended = timeout(PATIENCE, self.task).await;
        let frames = self.frames.borrow().clone();
        assert!(ended.is_ok(), "the job never ends: {frames:#?}");
        Ended::of(frames)
    }
}

async fn follow(address: &str, frames: &watch::Sender<Vec<Frame>>) {
    while !frames.borrow().last().is_some_and(Frame::is_terminal) {
        let position = frames.borrow().len().to_string();
        let request = http::client().get(address).header("last-event-id", position);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {
                let mut events = Events::of(answer).await;
                while let Some(frame) = events.next().await {
                    frames.send_modify(|frames| frames.push(frame));
                }
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
