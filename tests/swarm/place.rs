//! Where the tests' files are, and what an earlier run may have left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FlockOperation;

use crate::machine;

/// The folder of all engines, which one run of the tests has at a time, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the folder, empty.
    ///
    /// # Panics
    /// When another run has it.
    pub(crate) fn take() -> Self {
        let folder = std::env::temp_dir().join("oneshift-swarm");
        let lock = File::create(folder.with_extension("lock")).expect("the lock can be made");
        let locked = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        locked.expect("no other run of these tests is under way");
        clean_up(&folder);
        fs::create_dir_all(&folder).expect("there is room for a cluster");
        Self { folder, _lock: lock }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        clean_up(&self.folder);
    }
}

/// Removes all that outlives the processes. Those of a run that was killed have ended with it.
fn clean_up(folder: &Path) {
    if let Ok(names) = Command::new("ip").args(["netns", "list"]).output() {
        let names = String::from_utf8_lossy(&names.stdout).into_owned();
        let names = names.lines().filter_map(|line| line.split_whitespace().next());
        for name in names.filter(|name| name.starts_with("oneshift-")) {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
    machine::remove_groups();
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        panic!("{} cannot be removed: {error}", folder.display());
    }
}
