//! The one thread that writes.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use service::protocol::JobId;
use tokio::sync::{mpsc, oneshot};

use super::Counts;
use super::change::{Change, Changed};
use super::error::StoreError;
use super::insert::NewRecord;
use super::parking::Parking;
use super::schema::BUSY_TIMEOUT;
use super::sweep::{Sweep, Swept, sweep};
use crate::chunk::Chunk;
use crate::live::Live;

/// Most requests, and about most bytes, of one transaction: a later one waits for the next.
const MAX_BATCH: usize = 512;
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How long the emptying of the log may wait for those who read in it; reads are short.
const LOG_WAIT: Duration = Duration::from_millis(100);

pub(super) enum Work {
    Write(Request),
    Sweep(Sweep),
    Stop,
    /// A fault in the code that writes.
    #[cfg(test)]
    Panic,
}

/// Something to write, and who wants to know what came of it.
pub(super) enum Request {
    Insert { new: Box<NewRecord>, answer: oneshot::Sender<Result<i64, StoreError>> },
    Change { change: Arc<Change>, answer: oneshot::Sender<Result<Changed, StoreError>> },
    Park { parking: Parking, answer: oneshot::Sender<Result<(), StoreError>> },
}

/// What came of a request, to be told once it is on disk.
enum Written {
    Inserted(i64),
    Changed(Changed),
    Parked,
}

/// Why a batch was not committed.
enum Failure {
    /// Nothing can be written for now: somebody else has the file.
    Store(StoreError),
    /// These requests cannot be, at least not together.
    Requests(StoreError),
}

pub(super) struct Writer {
    connection: Connection,
    max_event_bytes: u64,
    live: Arc<Live>,
    counts: Arc<Counts>,
    /// Whether SQLite's log may hold credentials that were wiped since.
    has_stale_log: bool,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        max_event_bytes: u64,
        live: Arc<Live>,
        counts: Arc<Counts>,
    ) -> Self {
        // What an earlier run left in the log may hold any.
        Self { connection, max_event_bytes, live, counts, has_stale_log: true }
    }

    pub(super) fn run(mut self, mut work: mpsc::Receiver<Work>) {
        loop {
            let Batch { requests, sweep, is_last } = next_batch(&mut work);
            if !requests.is_empty() {
                self.commit_all(requests);
            }
            if let Some(sweep) = sweep {
                self.sweep(sweep);
            }
            if self.has_stale_log && (is_last || work.is_empty()) {
                self.empty_log();
            }
            if is_last {
                return;
            }
        }
    }

    /// Moves what is in SQLite's log into the file proper, where wiped is wiped. If somebody reads
    /// in it for too long, this is left to another time.
    fn empty_log(&mut self) {
        let empty = || {
            self.connection.busy_timeout(LOG_WAIT)?;
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            self.connection.query_row(sql, [], |row| row.get::<_, bool>(0))
        };
        let emptied = empty();
        // Whatever came of it: the next write waits as long as ever.
        let restored = self.connection.busy_timeout(BUSY_TIMEOUT);
        match restored.and(emptied) {
            Ok(was_blocked) => self.has_stale_log = was_blocked,
            Err(error) => tracing::error!(%error, "the store's log cannot be emptied"),
        }
    }

    /// Forgets some old jobs, and ends the streams of those who follow them.
    fn sweep(&mut self, wanted: Sweep) {
        let mut swept = || {
            let transaction =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let swept = sweep(&transaction, wanted.before)?;
            transaction.commit()?;
            Ok::<_, StoreError>(swept)
        };
        let answer = swept().map(|Swept { jobs, has_more }| {
            jobs.into_iter().for_each(|job| self.live.forget(job));
            has_more
        });
        // An error means that nobody waits for the answer any more.
        let _ = wanted.answer.send(answer);
    }

    /// Commits a batch together, or, if that fails, each request by itself.
    fn commit_all(&mut self, batch: Vec<Request>) {
        match self.commit(&batch) {
            Ok(written) => self.tell(batch, written),
            Err(Failure::Requests(_)) if batch.len() > 1 => {
                batch.into_iter().for_each(|request| self.commit_all(vec![request]));
            }
            Err(Failure::Store(error) | Failure::Requests(error)) => {
                tracing::error!(%error, "the store cannot be written");
                batch.into_iter().for_each(|request| request.refuse(&error));
            }
        }
    }

    fn commit(&mut self, batch: &[Request]) -> Result<Vec<(Written, Option<Chunk>)>, Failure> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| Failure::Store(error.into()))?;
        let requests = |error: rusqlite::Error| Failure::Requests(error.into());
        let max = self.max_event_bytes;
        let written: rusqlite::Result<Vec<_>> =
            batch.iter().map(|request| request.write(&transaction, max)).collect();
        let written = written.map_err(requests)?;
        transaction.commit().map_err(requests)?;
        self.counts.add(batch.len());
        let has_wiped =
            |(it, _): &(Written, _)| matches!(it, Written::Changed(changed) if changed.has_wiped);
        self.has_stale_log |= written.iter().any(has_wiped);
        Ok(written)
    }

    /// Shows the new events to their followers, then tells those who asked.
    fn tell(&self, batch: Vec<Request>, written: Vec<(Written, Option<Chunk>)>) {
        for (request, (_, chunk)) in batch.iter().zip(&written) {
            if let (Some(job), Some(chunk)) = (request.job(), chunk) {
                self.live.publish(job, chunk);
            }
        }
        for (request, (written, _)) in batch.into_iter().zip(written) {
            request.answer(written);
        }
    }
}

/// What is to be done together.
#[derive(Default)]
struct Batch {
    requests: Vec<Request>,
    /// What is to be done after that.
    sweep: Option<Sweep>,
    is_last: bool,
}

/// What waits now, or comes next.
fn next_batch(work: &mut mpsc::Receiver<Work>) -> Batch {
    let (mut batch, mut bytes) = (Batch::default(), 0);
    let mut next = work.blocking_recv();
    loop {
        match next {
            Some(Work::Write(request)) => {
                bytes += request.size();
                batch.requests.push(request);
            }
            Some(Work::Sweep(sweep)) => return Batch { sweep: Some(sweep), ..batch },
            #[cfg(test)]
            Some(Work::Panic) => panic!("as the test asks"),
            Some(Work::Stop) | None => return Batch { is_last: true, ..batch },
        }
        if batch.requests.len() >= MAX_BATCH || bytes >= MAX_BATCH_BYTES {
            return batch;
        }
        next = match work.try_recv() {
            Ok(work) => Some(work),
            Err(_) => return batch,
        };
    }
}

impl Request {
    fn job(&self) -> Option<JobId> {
        match self {
            Self::Insert { new, .. } => Some(new.id),
            Self::Change { change, .. } => Some(change.job.id),
            Self::Park { .. } => None,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Insert { new, .. } => new.request.prompt.len(),
            Self::Change { change, .. } => change.size(),
            Self::Park { .. } => 0,
        }
    }

    fn write(
        &self,
        connection: &Connection,
        max_event_bytes: u64,
    ) -> rusqlite::Result<(Written, Option<Chunk>)> {
        match self {
            Self::Insert { new, .. } => {
                let (row, chunk) = new.write(connection)?;
                Ok((Written::Inserted(row), Some(chunk)))
            }
            Self::Change { change, .. } => {
                let (changed, chunk) = change.write(connection, max_event_bytes)?;
                Ok((Written::Changed(changed), chunk))
            }
            Self::Park { parking, .. } => {
                parking.write(connection)?;
                Ok((Written::Parked, None))
            }
        }
    }

    /// An error means that nobody waits for the answer any more.
    fn answer(self, written: Written) {
        match (self, written) {
            (Self::Insert { answer, .. }, Written::Inserted(row)) => drop(answer.send(Ok(row))),
            (Self::Change { answer, .. }, Written::Changed(it)) => drop(answer.send(Ok(it))),
            (Self::Park { answer, .. }, Written::Parked) => drop(answer.send(Ok(()))),
            _ => unreachable!("a request is answered in its own kind"),
        }
    }

    fn refuse(self, error: &StoreError) {
        match self {
            Self::Insert { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Change { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Park { answer, .. } => drop(answer.send(Err(error.clone()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn a_log_that_cannot_be_emptied_leaves_the_writers_patience_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let connection = schema::open_for_writing(folder.path()).unwrap();
        let mut writer = Writer::new(connection, 1000, Arc::default(), Arc::default());
        // Within a transaction SQLite refuses.
        writer.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer.empty_log();
        assert!(writer.has_stale_log);
        let patience = writer.connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0));
        assert_eq!(patience, Ok(i64::try_from(BUSY_TIMEOUT.as_millis()).unwrap()));
        writer.connection.execute_batch("COMMIT").unwrap();
        writer.empty_log();
        assert!(!writer.has_stale_log);
    }
}
