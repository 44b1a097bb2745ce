//! A job that is followed, and when which of its events came.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Context;
use client::EventStream;
use client::protocol::job::JobState;

/// A job's stream, read as far as somebody has asked.
pub(super) struct Followed {
    stream: EventStream,
    /// When the first event of each name came.
    came: HashMap<String, Instant>,
    /// The data of the last event.
    last: String,
}

impl Followed {
    pub(super) fn new(stream: EventStream) -> Self {
        Self { stream, came: HashMap::new(), last: String::new() }
    }

    /// When the first event of this name came; reads on until it comes.
    pub(super) async fn until(&mut self, name: &str) -> anyhow::Result<Instant> {
        loop {
            if let Some(came) = self.came.get(name) {
                return Ok(*came);
            }
            let frames = self.stream.next_batch().await?;
            let now = Instant::now();
            let frames =
                frames.with_context(|| format!("a job ended without {name:?}: {}", self.last))?;
            for frame in frames {
                self.came.entry(frame.event).or_insert(now);
                self.last = frame.data;
            }
        }
    }

    /// When the job ended, which must be well.
    pub(super) async fn end(&mut self) -> anyhow::Result<Instant> {
        self.until(JobState::Completed.name()).await
    }
}
