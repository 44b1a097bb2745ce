//! What a checkout will consist of, found and checked before anything is written.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository, Tree};

use crate::fault::Fault;

/// Most files of a checkout; the largest public repositories have half as many. A few small trees
/// can stand for billions of files.
const MAX_FILES: usize = 1_000_000;

/// Longest path; Linux has no longer ones.
const MAX_PATH_BYTES: usize = 4000;

/// Everything in a tree, by relative path.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Folders, each after the one that it is in.
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) files: Vec<PlannedFile>,
    pub(crate) symlinks: Vec<PlannedFile>,
    /// Folders that are left empty, with the commit that belongs there.
    pub(crate) submodules: Vec<PlannedFile>,
}

/// One entry of the index.
#[derive(Debug)]
pub(crate) struct PlannedFile {
    pub(crate) path: PathBuf,
    pub(crate) id: Oid,
    /// As in the index: 100644, 100755, 120000 or 160000, octal.
    pub(crate) mode: u32,
}

pub(crate) const REGULAR: u32 = 0o100_644;
pub(crate) const EXECUTABLE: u32 = 0o100_755;
pub(crate) const SYMLINK: u32 = 0o120_000;
pub(crate) const SUBMODULE: u32 = 0o160_000;
pub(crate) const TREE: u32 = 0o040_000;

impl Plan {
    /// Reads all trees below `root`; `unreadable` is the fault of one that cannot be read.
    pub(crate) fn read(
        repository: &Repository,
        root: Oid,
        unreadable: impl Fn(git2::Error) -> Fault,
    ) -> Result<Self, Fault> {
        let mut plan = Self::default();
        let mut open = vec![(PathBuf::new(), root)];
        while let Some((path, id)) = open.pop() {
            let tree = repository.find_tree(id).map_err(&unreadable)?;
            plan.add(&path, &tree, &mut open)?;
            if plan.len() > MAX_FILES {
                return Err(Fault::Malformed(format!("it has more than {MAX_FILES} files")));
            }
        }
        Ok(plan)
    }

    fn len(&self) -> usize {
        let Self { folders, files, symlinks, submodules } = self;
        folders.len() + files.len() + symlinks.len() + submodules.len()
    }

    fn add(
        &mut self,
        folder: &Path,
        tree: &Tree<'_>,
        open: &mut Vec<(PathBuf, Oid)>,
    ) -> Result<(), Fault> {
        for entry in tree.iter() {
            let name = entry.name_bytes();
            let path = folder.join(OsStr::from_bytes(name));
            if !is_safe(name) || path.as_os_str().len() > MAX_PATH_BYTES {
                return Err(Fault::Malformed(format!("it has a file named {path:?}")));
            }
            let id = entry.id();
            let file = |path, mode| PlannedFile { path, id, mode };
            match u32::try_from(entry.filemode()).unwrap_or_default() {
                TREE => {
                    self.folders.push(path.clone());
                    open.push((path, id));
                }
                SYMLINK => self.symlinks.push(file(path, SYMLINK)),
                SUBMODULE => self.submodules.push(file(path, SUBMODULE)),
                EXECUTABLE => self.files.push(file(path, EXECUTABLE)),
                _ => self.files.push(file(path, REGULAR)),
            }
        }
        Ok(())
    }
}

/// Whether a name stays in its folder and out of `.git`; git's own rules for all systems.
pub(crate) fn is_safe(name: &[u8]) -> bool {
    let is_git =
        |name: &[u8]| name.eq_ignore_ascii_case(b".git") || name.eq_ignore_ascii_case(b"git~1");
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !is_git(name)
}

/// Checks that a folder is in the tree, as a folder all the way.
pub(crate) fn check_directory(
    repository: &Repository,
    root: Oid,
    directory: &Path,
    url: &str,
) -> Result<(), Fault> {
    let fault = |what| Fault::DirectoryNotFound {
        directory: directory.display().to_string(),
        what,
        url: url.to_owned(),
    };
    let mut tree = repository.find_tree(root).map_err(|_| fault("does not exist"))?;
    for part in directory.components() {
        let std::path::Component::Normal(name) = part else { continue };
        let entry = tree.get_name_bytes(name.as_bytes()).ok_or_else(|| fault("does not exist"))?;
        let next = match u32::try_from(entry.filemode()).unwrap_or_default() {
            TREE => repository.find_tree(entry.id()).map_err(|_| fault("does not exist"))?,
            SYMLINK => return Err(fault("is, or passes through, a symlink")),
            SUBMODULE => return Err(fault("is in a submodule, which is not checked out")),
            _ => return Err(fault("is not a folder")),
        };
        drop(entry);
        tree = next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_small_trees_that_stand_for_too_much_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path()).unwrap();
        let tree = |entries: u32, id: Oid, mode: u32| {
            let mut builder = repository.treebuilder(None).unwrap();
            for number in 0..entries {
                builder.insert(number.to_string(), id, mode.cast_signed()).unwrap();
            }
            builder.write().unwrap()
        };
        let commit = Oid::from_str("1111111111111111111111111111111111111111").unwrap();
        let submodules = tree(1000, commit, SUBMODULE);
        let root = tree(1001, submodules, TREE);
        let fault = Plan::read(&repository, root, |cause| Fault::git("read")(cause)).unwrap_err();
        assert!(matches!(fault, Fault::Malformed(_)), "{fault}");
    }

    #[test]
    fn names_that_leave_their_folder_or_reach_into_git_are_unsafe() {
        for name in ["", ".", "..", ".git", ".GIT", "git~1", "a/b"] {
            assert!(!is_safe(name.as_bytes()), "{name}");
        }
        for name in [".gitignore", "git", "...", " ", "\u{fc}"] {
            assert!(is_safe(name.as_bytes()), "{name}");
        }
    }
}
