//! The followers of jobs, shown each event as soon as it is on disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use service::protocol::JobId;
use tokio::sync::broadcast;

use crate::chunk::Chunk;

/// Chunks that a follower may lag behind before it has to read them from the store.
const LAG: usize = 16;

/// Larger chunks are only announced, and read from the store, in pieces: a follower that does not read
/// would keep all of them in memory.
const MAX_BYTES: usize = 64 * 1024;

/// Who follows which job. Only jobs that somebody follows take up memory here.
#[derive(Debug, Default)]
pub(crate) struct Live {
    jobs: Mutex<HashMap<JobId, broadcast::Sender<News>>>,
    followers: AtomicUsize,
}

/// What followers are told.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// These are the next events.
    Shown(Chunk),
    /// The next events are in the store.
    Stored,
}

/// One follower of one job.
#[derive(Debug)]
pub(crate) struct Subscription {
    live: Arc<Live>,
    job: JobId,
    chunks: Option<broadcast::Receiver<News>>,
}

impl Live {
    /// Follows a job from now on.
    pub(crate) fn subscribe(self: &Arc<Self>, job: JobId) -> Subscription {
        let mut jobs = self.lock();
        let sender = jobs.entry(job).or_insert_with(|| broadcast::Sender::new(LAG));
        let chunks = Some(sender.subscribe());
        self.followers.fetch_add(1, Ordering::Relaxed);
        Subscription { live: Arc::clone(self), job, chunks }
    }

    /// Shows a job's new events to its followers, or tells them that there are some in the store.
    pub(crate) fn publish(&self, job: JobId, chunk: &Chunk) {
        if let Some(sender) = self.lock().get(&job) {
            let news = match chunk.frames.len() {
                ..=MAX_BYTES => News::Shown(chunk.clone()),
                _ => News::Stored,
            };
            // An error means that the last follower is about to leave.
            let _ = sender.send(news);
        }
    }

    /// Ends the streams of those who follow a job.
    pub(crate) fn forget(&self, job: JobId) {
        self.lock().remove(&job);
    }

    /// How many followers there are.
    pub(crate) fn followers(&self) -> usize {
        self.followers.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, broadcast::Sender<News>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// The next events; an error when some were missed.
    pub(crate) async fn next(&mut self) -> Result<News, broadcast::error::RecvError> {
        match &mut self.chunks {
            Some(chunks) => chunks.recv().await,
            None => Err(broadcast::error::RecvError::Closed),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut jobs = self.live.lock();
        self.chunks = None;
        if jobs.get(&self.job).is_some_and(|sender| sender.receiver_count() == 0) {
            jobs.remove(&self.job);
        }
        self.live.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use service::protocol::sse::Frame;

    use super::*;

    fn chunk(after: u64, size: usize) -> Chunk {
        let frame = Frame { id: 0, event: "output".to_owned(), data: "x".repeat(size) };
        Chunk::encode(after, &[frame], false).0
    }

    #[tokio::test]
    async fn a_follower_that_does_not_read_keeps_nothing_large_in_memory() {
        let (live, job) = (Arc::<Live>::default(), JobId::random());
        let mut follower = live.subscribe(job);
        let (small, large) = (chunk(0, 10), chunk(1, MAX_BYTES));
        live.publish(job, &small);
        live.publish(job, &large);
        assert!(large.frames.is_unique(), "nobody else has it");
        assert!(matches!(follower.next().await, Ok(News::Shown(chunk)) if chunk == small));
        assert!(matches!(follower.next().await, Ok(News::Stored)));
    }
}
