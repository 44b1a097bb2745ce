//! The bare copy of a repository that all its jobs borrow their objects from.
//!
//! Objects are only ever added to a mirror, so that nobody who borrows can lose one. Whether a
//! caller may read what is in it is decided by the server, each time: see [`Mirror::sync`].

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use git2::{Odb, Oid, Repository};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::fault::Fault;
use crate::lock::Lock;
use crate::pack::PackWriter;
use crate::progress::Progress;
use crate::skeleton::{self, Target};
use crate::snapshot::{Head, Snapshot};
use crate::source::Source;

/// Obeyed by whoever looks into the mirror by hand; the objects must stay even if no ref needs them.
const CONFIG: &[u8] = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n\
    [gc]\n\tauto = 0\n\tpruneExpire = never\n";

/// Most commits that a server is told of as known. It needs to hear of one on each line of history;
/// git's own limit is 256 in its first exchanges.
const MAX_HAVES: usize = 512;

/// One repository's mirror, which may not exist yet.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    path: PathBuf,
    url: String,
}

/// A folder by its inode and the time of its making, since numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64, Option<SystemTime>);

/// What a job brings along to work on a mirror.
pub(crate) struct Work<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) stop: &'a CancellationToken,
}

impl Mirror {
    /// The mirror of an address, which holds no credentials.
    pub(crate) fn new(cache: &Path, url: &Url) -> Self {
        let digest = Sha256::digest(url.as_str().as_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { path: cache.join(format!("{name}.git")), url: url.to_string() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its folder's name, which names the mirror.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its objects, to be read; as many readers as there are threads may be open.
    pub(crate) fn objects(&self) -> Result<Odb<'static>, Fault> {
        let path = self.path.join("objects");
        let path = path.to_str().ok_or_else(|| {
            let cause = io::Error::other("its path is not UTF-8");
            Fault::io("open the workspace")(cause)
        })?;
        let open = || {
            let odb = Odb::new()?;
            odb.add_disk_alternate(path)?;
            Ok(odb)
        };
        open().map_err(|cause| self.damaged(cause))
    }

    /// Its objects as a repository that has nothing else: no configuration is read.
    pub(crate) fn open(&self) -> Result<Repository, Fault> {
        Repository::from_odb(self.objects()?).map_err(|cause| self.damaged(cause))
    }

    /// The fault of a mirror whose objects cannot be read.
    pub(crate) fn damaged(&self, cause: git2::Error) -> Fault {
        Fault::MirrorDamaged { url: self.url.clone(), cause: cause.message().to_owned() }
    }

    /// Brings the mirror up to what the source has shown, then calls `borrow` before anybody else
    /// can touch it.
    ///
    /// The source has been asked already: who is refused there never gets here.
    pub(crate) fn sync(
        &self,
        source: &Source<'_>,
        work: &Work<'_>,
        borrow: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let lock = self.lock(work)?;
        lock.touch();
        self.make().map_err(Fault::io("make the cached copy"))?;
        let files = RefFiles::of(source.snapshot());
        if !files.are_in(&self.path) {
            self.fetch(source, work)?;
            files.write(&self.path).map_err(Fault::io("write the refs of the cached copy"))?;
        }
        borrow()
    }

    /// Puts a damaged mirror aside, so that the next [`Mirror::sync`] makes a new one in its place.
    /// `seen` is the mirror in which the damage was; another job may have replaced it already.
    pub(crate) fn put_aside(&self, seen: Option<Identity>, work: &Work<'_>) -> Result<(), Fault> {
        let _lock = self.lock(work)?;
        if self.identity() != seen {
            return Ok(());
        }
        tracing::warn!(mirror = self.name(), "a damaged mirror is made anew");
        self.discard().map_err(Fault::io("replace the cached copy"))
    }

    /// What tells this mirror from a later one in its place.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let metadata = fs::symlink_metadata(&self.path).ok()?;
        Some(Identity(metadata.ino(), metadata.created().ok()))
    }

    fn lock(&self, work: &Work<'_>) -> Result<Lock, Fault> {
        let notice = || {
            let message = "another job fetches the same repository; waiting for it";
            work.progress.notice("mirror_locked", message.to_owned());
        };
        Lock::wait(&lock_path(&self.path), work.stop, notice)
    }

    /// Makes an empty mirror, unless there is one.
    fn make(&self) -> io::Result<()> {
        let parts = ["HEAD", "config", "objects/pack", "refs"];
        if parts.iter().all(|part| self.path.join(part).exists()) && self.path.is_dir() {
            return Ok(());
        }
        if self.path.symlink_metadata().is_ok() {
            self.discard()?;
        }
        skeleton::create(&self.path, CONFIG)
    }

    fn discard(&self) -> io::Result<()> {
        let aside = with_suffix(&self.path, &format!(".damaged-{}", std::process::id()));
        fs::rename(&self.path, &aside)?;
        if aside.is_dir() { fs::remove_dir_all(&aside) } else { fs::remove_file(&aside) }
    }

    fn fetch(&self, source: &Source<'_>, work: &Work<'_>) -> Result<(), Fault> {
        let repository = self.open()?;
        let odb = repository.odb().map_err(|cause| self.damaged(cause))?;
        let targets = source.snapshot().targets();
        self.remove_litter();
        // Before the first fetch was done, what is here may be a part of something.
        let is_new = !self.path.join("packed-refs").exists();
        let is_wanted = |id: &Oid| is_new || !odb.exists(*id);
        let wants: Vec<Oid> = targets.iter().copied().filter(is_wanted).collect();
        if wants.is_empty() {
            return Ok(());
        }
        let haves = self.haves(&repository, &targets);
        let objects = self.path.join("objects");
        if haves.is_empty() && source.copy_objects(&objects, work)? {
            odb.refresh().map_err(|cause| self.damaged(cause))?;
            if wants.iter().all(|id| odb.exists(*id)) {
                return Ok(());
            }
        }
        let pack = PackWriter::new(&odb, &objects, work.progress, work.stop)?;
        let downloaded = source.download(&wants, &haves, pack, work.stop);
        downloaded.map_err(|fault| match fault {
            // The pack may well be fine, and what it builds on is not.
            Fault::Malformed(cause) if !haves.is_empty() => {
                Fault::MirrorDamaged { url: self.url.clone(), cause }
            }
            fault => fault,
        })
    }

    /// Removes what a fetch that was killed has left; nobody else writes while we have the lock.
    fn remove_litter(&self) {
        let files = fs::read_dir(self.path.join("objects/pack")).into_iter().flatten().flatten();
        for file in files {
            let path = file.path();
            if !path.extension().is_some_and(|end| end == "pack" || end == "idx") {
                // What cannot be removed is in nobody's way.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Commits that are here: what the refs lead to that did not move, then those before the ones
    /// that did.
    fn haves(&self, repository: &Repository, targets: &[Oid]) -> Vec<Oid> {
        let known = self.known_targets();
        let mut haves: Vec<Oid> =
            known.iter().copied().filter(|id| targets.binary_search(id).is_ok()).collect();
        haves.truncate(MAX_HAVES / 2);
        let Ok(mut walk) = repository.revwalk() else { return haves };
        for id in known {
            // Fails for what is not a commit, and for what is not there.
            let _ = walk.push(id);
        }
        let room = MAX_HAVES - haves.len();
        haves.extend(walk.map_while(Result::ok).take(room));
        haves
    }

    fn known_targets(&self) -> Vec<Oid> {
        let file = fs::read(self.path.join("packed-refs")).unwrap_or_default();
        let lines = file.split(|&byte| byte == b'\n');
        lines
            .filter_map(|line| {
                // A tag's own id is no commit; the line that follows it has the commit's.
                let line = line.strip_prefix(b"^").unwrap_or(line);
                Oid::from_str(std::str::from_utf8(line.get(..40)?).ok()?).ok()
            })
            .collect()
    }
}

/// A snapshot as the files of a repository.
struct RefFiles {
    head: Vec<u8>,
    refs: Vec<u8>,
    shallow: Option<Vec<u8>>,
}

impl RefFiles {
    fn of(snapshot: &Snapshot) -> Self {
        let head = match &snapshot.head {
            Head::Branch(name) => Target::Ref(name),
            Head::Detached(id) => Target::Commit(*id),
            Head::Unborn => Target::Ref(b"refs/heads/main"),
        };
        Self {
            head: skeleton::head(head),
            refs: skeleton::packed_refs(snapshot, |name| Some(name.to_vec())),
            shallow: skeleton::shallow(snapshot),
        }
    }

    /// Whether the repository has just these refs, and so their objects.
    fn are_in(&self, repository: &Path) -> bool {
        let holds = |name, content| fs::read(repository.join(name)).is_ok_and(|old| old == content);
        holds("packed-refs", &self.refs[..]) && holds("HEAD", &self.head)
    }

    fn write(&self, repository: &Path) -> io::Result<()> {
        match &self.shallow {
            Some(shallow) => skeleton::replace(&repository.join("shallow"), shallow)?,
            None => remove_if_there(&repository.join("shallow"))?,
        }
        skeleton::replace(&repository.join("HEAD"), &self.head)?;
        // Last: when it is here, everything is.
        skeleton::replace(&repository.join("packed-refs"), &self.refs)
    }
}

/// The lock of a mirror; beside it, so that it outlives the mirror.
pub(crate) fn lock_path(mirror: &Path) -> PathBuf {
    mirror.with_extension("lock")
}

/// When a mirror was last used; the beginning of time if that is not known.
pub(crate) fn last_use(mirror: &Path) -> SystemTime {
    let metadata = fs::symlink_metadata(lock_path(mirror));
    metadata.and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
