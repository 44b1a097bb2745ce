//! Writes a commit's files into a new folder, together with a `.git` that borrows its objects.
//!
//! Nothing that the repository says about how to write its files is obeyed: no filter, no
//! attribute, no hook. libgit2's own checkout is not used: it looks at each file before it writes
//! it, which a new folder does not need.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use git2::{Odb, Oid};

use crate::budget::{Blob, Budget};
use crate::fault::Fault;
use crate::index;
use crate::mirror::{Mirror, Work};
use crate::plan::{EXECUTABLE, Plan, PlannedFile};
use crate::progress::Phase;

/// Beyond this, more threads do not make a disk quicker.
const MAX_THREADS: usize = 8;

/// Where a pointer of Git LFS can be told from any other file (its specification, version 1).
const LFS_START: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
const LFS_MAX_BYTES: usize = 1024;

/// What was left as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftAlone {
    /// Submodules, which are empty folders.
    pub(crate) submodules: Vec<String>,
    /// Files in Git LFS, of which there is the pointer only.
    pub(crate) lfs_pointers: Vec<String>,
}

/// Where the files go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// A folder that holds nothing but `.git`.
    pub(crate) folder: &'a Path,
    /// How many bytes all files together may have.
    pub(crate) max_bytes: u64,
}

/// Writes all files of the tree.
pub(crate) fn write_tree(
    mirror: &Mirror,
    tree: Oid,
    place: Place<'_>,
    work: &Work<'_>,
) -> Result<LeftAlone, Fault> {
    let folder = place.folder;
    // What comes out of a pack has a checksum of its own; naming every file anew costs as much as
    // writing it.
    git2::opts::strict_hash_verification(false);
    let repository = mirror.open()?;
    let mut plan = Plan::read(&repository, tree, |cause| mirror.damaged(cause))?;
    let submodule_folders = plan.submodules.iter().map(|submodule| &submodule.path);
    for path in plan.folders.iter().chain(submodule_folders) {
        fs::create_dir(folder.join(path)).map_err(|error| explain(path, error))?;
    }
    plan.files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut written = write_files(mirror, &plan.files, place, work)?;
    // Last, so that no path of the others can lead through one of them.
    let odb = mirror.objects()?;
    for link in &plan.symlinks {
        let target = Blob { mirror, odb: &odb, id: link.id, path: &link.path }.read_link()?;
        let path = folder.join(&link.path);
        std::os::unix::fs::symlink(OsStr::from_bytes(target.data()), &path)
            .and_then(|()| written.stat.push(link, &path.symlink_metadata()?))
            .map_err(|error| explain(&link.path, error))?;
    }
    for submodule in &plan.submodules {
        written.stat.push_bare(submodule);
    }
    written.stat.write(&folder.join(".git/index"))?;
    let submodules = plan.submodules.iter().map(|submodule| shown(&submodule.path)).collect();
    Ok(LeftAlone { submodules, lfs_pointers: written.lfs_pointers })
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What a thread has written.
#[derive(Default)]
struct Written {
    stat: index::Entries,
    lfs_pointers: Vec<String>,
}

fn write_files(
    mirror: &Mirror,
    files: &[PlannedFile],
    place: Place<'_>,
    work: &Work<'_>,
) -> Result<Written, Fault> {
    let crew = Crew {
        mirror,
        files,
        folder: place.folder,
        budget: Budget::new(place.max_bytes),
        work,
        next: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    };
    let available = thread::available_parallelism().map_or(1, usize::from);
    // A thread for a handful of files costs more than it gains.
    let threads = available.min(MAX_THREADS).min(files.len() / CHUNK + 1);
    let results: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(|| crew.work())).collect();
        started.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let mut all = Written::default();
    for result in results {
        let written = result?;
        all.stat.extend(written.stat);
        all.lfs_pointers.extend(written.lfs_pointers);
    }
    all.lfs_pointers.sort();
    let total = count(files.len());
    work.progress.report(Phase::Checkout, total, total, 0);
    Ok(all)
}

/// Files that a thread takes at a time: neighbours, which mostly share their folder.
const CHUNK: usize = 64;

/// The threads that write files, and what they share.
struct Crew<'a> {
    mirror: &'a Mirror,
    files: &'a [PlannedFile],
    folder: &'a Path,
    budget: Budget,
    work: &'a Work<'a>,
    next: AtomicUsize,
    failed: AtomicBool,
}

impl Crew<'_> {
    fn work(&self) -> Result<Written, Fault> {
        let result = self.write_all();
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }

    fn write_all(&self) -> Result<Written, Fault> {
        let odb = self.mirror.objects()?;
        let mut written = Written::default();
        loop {
            let start = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= self.files.len() || self.failed.load(Ordering::Relaxed) {
                return Ok(written);
            }
            for file in self.files.iter().skip(start).take(CHUNK) {
                if self.work.stop.is_cancelled() {
                    return Err(Fault::Stopped);
                }
                self.write(file, &odb, &mut written)?;
            }
            self.work.progress.report(Phase::Checkout, count(start), count(self.files.len()), 0);
        }
    }

    fn write(&self, file: &PlannedFile, odb: &Odb<'_>, written: &mut Written) -> Result<(), Fault> {
        let blob = Blob { mirror: self.mirror, odb, id: file.id, path: &file.path };
        let metadata = self.budget.read(&blob, |blob| {
            if blob.len() < LFS_MAX_BYTES && blob.data().starts_with(LFS_START) {
                written.lfs_pointers.push(shown(&file.path));
            }
            write_file(&self.folder.join(&file.path), blob.data(), file.mode)
                .map_err(|error| explain(&file.path, error))
        })?;
        written.stat.push(file, &metadata).map_err(|error| explain(&file.path, error))
    }
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> io::Result<Metadata> {
    let mode = if mode == EXECUTABLE { 0o777 } else { 0o666 };
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.metadata()
}

/// A new folder has no file yet, so one that is in the way has the same name in the repository.
fn explain(path: &Path, error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Fault::Malformed(format!("it has two files named {path:?}"))
        }
        io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => {
            Fault::Malformed(format!("it has a file whose name no disk takes: {path:?}"))
        }
        _ => Fault::io(format!("write {path:?}"))(error),
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
