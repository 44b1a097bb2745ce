//! A place for the objects of one delivery, gone when it is dropped. It borrows what the mirror
//! has, and nothing of the checkout's own `.git`.

use std::path::Path;

use git2::{Commit, ErrorCode, ObjectType, Odb, Oid, Repository, Tree};
use tempfile::TempDir;

use crate::disk_space;
use crate::fault::Fault;
use crate::mirror::Mirror;
use crate::skeleton;

/// Comes before whatever the machine's own configuration says about diffs.
const CONFIG: &[u8] = b"[core]\n\trepositoryformatversion = 0\n\tbare = true\n\
    \tattributesFile = /dev/null\n\texcludesFile = /dev/null\n\
    [diff]\n\tnoprefix = false\n\tmnemonicPrefix = false\n";

/// What the names of such places start with, beside the mirrors; housekeeping knows it as well.
const PREFIX: &str = "deliver-";

/// The throw-away repository.
pub(crate) struct Store {
    folder: TempDir,
    repository: Repository,
}

impl Store {
    /// Makes a place in `cache`, which only git-pull writes into.
    pub(crate) fn new(cache: &Path, mirror: &Mirror) -> Result<Self, Fault> {
        let make = || {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(cache)?;
            skeleton::create(folder.path(), CONFIG)?;
            skeleton::borrow_objects(folder.path(), mirror.path())?;
            Ok(folder)
        };
        let folder = make().map_err(Fault::io("make a place for the delivery"))?;
        let repository = Repository::open_bare(folder.path())
            .map_err(Fault::git("open the place for the delivery"))?;
        Ok(Self { folder, repository })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(crate) fn odb(&self) -> Result<Odb<'_>, Fault> {
        self.repository.odb().map_err(Fault::git("open the place for the delivery"))
    }

    /// The commit that the checkout was made from; none when the mirror does not have it.
    pub(crate) fn commit(&self, id: Oid) -> Result<Option<Commit<'_>>, Fault> {
        match self.repository.find_commit(id) {
            Ok(commit) => Ok(Some(commit)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(Fault::git("read the commit that the job started from")(error)),
        }
    }

    pub(crate) fn tree(&self, id: Oid) -> Result<Tree<'_>, Fault> {
        self.repository.find_tree(id).map_err(Fault::git("read a folder of the repository"))
    }

    /// Keeps a file's content.
    pub(crate) fn keep(&self, odb: &Odb<'_>, content: &[u8]) -> Result<Oid, Fault> {
        odb.write(ObjectType::Blob, content).map_err(self.explain("keep a changed file"))
    }

    /// For `map_err` of what writes here.
    pub(crate) fn explain(&self, action: &'static str) -> impl FnOnce(git2::Error) -> Fault {
        let objects = self.path().join("objects");
        move |cause| match disk_space::was_lacking(&objects) {
            true => Fault::DiskFull,
            false => Fault::Git { action: action.to_owned(), cause },
        }
    }
}
