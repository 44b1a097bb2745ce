//! Writes the pack that a repository sends into the mirror, and indexes it on the way.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use git2::{Indexer, Odb};
use tokio_util::sync::CancellationToken;

use crate::disk_space;
use crate::fault::Fault;
use crate::progress::{Phase, Progress};

/// A pack on its way into a folder of packs. Nothing is to be seen of it there until it is whole.
pub(crate) struct PackWriter<'a> {
    indexer: Indexer<'a>,
    folder: PathBuf,
    /// The indexer counts objects only.
    bytes: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl<'a> PackWriter<'a> {
    /// Starts a pack in `objects/pack`; `odb` has the objects that the pack may build on.
    pub(crate) fn new(
        odb: &Odb<'a>,
        objects: &Path,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Self, Fault> {
        let folder = objects.join("pack");
        let mut indexer = Indexer::new(Some(odb), &folder, 0, false)
            .map_err(Fault::git("write into the cache"))?;
        let bytes = Arc::new(AtomicU64::new(0));
        let (progress, stopped, received) = (progress.clone(), stop.clone(), Arc::clone(&bytes));
        indexer.progress(move |state| {
            report(&progress, &state, received.load(Ordering::Relaxed));
            !stopped.is_cancelled()
        });
        Ok(Self { indexer, folder, bytes, stop: stop.clone() })
    }

    /// Takes the next bytes of the pack.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.bytes.fetch_add(count(bytes.len()), Ordering::Relaxed);
        self.indexer.write_all(bytes).map_err(|error| {
            let cause = match error.downcast::<git2::Error>() {
                Ok(error) => error.message().to_owned(),
                Err(error) => error.to_string(),
            };
            explain(&self.folder, &self.stop, cause)
        })
    }

    /// Makes the pack part of the repository.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        let Self { indexer, folder, stop, .. } = self;
        let commit = indexer.commit();
        commit.map(drop).map_err(|error| explain(&folder, &stop, error.message().to_owned()))
    }
}

fn explain(folder: &Path, stop: &CancellationToken, cause: String) -> Fault {
    if stop.is_cancelled() {
        Fault::Stopped
    } else if disk_space::was_lacking(folder) {
        Fault::DiskFull
    } else {
        Fault::Malformed(format!("its pack cannot be read: {cause}"))
    }
}

fn report(progress: &Progress, state: &git2::Progress<'_>, bytes: u64) {
    let (received, total) = (count(state.received_objects()), count(state.total_objects()));
    // Deltas are resolved when everything is here.
    if received < total || state.indexed_deltas() == 0 {
        progress.report(Phase::Receiving, received, total, bytes);
    } else {
        let (resolved, deltas) = (count(state.indexed_deltas()), count(state.total_deltas()));
        progress.report(Phase::Resolving, resolved, deltas, bytes);
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
