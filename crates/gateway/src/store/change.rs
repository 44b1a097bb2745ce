//! What can happen to a job in the store: one change, one transaction.

use std::time::Duration;

use jiff::{Timestamp, Unit};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use service::protocol::job::JobState;
use service::protocol::sse::Frame;
use service::protocol::{Event, Outcome, Payload, Reason, WorkerId, WorkspaceId};

use super::bound::{self, LogSize};
use super::{signed, unsigned};
use crate::chunk::Chunk;
use crate::job_ref::JobRef;

/// A change of one job. What does not belong to a job that has ended already changes nothing.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) job: JobRef,
    pub(crate) transition: Transition,
    /// Events to append; their ids are given here.
    pub(crate) events: Vec<Frame>,
    /// How far the worker's stream has been read.
    pub(crate) upstream: Option<u64>,
    /// Whether the pieces that the patch has so far are none of it after all.
    pub(crate) drops_pieces: bool,
    /// Pieces to append to the patch.
    pub(crate) pieces: Vec<Vec<u8>>,
}

/// How a change moves the job.
#[derive(Clone, Debug)]
pub(crate) enum Transition {
    /// Not at all.
    Stay,
    /// Not at all, and only if it still waits.
    Wait,
    /// A worker is about to be given the job.
    Take { attempt: u32, worker: WorkerId },
    /// The worker has it.
    Start,
    /// Its agent may begin at any moment, in this workspace.
    AgentLeased { workspace: Option<WorkspaceId> },
    /// Its agent has begun there. What an earlier attempt left is dropped.
    AgentStarted { workspace: Option<WorkspaceId> },
    /// It waits again, after a pause. The outcome is what came of its last attempt, if it had one:
    /// should it be cancelled before the next, that is what it has to show.
    Requeue { attempt: u32, retries_used: u32, pause: Duration, outcome: Option<Box<Outcome>> },
    /// Somebody wants it to end.
    Cancel(Reason),
    /// It ends; the terminal event is made of the outcome and appended last.
    End(Box<Outcome>),
}

/// What a change did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    /// Whether the job had not ended before.
    pub(crate) was_open: bool,
    /// After [`Transition::Take`]: the request with its credentials, for the worker.
    pub(crate) request: Option<Value>,
    /// After [`Transition::End`]: the job's last events, which nobody has been shown yet. Whoever
    /// ended the job does that, once it is out of the way of other jobs.
    pub(crate) end: Option<Chunk>,
    /// Whether a credential was wiped.
    pub(super) has_wiped: bool,
}

impl Change {
    /// A change that only moves the job.
    pub(crate) fn new(job: JobRef, transition: Transition) -> Self {
        let (events, pieces) = (Vec::new(), Vec::new());
        Self { job, transition, events, upstream: None, drops_pieces: false, pieces }
    }

    /// Adds an event of the gateway's own.
    pub(crate) fn event(mut self, payload: Payload) -> Self {
        self.events.push(frame(self.job, payload));
        self
    }

    /// Roughly how many bytes this writes.
    pub(super) fn size(&self) -> usize {
        self.events.iter().map(|frame| frame.data.len()).sum()
    }

    pub(super) fn write(
        &self,
        connection: &Connection,
        max_event_bytes: u64,
    ) -> rusqlite::Result<(Changed, Option<Chunk>)> {
        let Some(before) = Before::read(connection, self.job.row)? else {
            return Ok((Changed::default(), None));
        };
        if matches!(self.transition, Transition::Wait) && !before.is_queued {
            return Ok((Changed { was_open: true, ..Changed::default() }, None));
        }
        let before = self.begin_run(connection, before)?;
        let pieces = self.write_pieces(connection, before)?;
        let mut changed = Changed { was_open: true, ..Changed::default() };
        let ending = self.ending(connection, before, pieces)?;
        if let Some(outcome) = &ending {
            changed.has_wiped = end(connection, self.job.row, outcome)?;
        } else {
            self.transit(connection, &mut changed)?;
        }
        let is_end = ending.is_some();
        let chunk = self.write_events(connection, before, ending, max_event_bytes)?;
        if is_end {
            changed.end = chunk;
            return Ok((changed, None));
        }
        Ok((changed, chunk))
    }

    fn write_events(
        &self,
        connection: &Connection,
        before: Before,
        ending: Option<Outcome>,
        max_event_bytes: u64,
    ) -> rusqlite::Result<Option<Chunk>> {
        let mut events = std::borrow::Cow::from(&self.events);
        let is_end = ending.is_some();
        if let Some(outcome) = ending {
            events.to_mut().push(frame(self.job, outcome.into_payload()));
        }
        let was_truncated = before.is_truncated;
        let mut size =
            LogSize { bytes: before.bytes, max: max_event_bytes, is_truncated: was_truncated };
        let events = bound::within(&mut size, self.job, events);
        if events.is_empty() {
            return Ok(None);
        }
        if size.is_truncated && !was_truncated {
            let sql = "UPDATE jobs SET is_truncated = 1 WHERE row = ?";
            connection.prepare_cached(sql)?.execute([self.job.row])?;
        }
        let chunk = append(connection, self.job, before.last_event, &events, is_end)?;
        accounted(connection, self.job.row, &chunk)?;
        Ok(Some(chunk))
    }

    /// Lets go of what earlier attempts have left as soon as this one's agent has begun, or has
    /// left something: until then that is what the job has to show.
    fn begin_run(&self, connection: &Connection, before: Before) -> rusqlite::Result<Before> {
        let has_run = |outcome: &Outcome| outcome.durations.execute_ms.is_some();
        let begins = match &self.transition {
            Transition::AgentStarted { .. } => true,
            Transition::End(outcome) | Transition::Requeue { outcome: Some(outcome), .. }
                if has_run(outcome) =>
            {
                true
            }
            _ => !self.pieces.is_empty(),
        };
        if !begins || before.has_begun || before.is_queued {
            return Ok(before);
        }
        let row = self.job.row;
        let sql =
            "UPDATE jobs SET agent_started = 1, has_begun = 1, last_outcome = NULL, pieces = 0
                   WHERE row = ?";
        connection.prepare_cached(sql)?.execute([row])?;
        if before.pieces > 0 {
            drop_pieces(connection, row)?;
        }
        Ok(Before { has_begun: true, pieces: 0, ..before })
    }

    fn write_pieces(&self, connection: &Connection, before: Before) -> rusqlite::Result<i64> {
        let row = self.job.row;
        if let Some(upstream) = self.upstream {
            let sql = "UPDATE jobs SET upstream = ? WHERE row = ?";
            connection.prepare_cached(sql)?.execute(params![signed(upstream), row])?;
        }
        let mut count = before.pieces;
        if self.drops_pieces && before.has_begun && count > 0 {
            drop_pieces(connection, row)?;
            count = 0;
        }
        for bytes in &self.pieces {
            count += 1;
            let sql = "INSERT INTO patches (job, piece, bytes) VALUES (?, ?, ?)";
            connection.prepare_cached(sql)?.execute(params![row, count, bytes])?;
        }
        if count != before.pieces {
            let sql = "UPDATE jobs SET pieces = ? WHERE row = ?";
            connection.prepare_cached(sql)?.execute([count, row])?;
        }
        Ok(count)
    }

    /// With what the job ends, if it ends now.
    fn ending(
        &self,
        connection: &Connection,
        before: Before,
        pieces: i64,
    ) -> rusqlite::Result<Option<Outcome>> {
        let Transition::End(outcome) = &self.transition else { return Ok(None) };
        let mut outcome = (**outcome).clone();
        if before.is_queued || !before.has_begun {
            outcome = after_attempts(connection, self.job.row, outcome)?;
        }
        outcome.patch = (pieces > 0).then(|| format!("/api/jobs/{}/patch", self.job.id));
        Ok(Some(outcome))
    }

    fn transit(&self, connection: &Connection, changed: &mut Changed) -> rusqlite::Result<()> {
        let row = self.job.row;
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            connection.prepare_cached(sql)?.execute(values)
        };
        match &self.transition {
            Transition::Stay | Transition::Wait | Transition::End(_) => {}
            Transition::Take { attempt, worker } => {
                let sql = "UPDATE jobs SET state = 'running', attempt = ?, worker = ?,
                           upstream = 0, agent_started = 0, has_begun = 0, workspace = NULL,
                           started_at = NULL WHERE row = ?";
                run(sql, params![attempt, worker.to_string(), row])?;
                changed.request = Some(request(connection, row)?);
            }
            Transition::Start => {
                let sql = "UPDATE jobs SET started_at = ? WHERE row = ?";
                run(sql, params![now().as_millisecond(), row])?;
            }
            Transition::AgentLeased { workspace } | Transition::AgentStarted { workspace } => {
                let sql = "UPDATE jobs SET agent_started = 1,
                           workspace = coalesce(?, workspace) WHERE row = ?";
                run(sql, params![workspace.map(|id| id.to_string()), row])?;
            }
            Transition::Requeue { attempt, retries_used, pause, outcome } => {
                let sql = "UPDATE jobs SET state = 'queued', attempt = ?, retries_used = ?,
                           not_before = ?, worker = NULL, last_outcome =
                           CASE WHEN has_begun THEN ?4 ELSE coalesce(last_outcome, ?4) END
                           WHERE row = ?";
                let not_before = (!pause.is_zero()).then(|| (now() + *pause).as_millisecond());
                let outcome = outcome.as_deref().map(json);
                run(sql, params![attempt, retries_used, not_before, outcome, row])?;
            }
            Transition::Cancel(reason) => {
                let sql = "UPDATE jobs SET cancel = coalesce(cancel, ?) WHERE row = ?";
                run(sql, params![json(reason), row])?;
            }
        }
        Ok(())
    }
}

/// A job that has not ended, before a change of it.
#[derive(Clone, Copy, Debug)]
struct Before {
    last_event: u64,
    pieces: i64,
    is_queued: bool,
    has_begun: bool,
    bytes: u64,
    is_truncated: bool,
}

impl Before {
    fn read(connection: &Connection, row: i64) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT last_event, pieces, state = 'queued', has_begun, event_bytes,
                   is_truncated FROM jobs WHERE row = ? AND state IN ('queued', 'running')";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Self {
                last_event: unsigned(row.get(0)?),
                pieces: row.get(1)?,
                is_queued: row.get(2)?,
                has_begun: row.get(3)?,
                bytes: unsigned(row.get(4)?),
                is_truncated: row.get(5)?,
            })
        };
        connection.prepare_cached(sql)?.query_row([row], read).optional()
    }
}

/// Appends events after `last_event`.
pub(super) fn append(
    connection: &Connection,
    job: JobRef,
    last_event: u64,
    frames: &[Frame],
    is_end: bool,
) -> rusqlite::Result<Chunk> {
    let (whole, pieces) = Chunk::encode(last_event, frames, is_end);
    let sql = "INSERT INTO events (job, first, last, is_end, frames) VALUES (?, ?, ?, ?, ?)";
    let mut insert = connection.prepare_cached(sql)?;
    for piece in pieces {
        insert.execute(params![
            job.row,
            signed(piece.first),
            signed(piece.last),
            piece.is_end,
            &piece.frames[..],
        ])?;
    }
    Ok(whole)
}

/// Notes in the job's own row what was appended.
pub(super) fn accounted(connection: &Connection, row: i64, chunk: &Chunk) -> rusqlite::Result<()> {
    let sql = "UPDATE jobs SET last_event = ?, event_bytes = event_bytes + ? WHERE row = ?";
    let bytes = signed(chunk.frames.len() as u64);
    connection.prepare_cached(sql)?.execute([signed(chunk.last), bytes, row]).map(drop)
}

/// Ends a job; says whether a credential was wiped.
fn end(connection: &Connection, row: i64, outcome: &Outcome) -> rusqlite::Result<bool> {
    let sql = "UPDATE jobs SET state = ?, finished_at = ?, outcome = ?, worker = NULL,
               last_outcome = NULL WHERE row = ?";
    let (state, at) = (JobState::from(outcome.state).name(), now().as_millisecond());
    connection.prepare_cached(sql)?.execute(params![state, at, json(outcome), row])?;
    let sql = "UPDATE requests SET secret_repo_url = NULL
               WHERE job = ? AND secret_repo_url IS NOT NULL";
    Ok(connection.prepare_cached(sql)?.execute([row])? > 0)
}

/// The end of a job that waited for another attempt, or whose agent had not begun in it: with all
/// that the one before has to show.
fn after_attempts(connection: &Connection, row: i64, end: Outcome) -> rusqlite::Result<Outcome> {
    let sql = "SELECT last_outcome FROM jobs WHERE row = ?";
    let last: Option<String> =
        connection.prepare_cached(sql)?.query_row([row], |row| row.get(0))?;
    let Some(last) = last else { return Ok(end) };
    let Outcome { state, reason, message, retryable, retry_at, .. } = end;
    let last = super::query::from_json(&last)?;
    Ok(Outcome { state, reason, message, retryable, retry_at, ..last })
}

fn drop_pieces(connection: &Connection, row: i64) -> rusqlite::Result<usize> {
    connection.prepare_cached("DELETE FROM patches WHERE job = ?")?.execute([row])
}

/// An event of the gateway's own, as of now.
fn frame(job: JobRef, payload: Payload) -> Frame {
    Frame::new(0, &Event { payload, job_id: job.id, at: now() })
}

/// The time, to the millisecond: more digits would only make events longer.
pub(crate) fn now() -> Timestamp {
    Timestamp::now().round(Unit::Millisecond).unwrap_or_else(|_| Timestamp::now())
}

fn request(connection: &Connection, row: i64) -> rusqlite::Result<Value> {
    let sql = "SELECT request, secret_repo_url FROM requests WHERE job = ?";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (request, secret): (String, Option<String>) =
        connection.prepare_cached(sql)?.query_row([row], read)?;
    let mut request = super::query::from_json::<Value>(&request)?;
    if let Some(secret) = secret {
        request["repoUrl"] = Value::from(secret);
    }
    Ok(request)
}

pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("outcomes and reasons are plain JSON")
}
