//! The difference of two trees as a patch that `git apply` takes.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use git2::{Diff, DiffFormat, DiffLine, DiffLineType, DiffOptions, Oid, Tree};
use service::protocol::outcome::Changes;
use tokio_util::sync::CancellationToken;

use super::store::Store;
use crate::fault::Fault;

/// Largest patch; a gateway keeps it, and a person is to read it.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A patch in a file that has no name.
pub(crate) struct Patch {
    pub(crate) file: File,
    pub(crate) changes: Changes,
}

impl Patch {
    /// The patch from `old` to `new`; with binary files in full, and without guesses at renames.
    pub(crate) fn make(
        store: &Store,
        old: Option<&Tree<'_>>,
        new: Oid,
        stop: &CancellationToken,
    ) -> Result<Self, Fault> {
        let fault = || Fault::git("compare the checkout with what it was");
        let new = store.tree(new)?;
        let mut options = DiffOptions::new();
        // `git apply` takes binary patches only with whole ids.
        options.show_binary(true).id_abbrev(40).old_prefix("a").new_prefix("b");
        let diff = store.repository().diff_tree_to_tree(old, Some(&new), Some(&mut options));
        let diff = diff.map_err(fault())?;
        let file = tempfile::tempfile_in(store.path()).map_err(Fault::io("write the patch"))?;
        let mut printer = Printer {
            file: BufWriter::new(file),
            bytes: 0,
            changes: Changes { files: files(&diff), ..Changes::default() },
            fault: None,
        };
        let printed = diff
            .print(DiffFormat::Patch, |_, _, line| !stop.is_cancelled() && printer.print(&line));
        match (printer.fault.take(), printed) {
            (Some(fault), _) => Err(fault),
            _ if stop.is_cancelled() => Err(Fault::Stopped),
            (None, Err(error)) => Err(fault()(error)),
            (None, Ok(())) => printer.finish().map_err(Fault::io("write the patch")),
        }
    }
}

/// Paths that differ; one that turned from file to symlink is two deltas.
fn files(diff: &Diff<'_>) -> u64 {
    let mut paths: Vec<_> = diff
        .deltas()
        .filter_map(|delta| {
            let file = delta.new_file().path_bytes().or_else(|| delta.old_file().path_bytes());
            file.map(<[u8]>::to_vec)
        })
        .collect();
    paths.sort();
    paths.dedup();
    paths.len() as u64
}

struct Printer {
    file: BufWriter<File>,
    bytes: u64,
    changes: Changes,
    fault: Option<Fault>,
}

impl Printer {
    /// False when there is no use in going on.
    fn print(&mut self, line: &DiffLine<'_>) -> bool {
        let origin = match line.origin_value() {
            DiffLineType::Addition => Some(b'+'),
            DiffLineType::Deletion => Some(b'-'),
            DiffLineType::Context => Some(b' '),
            _ => None,
        };
        self.changes.insertions += u64::from(origin == Some(b'+'));
        self.changes.deletions += u64::from(origin == Some(b'-'));
        self.bytes += line.content().len() as u64 + u64::from(origin.is_some());
        if self.bytes > MAX_BYTES {
            let message = "the patch is larger than 64 MiB, the most that can be delivered";
            self.fault = Some(Fault::TooLarge(message.to_owned()));
            return false;
        }
        let written = origin.map_or(Ok(()), |origin| self.file.write_all(&[origin]));
        let written = written.and_then(|()| self.file.write_all(line.content()));
        self.fault = written.map_err(Fault::io("write the patch")).err();
        self.fault.is_none()
    }

    fn finish(self) -> io::Result<Patch> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Patch { file, changes: self.changes })
    }
}
