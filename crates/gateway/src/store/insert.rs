//! A new job's way into the store.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use secrecy::{ExposeSecret, SecretString};
use service::protocol::request::{Concurrency, OnConflict, WorkflowRequest};
use service::protocol::sse::Frame;
use service::protocol::{Event, JobId, Payload, Reason};

use super::change::{accounted, append, json};
use super::query::KEY_LIFETIME_MS;
use crate::chunk::Chunk;
use crate::job_ref::JobRef;

/// A job as it is accepted.
#[derive(Debug)]
pub(crate) struct NewRecord {
    pub(crate) id: JobId,
    pub(crate) created_at: Timestamp,
    /// The submitter's name; empty when nobody needs a token.
    pub(crate) token: String,
    pub(crate) request: WorkflowRequest,
    pub(crate) idempotency: Option<Idempotency>,
}

/// The caller's own name for a submission, and what came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Idempotency {
    pub(crate) key: String,
    pub(crate) body_hash: [u8; 32],
}

impl NewRecord {
    /// Writes the job and its first event; returns its row and that event.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<(i64, Chunk)> {
        let created_at = self.created_at.as_millisecond();
        if let Some(idempotency) = &self.idempotency {
            // The key may have belonged to a job whose time is over.
            let sql = "UPDATE jobs SET idempotency_key = NULL
                       WHERE token = ? AND idempotency_key = ? AND finished_at < ?";
            let expired = created_at - KEY_LIFETIME_MS;
            connection.prepare_cached(sql)?.execute(params![
                self.token,
                idempotency.key,
                expired
            ])?;
        }
        let row = self.write_job(connection, created_at)?;
        self.write_request(connection, row)?;
        self.cancel_superseded(connection, row)?;
        let job = JobRef { id: self.id, row };
        let event = Event { payload: Payload::Accepted {}, job_id: self.id, at: self.created_at };
        let chunk = append(connection, job, 0, &[Frame::new(0, &event)], false)?;
        accounted(connection, row, &chunk)?;
        Ok((row, chunk))
    }

    fn write_job(&self, connection: &Connection, created_at: i64) -> rusqlite::Result<i64> {
        let request = &self.request;
        let concurrency_key = request.concurrency.as_ref().map(|concurrency| &concurrency.key);
        let sql = "INSERT INTO jobs (id, state, token, repo, agent, priority, retries,
                   concurrency_key, idempotency_key, body_hash, created_at, last_event)
                   VALUES (?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)";
        connection.prepare_cached(sql)?.insert(params![
            self.id.to_string(),
            self.token,
            request.repo_url.to_string(),
            request.agent,
            request.priority,
            request.retries,
            concurrency_key,
            self.idempotency.as_ref().map(|idempotency| &idempotency.key),
            self.idempotency.as_ref().map(|idempotency| idempotency.body_hash),
            created_at,
        ])
    }

    /// Notes down, with the job itself, that those end in whose place it is: a gateway that is killed
    /// right now finds that when it starts again.
    fn cancel_superseded(&self, connection: &Connection, row: i64) -> rusqlite::Result<()> {
        let concurrency = self.request.concurrency.as_ref();
        let is_replacing = |it: &&Concurrency| it.on_conflict == OnConflict::Replace;
        let Some(concurrency) = concurrency.filter(is_replacing) else { return Ok(()) };
        let sql = "UPDATE jobs SET cancel = ? WHERE token = ? AND concurrency_key = ?
                   AND state IN ('queued', 'running') AND row < ? AND cancel IS NULL";
        let reason = json(&Reason::Superseded);
        let values = params![reason, self.token, concurrency.key, row];
        connection.prepare_cached(sql)?.execute(values).map(drop)
    }

    fn write_request(&self, connection: &Connection, row: i64) -> rusqlite::Result<()> {
        let request = serde_json::to_string(&self.request).expect("a request is plain JSON");
        let secret: Option<SecretString> =
            self.request.repo_url.login().map(|_| self.request.repo_url.expose());
        let secret = secret.as_ref().map(ExposeSecret::expose_secret);
        let sql = "INSERT INTO requests (job, request, secret_repo_url) VALUES (?, ?, ?)";
        connection.prepare_cached(sql)?.execute(params![row, request, secret])?;
        let sql = "INSERT INTO labels (job, name, value) VALUES (?, ?, ?)";
        let mut labels = connection.prepare_cached(sql)?;
        for (name, value) in &self.request.labels {
            labels.execute(params![row, name, value])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use service::protocol::request::parse;

    use super::super::change::now;
    use super::super::schema::open_for_writing;
    use super::*;

    fn record(token: &str, key: Option<&str>, on_conflict: &str) -> NewRecord {
        let mut body = json!({"prompt": "hi", "repoUrl": "https://host/org/repo"});
        if let Some(key) = key {
            body["concurrency"] = json!({"key": key, "onConflict": on_conflict});
        }
        NewRecord {
            id: JobId::random(),
            created_at: now(),
            token: token.to_owned(),
            request: parse(body.to_string().as_bytes()).unwrap(),
            idempotency: None,
        }
    }

    #[test]
    fn a_job_that_replaces_others_is_written_together_with_their_cancellation() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_for_writing(folder.path()).unwrap();
        let write = |record: NewRecord| record.write(&connection).unwrap().0;
        let [queued, running] = [0, 1].map(|_| write(record("ci", Some("deploy"), "queue")));
        let ended = write(record("ci", Some("deploy"), "queue"));
        let others = [
            write(record("ci", Some("other"), "queue")),
            write(record("cd", Some("deploy"), "queue")),
            write(record("ci", None, "queue")),
        ];
        for (row, state) in [(running, "running"), (ended, "completed")] {
            connection.execute("UPDATE jobs SET state = ? WHERE row = ?", (state, row)).unwrap();
        }
        let sql = "SELECT row FROM jobs WHERE cancel IS NOT NULL ORDER BY row";
        let cancelled = || -> Vec<i64> {
            let mut rows = connection.prepare(sql).unwrap();
            rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        write(record("ci", Some("deploy"), "queue"));
        assert!(cancelled().is_empty());
        let waiting = others[2] + 1;
        write(record("ci", Some("deploy"), "replace"));
        assert_eq!(cancelled(), [queued, running, waiting]);
        assert!(others.iter().all(|row| !cancelled().contains(row)));
    }
}
