//! What can be asked of the store.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row};
use serde::de::DeserializeOwned;
use service::protocol::job::Job;
use service::protocol::{JobId, Reason, WorkerId};

use super::error::StoreError;
use super::insert::Idempotency;
use super::{Store, signed, unsigned};
use crate::chunk::Chunk;
use crate::job_ref::JobRef;

/// How long an idempotency key goes on to name its job after the job's end: 24 h.
pub(super) const KEY_LIFETIME_MS: i64 = 24 * 3600 * 1000;

/// Replay reads events in portions of about this size, so that a slow follower holds little.
const PORTION_BYTES: usize = 32 * 1024;

/// A job as it is shown, with what is needed to read on.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) row: i64,
    /// The submitter's name; empty when nobody needs a token.
    pub(crate) token: String,
    pub(crate) job: Job,
}

/// A job that has not ended, as the scheduler must know it after a start.
#[derive(Clone, Debug)]
pub(crate) struct OpenJob {
    pub(crate) job: JobRef,
    pub(crate) token: String,
    pub(crate) repo: String,
    /// The agent that it asks for, if it names one.
    pub(crate) agent: Option<String>,
    pub(crate) priority: i32,
    pub(crate) retries: u32,
    pub(crate) retries_used: u32,
    pub(crate) attempt: u32,
    pub(crate) agent_started: bool,
    pub(crate) cancel: Option<Reason>,
    /// Until when it pauses.
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) concurrency_key: Option<String>,
    pub(crate) worker: Option<WorkerId>,
}

/// Where the reading of a worker's stream was when the gateway stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) upstream: u64,
    pub(crate) has_started: bool,
}

/// What a [`Record`] is read from.
pub(super) const COLUMNS: &str = "jobs.row, id, state, token, created_at, started_at, finished_at,
    attempt, last_event, outcome, request";

/// Where in it the request is.
pub(super) const REQUEST_COLUMN: usize = 10;

impl Store {
    /// A job by its id.
    pub(crate) async fn job(&self, id: JobId) -> Result<Option<Record>, StoreError> {
        self.read(move |connection| {
            let sql = format!(
                "SELECT {COLUMNS} FROM jobs JOIN requests ON requests.job = jobs.row WHERE id = ?"
            );
            connection.prepare_cached(&sql)?.query_row([id.to_string()], record).optional()
        })
        .await
    }

    /// The job that this key names for this submitter now, and the hash of its body.
    pub(crate) async fn keyed(
        &self,
        token: String,
        key: String,
    ) -> Result<Option<(JobRef, Idempotency)>, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT row, id, body_hash FROM jobs WHERE token = ? AND idempotency_key = ?
                       AND (finished_at IS NULL OR finished_at >= ?)";
            let alive = Timestamp::now().as_millisecond() - KEY_LIFETIME_MS;
            let mut statement = connection.prepare_cached(sql)?;
            let read =
                |row: &Row<'_>| Ok((JobRef { row: row.get(0)?, id: parsed(row, 1)? }, row.get(2)?));
            let found = statement.query_row((token, &key, alive), read).optional()?;
            Ok(found.map(|(job, body_hash)| (job, Idempotency { key, body_hash })))
        })
        .await
    }

    /// The next portion of a job's events after `position`; empty when there are none yet.
    pub(crate) async fn events(&self, row: i64, position: u64) -> Result<Vec<Chunk>, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT first, last, is_end, frames FROM events
                       WHERE job = ? AND last > ? ORDER BY last";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([row, signed(position)])?;
            let (mut chunks, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let frames: Vec<u8> = row.get(3)?;
                bytes += frames.len();
                chunks.push(Chunk {
                    first: unsigned(row.get(0)?),
                    last: unsigned(row.get(1)?),
                    is_end: row.get(2)?,
                    frames: frames.into(),
                });
                if bytes >= PORTION_BYTES {
                    break;
                }
            }
            Ok(chunks)
        })
        .await
    }

    /// The events that were appended last to a job's log.
    pub(crate) async fn last_events(&self, row: i64) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT frames FROM events WHERE job = ? ORDER BY last DESC LIMIT 1";
            connection.prepare_cached(sql)?.query_row([row], |row| row.get(0)).optional()
        })
        .await
    }

    /// The pieces of a job's patch after the first `skip`, a portion at a time.
    pub(crate) async fn patch(&self, row: i64, skip: i64) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(move |connection| {
            let sql =
                "SELECT bytes FROM patches WHERE job = ? AND piece > ? ORDER BY piece LIMIT 4";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map([row, skip], |row| row.get(0))?.collect()
        })
        .await
    }

    /// All jobs that have not ended.
    pub(crate) async fn open_jobs(&self) -> Result<Vec<OpenJob>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT row, id, token, priority, retries, retries_used, attempt,
                       agent_started, cancel, concurrency_key, worker, repo, not_before, agent
                       FROM jobs
                       WHERE state IN ('queued', 'running') ORDER BY row";
            connection.prepare(sql)?.query_map([], open_job)?.collect()
        })
        .await
    }

    /// How far a running job's worker has been read.
    pub(crate) async fn mark(&self, row: i64) -> Result<Mark, StoreError> {
        self.read(move |connection| {
            let sql = "SELECT upstream, started_at IS NOT NULL FROM jobs WHERE row = ?";
            connection.prepare_cached(sql)?.query_row([row], |row| {
                Ok(Mark { upstream: unsigned(row.get(0)?), has_started: row.get(1)? })
            })
        })
        .await
    }
}

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let outcome: Option<String> = row.get(9)?;
    let token: String = row.get(3)?;
    let request: String = row.get(REQUEST_COLUMN)?;
    Ok(Record {
        row: row.get(0)?,
        job: Job {
            id: parsed(row, 1)?,
            state: quoted(row, 2)?,
            created_at: time(row, 4)?.unwrap_or_default(),
            started_at: time(row, 5)?,
            finished_at: time(row, 6)?,
            attempt: row.get(7)?,
            submitted_by: (!token.is_empty()).then(|| token.clone()),
            request: from_json(&request)?,
            queued: None,
            last_event: unsigned(row.get(8)?),
            outcome: outcome.as_deref().map(from_json).transpose()?,
        },
        token,
    })
}

fn open_job(row: &Row<'_>) -> rusqlite::Result<OpenJob> {
    let cancel: Option<String> = row.get(8)?;
    let worker: Option<String> = row.get(10)?;
    Ok(OpenJob {
        job: JobRef { row: row.get(0)?, id: parsed(row, 1)? },
        token: row.get(2)?,
        priority: row.get(3)?,
        retries: row.get(4)?,
        retries_used: row.get(5)?,
        attempt: row.get(6)?,
        agent_started: row.get(7)?,
        cancel: cancel.as_deref().map(from_json).transpose()?,
        concurrency_key: row.get(9)?,
        worker: worker.map(|_| parsed(row, 10)).transpose()?,
        repo: row.get(11)?,
        not_before: time(row, 12)?,
        agent: row.get(13)?,
    })
}

pub(super) fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    let millisecond: Option<i64> = row.get(index)?;
    millisecond.map(|it| Timestamp::from_millisecond(it).map_err(unreadable)).transpose()
}

pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get_ref(index)?.as_str()?.parse().map_err(unreadable)
}

/// A word of the protocol, which in JSON has quotes.
fn quoted<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    from_json(&format!("{:?}", row.get_ref(index)?.as_str()?))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(unreadable)
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}
