-- A job and where it stands. Times are milliseconds since 1970, UTC.
CREATE TABLE jobs (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    -- The name of the token that submitted it; empty when nobody needs one.
    token TEXT NOT NULL,
    repo TEXT NOT NULL,
    priority INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    concurrency_key TEXT,
    idempotency_key TEXT,
    body_hash BLOB,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    retries_used INTEGER NOT NULL DEFAULT 0,
    agent_started INTEGER NOT NULL DEFAULT 0,
    -- The reason of the cancellation that somebody asked for.
    cancel TEXT,
    -- Whose stream is read, and up to which of its events.
    worker TEXT,
    upstream INTEGER NOT NULL DEFAULT 0,
    last_event INTEGER NOT NULL,
    pieces INTEGER NOT NULL DEFAULT 0,
    outcome TEXT
) STRICT;

CREATE INDEX jobs_by_state ON jobs (state, row);
CREATE INDEX jobs_by_token ON jobs (token, row);
CREATE INDEX jobs_by_repo ON jobs (repo, row);
CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (token, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- Apart from the jobs, whose rows change often: requests are large and do not.
CREATE TABLE requests (
    job INTEGER PRIMARY KEY REFERENCES jobs (row),
    request TEXT NOT NULL,
    -- The repository's address with credentials, if it has any; cleared when the job ends.
    secret_repo_url TEXT
) STRICT;

CREATE TABLE labels (
    job INTEGER NOT NULL REFERENCES jobs (row),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name, value, job)
) STRICT, WITHOUT ROWID;

-- Events in runs, as they were committed: one row each, encoded as they go over the wire.
CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (row),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    is_end INTEGER NOT NULL,
    frames BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_by_position ON events (job, last);

-- The patch, in pieces that are to be joined.
CREATE TABLE patches (
    job INTEGER NOT NULL REFERENCES jobs (row),
    piece INTEGER NOT NULL,
    bytes BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX patches_by_piece ON patches (job, piece);
