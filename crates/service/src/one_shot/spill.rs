//! The part of an event log that no longer fits into memory: an unlinked temporary file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

/// A run of whole frames on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) first: u64,
    pub(super) last: u64,
    offset: u64,
    len: usize,
}

/// An append-only file that vanishes with the process.
#[derive(Clone, Debug)]
pub(super) struct Spill {
    file: Arc<File>,
    extents: Vec<Extent>,
    end: u64,
}

impl Spill {
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self { file: Arc::new(tempfile::tempfile()?), extents: Vec::new(), end: 0 })
    }

    /// Appends frames with the ids `first..=last`, which follow those already here.
    pub(super) fn push(&mut self, first: u64, last: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.extents.push(Extent { first, last, offset: self.end, len: bytes.len() });
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Where the frame with this id lies, if it is here.
    pub(super) fn find(&self, id: u64) -> Option<(Arc<File>, Extent)> {
        let index = self.extents.partition_point(|extent| extent.last < id);
        let extent = *self.extents.get(index)?;
        (extent.first <= id).then(|| (Arc::clone(&self.file), extent))
    }
}

impl Extent {
    /// Reads the frames; blocks on the disk.
    pub(super) fn read(&self, file: &File) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.len];
        file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes.into())
    }
}
