//! What the gateway remembers: jobs, their events and patches, in one SQLite file.
//!
//! One thread writes. It takes whatever waits, commits it in one transaction with one fsync, shows
//! the new events to the followers and then answers, so nobody sees what is not on disk. Readers
//! have connections of their own.

mod attempt;
mod bound;
mod change;
mod error;
mod insert;
mod list;
mod lock;
mod parking;
mod query;
mod readers;
mod schema;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::live::Live;
pub(crate) use attempt::{Attempt, Told};
pub(crate) use change::{Change, Changed, Transition, now};
pub use error::OpenError;
pub(crate) use error::StoreError;
pub(crate) use insert::{Idempotency, NewRecord};
pub(crate) use list::Filter;
pub(crate) use query::{OpenJob, Record};
use readers::Readers;
use writer::{Request, Work};

/// Requests that may wait for the writer; who comes later waits for a place here.
const QUEUE: usize = 1024;

/// How much the store has written since its start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    commits: AtomicU64,
    changes: AtomicU64,
}

impl Counts {
    /// Transactions, and the changes that they held.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.commits.load(Ordering::Relaxed), self.changes.load(Ordering::Relaxed))
    }

    fn add(&self, changes: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes as u64, Ordering::Relaxed);
    }
}

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    work: mpsc::Sender<Work>,
    readers: Arc<Readers>,
    pub(crate) counts: Arc<Counts>,
}

/// The store's writing thread.
#[derive(Debug)]
pub(crate) struct Writing {
    work: mpsc::Sender<Work>,
    thread: JoinHandle<()>,
    ended: CancellationToken,
}

impl Store {
    /// Opens the store in `folder`, which is made if it does not exist; waits up to `wait` for
    /// another process to let go of it. Of each job, about `max_event_bytes` of events are kept.
    /// Blocks.
    ///
    /// # Errors
    /// When the folder or the file in it cannot be used.
    pub(crate) fn open(
        folder: &Path,
        wait: Duration,
        max_event_bytes: u64,
        live: Arc<Live>,
    ) -> Result<(Self, Writing), OpenError> {
        let lock = lock::acquire(folder, wait)?;
        let connection = schema::open_for_writing(folder)?;
        let readers = Arc::new(Readers::open(folder)?);
        let (work, waiting) = mpsc::channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let writer = writer::Writer::new(connection, max_event_bytes, live, Arc::clone(&counts));
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let run = move || {
            // Whatever ends the thread.
            let _guards = (lock, guard);
            writer.run(waiting);
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(run);
        let thread = thread.map_err(|error| OpenError::io(folder, error))?;
        let writing = Writing { work: work.clone(), thread, ended };
        Ok((Self { work, readers, counts }, writing))
    }

    /// Commits a new job with its `accepted` event and returns its row.
    pub(crate) async fn insert(&self, new: NewRecord) -> Result<i64, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Insert { new: Box::new(new), answer }, answered).await
    }

    /// Commits a change of a job.
    pub(crate) async fn change(
        &self,
        change: impl Into<Arc<Change>>,
    ) -> Result<Changed, StoreError> {
        let change = change.into();
        let (answer, answered) = oneshot::channel();
        self.send(Request::Change { change, answer }, answered).await
    }

    /// Has the writing thread panic.
    #[cfg(test)]
    pub(crate) async fn break_down(&self) {
        self.work.send(Work::Panic).await.expect("it has not ended yet");
    }

    async fn send<T>(
        &self,
        request: Request,
        answered: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let sent = self.work.send(Work::Write(request)).await;
        sent.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Writing {
    /// Resolves when the thread has ended. Unless it was told to, it has panicked: nothing can be
    /// stored any more.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Commits what is waiting and ends the thread.
    pub(crate) async fn close(self) {
        // An error means that the thread has ended already.
        let _ = self.work.send(Work::Stop).await;
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

/// SQLite's integers are signed; nothing here comes near the end of them.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
