//! Forgets jobs, a little at a time: writes that come in meanwhile wait for one portion at most. The
//! room that they took up in the file is used again.

use rusqlite::{Connection, OptionalExtension};
use service::protocol::JobId;
use tokio::sync::oneshot;

use super::error::StoreError;
use super::query::parsed;
use super::writer::Work;
use super::{Store, unsigned};

/// About as many bytes of events and patches, and at most as many jobs, are deleted at once.
const PORTION_BYTES: u64 = 4 * 1024 * 1024;
const PORTION_JOBS: usize = 50;

/// A wish to forget.
pub(super) struct Sweep {
    /// What ended before this goes, in milliseconds since 1970.
    pub(super) before: i64,
    pub(super) answer: oneshot::Sender<Result<bool, StoreError>>,
}

/// What became of a portion.
pub(super) struct Swept {
    /// The jobs that are not shown any more.
    pub(super) jobs: Vec<JobId>,
    pub(super) has_more: bool,
}

impl Store {
    /// Forgets a portion of the jobs that ended before `before`; says whether there are more.
    pub(crate) async fn sweep(&self, before: i64) -> Result<bool, StoreError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.work.send(Work::Sweep(Sweep { before, answer })).await;
        sent.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

pub(super) fn sweep(connection: &Connection, before: i64) -> rusqlite::Result<Swept> {
    let (mut jobs, mut room) = (Vec::new(), PORTION_BYTES);
    while jobs.len() < PORTION_JOBS && room > 0 {
        let sql = "SELECT row, id FROM jobs WHERE finished_at < ? ORDER BY finished_at LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, parsed(row, 1)?));
        let oldest = connection.prepare_cached(sql)?.query_row([before], read).optional()?;
        let Some((row, id)): Option<(i64, JobId)> = oldest else {
            return Ok(Swept { jobs, has_more: false });
        };
        jobs.push(id);
        forget(connection, row, &mut room)?;
    }
    Ok(Swept { jobs, has_more: true })
}

/// Deletes as much of a job as there is room for; the job itself last, so that it is found again.
fn forget(connection: &Connection, row: i64, room: &mut u64) -> rusqlite::Result<()> {
    // A job without its request is shown to nobody.
    connection.prepare_cached("DELETE FROM requests WHERE job = ?")?.execute([row])?;
    let events = "SELECT rowid, length(frames) FROM events WHERE job = ? ORDER BY last";
    let patches = "SELECT rowid, length(bytes) FROM patches WHERE job = ? ORDER BY piece";
    for (select, delete) in [
        (events, "DELETE FROM events WHERE rowid = ?"),
        (patches, "DELETE FROM patches WHERE rowid = ?"),
    ] {
        let mut select = connection.prepare_cached(select)?;
        let mut delete = connection.prepare_cached(delete)?;
        let mut parts = select.query([row])?;
        let mut rowids = Vec::new();
        while *room > 0
            && let Some(part) = parts.next()?
        {
            *room = room.saturating_sub(unsigned(part.get(1)?));
            rowids.push(part.get::<_, i64>(0)?);
        }
        for rowid in rowids {
            delete.execute([rowid])?;
        }
    }
    if *room > 0 {
        connection.prepare_cached("DELETE FROM labels WHERE job = ?")?.execute([row])?;
        connection.prepare_cached("DELETE FROM jobs WHERE row = ?")?.execute([row])?;
    }
    Ok(())
}
