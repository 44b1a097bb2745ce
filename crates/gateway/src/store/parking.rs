//! Agents whose credential has no quota left, and until when.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::Store;
use super::error::StoreError;
use super::query::time;
use super::writer::Request;
use crate::scheduler::RateLimit;

/// What is known of one agent. A later limit takes an earlier one's place.
#[derive(Debug)]
pub(super) struct Parking {
    agent: Arc<str>,
    limit: RateLimit,
}

impl Parking {
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let RateLimit { retry_at, until } = self.limit;
        let sql = "INSERT OR REPLACE INTO parkings (agent, until, retry_at) VALUES (?, ?, ?)";
        let values = params![self.agent, until.as_millisecond(), retry_at.as_millisecond()];
        connection.prepare_cached(sql)?.execute(values).map(drop)
    }
}

impl Store {
    /// Remembers that an agent is parked.
    pub(crate) async fn park(&self, agent: Arc<str>, limit: RateLimit) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let parking = Parking { agent, limit };
        self.send(Request::Park { parking, answer }, answered).await
    }

    /// All agents that have ever been parked, with their latest limit.
    pub(crate) async fn parkings(&self) -> Result<Vec<(Arc<str>, RateLimit)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT agent, until, retry_at FROM parkings";
            let read = |row: &rusqlite::Row<'_>| {
                let at =
                    |index| Ok::<Timestamp, rusqlite::Error>(time(row, index)?.unwrap_or_default());
                Ok((row.get(0)?, RateLimit { until: at(1)?, retry_at: at(2)? }))
            };
            connection.prepare(sql)?.query_map([], read)?.collect()
        })
        .await
    }
}
