//! The index of a checkout, with what the file system says of each file, so that the first
//! `git status` in it need not read them all.

use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use git2::{Index, IndexEntry, IndexTime};

use crate::fault::Fault;
use crate::plan::PlannedFile;

/// Entries in any order.
#[derive(Default)]
pub(crate) struct Entries(Vec<IndexEntry>);

impl Entries {
    /// Adds a file or symlink that was written.
    pub(crate) fn push(&mut self, file: &PlannedFile, metadata: &Metadata) -> io::Result<()> {
        let mut entry = bare(file);
        entry.ctime = time(metadata.ctime(), metadata.ctime_nsec());
        entry.mtime = time(metadata.mtime(), metadata.mtime_nsec());
        entry.dev = low_half(metadata.dev());
        entry.ino = low_half(metadata.ino());
        (entry.uid, entry.gid) = (metadata.uid(), metadata.gid());
        entry.file_size = low_half(metadata.size());
        self.0.push(entry);
        Ok(())
    }

    /// Adds an entry without a file.
    pub(crate) fn push_bare(&mut self, file: &PlannedFile) {
        self.0.push(bare(file));
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Writes the index to a new file.
    pub(crate) fn write(mut self, path: &Path) -> Result<(), Fault> {
        // The order of an index; adding in order is quick.
        self.0.sort_by(|a, b| a.path.cmp(&b.path));
        let fault = || Fault::git("write the index");
        let mut index = Index::open(path).map_err(fault())?;
        for entry in &self.0 {
            index.add(entry).map_err(fault())?;
        }
        index.write().map_err(fault())
    }
}

fn bare(file: &PlannedFile) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: file.mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id: file.id,
        flags: 0,
        flags_extended: 0,
        path: file.path.as_os_str().as_bytes().to_vec(),
    }
}

/// An index keeps 32 bits of everything (gitformat-index).
fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

fn time(seconds: i64, nanoseconds: i64) -> IndexTime {
    let seconds = i32::try_from(seconds).unwrap_or_default();
    IndexTime::new(seconds, u32::try_from(nanoseconds).unwrap_or_default())
}
