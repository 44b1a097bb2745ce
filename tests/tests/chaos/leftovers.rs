//! What nobody needs any more and should be gone.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// What a query must not find, and the query.
const PROMISES: [(&str, &str); 6] = [
    ("damage", "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
    ("dangling rows", "SELECT \"table\" || ' ' || rowid FROM pragma_foreign_key_check"),
    (
        "jobs that have not ended",
        "SELECT id FROM jobs WHERE state IN ('queued', 'running') OR worker IS NOT NULL
         OR finished_at IS NULL OR outcome IS NULL",
    ),
    (
        "jobs with gaps in their events",
        "SELECT id FROM jobs LEFT JOIN events ON job = row GROUP BY row
         HAVING min(first) IS NOT 1 OR max(last) IS NOT last_event
         OR sum(last - first + 1) IS NOT last_event OR sum(is_end) IS NOT 1",
    ),
    (
        "jobs with another number of patch pieces",
        "SELECT id FROM jobs WHERE pieces <> (SELECT count(*) FROM patches WHERE job = row)",
    ),
    ("credentials", "SELECT job || '' FROM requests WHERE secret_repo_url IS NOT NULL"),
];

/// Looks at the folders of a stack that has been stopped.
pub(crate) fn below(folder: &TempDir, temporary: &Path) -> Vec<String> {
    let (data, workspace) = (folder.path().join("data"), folder.path().join("workspace"));
    let mut found = in_store(&data.join("oneshift.db"));
    found.extend(held(&data.join("oneshift.lock")));
    for entry in entries(&workspace.join("jobs")) {
        found.extend(held(&entry));
    }
    for entry in entries(&workspace.join("cache")) {
        let extension = entry.extension().unwrap_or_default();
        match extension.to_str() {
            Some("lock") => found.extend(held(&entry)),
            Some("git") => {}
            _ => found.extend(unknown(&entry)),
        }
    }
    found.extend(entries(temporary).iter().map(|path| format!("{path:?}")));
    found
}

/// A delivery that was killed leaves its folder of objects, which is removed after a day; how large
/// jobs' folders are is noted down.
fn unknown(entry: &Path) -> Option<String> {
    let name = entry.file_name().unwrap_or_default().to_string_lossy();
    let is_known = name.starts_with("deliver-") || name == "job-sizes";
    (!is_known).then(|| format!("{} in the cache", entry.display()))
}

/// Opens the store as a gateway that comes after a crash would.
fn in_store(path: &Path) -> Vec<String> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .expect("the store can be opened");
    let mut found = Vec::new();
    for (what, sql) in PROMISES {
        let mut query = connection.prepare(sql).expect("the query fits the store");
        let rows = query.query_map([], |row| row.get::<_, String>(0)).expect("it can be read");
        found.extend(rows.map(|row| format!("{what}: {}", row.expect("it can be read"))));
    }
    found
}

/// The file or folder, if somebody has locked it.
fn held(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let is_free = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    (!is_free).then(|| format!("{} is locked", path.display()))
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
