//! The locks that the services take, in the hands of a test.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use end_to_end::eventually;
use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::oneshot;

/// The lock of a file or folder: a job's, or the one by which a gateway has its store.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Queues for it, behind whoever has it; what this returns resolves when the test has it.
    pub(crate) async fn queue_for(path: &Path) -> impl Future<Output = Self> + use<> {
        let file = File::open(path).unwrap();
        let inode = file.metadata().unwrap().ino();
        let (send, receive) = oneshot::channel();
        // A thread of its own: one of the runtime's would keep a failed test from ending.
        thread::spawn(move || {
            let taken = flock(&file, FlockOperation::LockExclusive);
            // An error means that the test is over.
            let _ = send.send(taken.map(|()| Self { _file: file }));
        });
        eventually("the test waits in line", async || is_waited_for(inode).then_some(())).await;
        async { receive.await.unwrap().unwrap() }
    }
}

/// Whether somebody waits for the lock of this file; by proc_locks(5).
fn is_waited_for(inode: u64) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let file = format!(":{inode} ");
    locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&file))
}

/// A write transaction on the store, as of somebody with another program.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _connection: Connection,
}

impl StoreLock {
    /// Begins the transaction; it ends without a change when this is dropped.
    pub(crate) fn of(data: &Path) -> Self {
        let connection = Connection::open(database(data)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self { _connection: connection }
    }
}

/// The file by whose lock a gateway has its store.
pub(crate) fn gateway_lock(data: &Path) -> PathBuf {
    data.join("oneshift.lock")
}

fn database(data: &Path) -> PathBuf {
    data.join("oneshift.db")
}

/// Takes the lock of an open file or folder, if nobody has it, until it is closed.
fn is_free(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// The folders of jobs and the mirrors in the workspace whose locks somebody holds.
pub(crate) fn held_in(workspace: &Path) -> Vec<PathBuf> {
    let entries = |folder: &str| fs::read_dir(workspace.join(folder)).unwrap().flatten();
    let jobs = entries("jobs").map(|entry| entry.path());
    let is_lock = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "lock");
    let mirrors = entries("cache").map(|entry| entry.path()).filter(is_lock);
    jobs.chain(mirrors).filter(|path| File::open(path).is_ok_and(|file| !is_free(&file))).collect()
}

/// Whether the store of a gateway that has ended is whole and nobody's.
pub(crate) fn assert_store_is_free(data: &Path) {
    let lock = File::open(gateway_lock(data)).unwrap();
    assert!(is_free(&lock), "the store's lock is left behind");
    drop(lock);
    // A copy, since SQLite follows every link, and the one to another program's disk leads astray.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let connection = Connection::open(database(copy.path())).unwrap();
    let check = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(check("PRAGMA integrity_check"), "ok");
}
