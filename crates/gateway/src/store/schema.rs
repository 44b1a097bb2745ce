//! The database's file and its tables.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::error::OpenError;

/// How long SQLite waits for somebody who looks at the file with another program.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Each entry is one step from the empty file to today's tables; entries are only ever added.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("schema.sql")),
    // Until when a queued job pauses before its next attempt.
    M::up("ALTER TABLE jobs ADD COLUMN not_before INTEGER"),
    // How large a job's log is, and whether something was left out of it.
    M::up(
        "ALTER TABLE jobs ADD COLUMN event_bytes INTEGER NOT NULL DEFAULT 0;
         ALTER TABLE jobs ADD COLUMN is_truncated INTEGER NOT NULL DEFAULT 0;",
    ),
    // To find the jobs that ended first, and what belongs to them.
    M::up(
        "CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL;
         CREATE INDEX labels_by_job ON labels (job);",
    ),
    // Where the agent works, and what came of the last attempt of a job that waits for another.
    M::up(
        "ALTER TABLE jobs ADD COLUMN workspace TEXT;
         ALTER TABLE jobs ADD COLUMN last_outcome TEXT;",
    ),
    // To list the few jobs in one state of a token or a repository that has many in another.
    M::up(
        "CREATE INDEX jobs_by_token_and_state ON jobs (token, state, row);
         CREATE INDEX jobs_by_repo_and_state ON jobs (repo, state, row);",
    ),
    // Whose jobs wait for a quota: the agent that a job asks for, and the agents without any.
    M::up(
        "ALTER TABLE jobs ADD COLUMN agent TEXT;
         UPDATE jobs SET agent = (SELECT request ->> 'agent' FROM requests WHERE job = row)
             WHERE state IN ('queued', 'running');
         CREATE TABLE parkings (agent TEXT PRIMARY KEY, until INTEGER NOT NULL,
             retry_at INTEGER NOT NULL) WITHOUT ROWID;",
    ),
    // To find the jobs that a new one with the same concurrency key replaces.
    M::up(
        "CREATE INDEX jobs_by_concurrency_key ON jobs (token, concurrency_key, state)
             WHERE concurrency_key IS NOT NULL",
    ),
    // `agent_started` says that the agent may have begun in the current attempt, this one that it has:
    // pieces and outcome of the attempt before are gone since.
    M::up(
        "ALTER TABLE jobs ADD COLUMN has_begun INTEGER NOT NULL DEFAULT 0;
         UPDATE jobs SET has_begun = agent_started WHERE state IN ('queued', 'running');",
    ),
];

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("oneshift.db")
}

/// Opens the file for the one who writes, and brings its tables up to date.
pub(super) fn open_for_writing(folder: &Path) -> Result<Connection, OpenError> {
    let path = path(folder);
    // SQLite gives its side files the mode of the main one.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(&path).map_err(|error| OpenError::io(&path, error))?;
    let open = || {
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "page_size", 8192)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -4096)?;
        connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        // A credential does not outlive its job in a free page.
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.set_prepared_statement_cache_capacity(64);
        Migrations::from_slice(STEPS).to_latest(&mut connection)?;
        Ok::<_, rusqlite_migration::Error>(connection)
    };
    open().map_err(|error| OpenError::database(&path, &error))
}

/// Opens the file for one who only reads.
pub(super) fn open_for_reading(folder: &Path) -> Result<Connection, OpenError> {
    let path = path(folder);
    let open = || {
        let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.pragma_update(None, "cache_size", -1024)?;
        Ok::<_, rusqlite::Error>(connection)
    };
    open().map_err(|error| OpenError::database(&path, &error))
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_waited_before_the_update_keeps_its_agent() {
        let folder = tempfile::tempdir().unwrap();
        let mut old = Connection::open(path(folder.path())).unwrap();
        let before = STEPS.iter().position(|step| format!("{step:?}").contains("TABLE parkings"));
        Migrations::from_slice(STEPS).to_version(&mut old, before.unwrap()).unwrap();
        for (row, agent) in [(1, r#"{"agent":"command"}"#), (2, "{}")] {
            let sql = "INSERT INTO jobs (row, id, state, token, repo, priority, retries,
                       created_at, last_event) VALUES (?1, ?1, 'queued', '', '', 0, 0, 0, 0)";
            old.execute(sql, [row]).unwrap();
            let sql = "INSERT INTO requests (job, request) VALUES (?, ?)";
            old.execute(sql, (row, agent)).unwrap();
        }
        drop(old);
        let new = open_for_writing(folder.path()).unwrap();
        let mut agents = new.prepare("SELECT agent FROM jobs ORDER BY row").unwrap();
        let agents = agents.query_map([], |row| row.get(0)).unwrap();
        let agents: Vec<Option<String>> = agents.map(Result::unwrap).collect();
        assert_eq!(agents, [Some("command".to_owned()), None]);
    }
}
