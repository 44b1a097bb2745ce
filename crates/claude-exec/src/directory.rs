//! The folders of a job: those it works in, and those it is given.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use service::one_shot::Job;
use service::protocol::{Directory, Outcome, Reason};
use service::workspace::{Workspace, remove_tree};

use crate::homes;

/// Where a job's programs run.
#[derive(Debug)]
pub(crate) struct Folders {
    /// The checkout, or the folder inside it that the caller chose.
    pub(crate) work: PathBuf,
    /// Their HOME.
    pub(crate) home: PathBuf,
    /// Their TMPDIR.
    pub(crate) temporary: PathBuf,
    /// The file with the agent's prompt.
    pub(crate) prompt: PathBuf,
}

impl Folders {
    /// Finds or makes the job's folders; those of its own, other than the checkout, are empty.
    ///
    /// # Errors
    /// The outcome of a job whose checkout or directory is not there.
    pub(crate) fn open(
        workspace: &Workspace,
        job: &Job,
        directory: Option<&Directory>,
    ) -> Result<Self, Box<Outcome>> {
        let folder = workspace.job(job.id());
        let checkout = workspace.checkout(job.id());
        if job.is_named() {
            if !is_real_folder(&checkout) {
                return Err(no_checkout(&checkout));
            }
        } else {
            make(&folder).and_then(|()| make(&checkout)).map_err(|e| unusable(&checkout, &e))?;
        }
        let work = inside(&checkout, directory)?;
        let home = workspace.home(job.id());
        let temporary = folder.join("tmp");
        let prompt = folder.join("prompt");
        // An earlier attempt's agent may have left anything there, also what a CLI obeys.
        homes::put_aside(&folder, &home, job.attempt()).map_err(|error| unusable(&home, &error))?;
        for own in [&temporary, &prompt] {
            remove_tree(own).map_err(|error| unusable(own, &error))?;
        }
        for own in [&home, &temporary] {
            make(own).map_err(|error| unusable(own, &error))?;
        }
        Ok(Self { work, home, temporary, prompt })
    }
}

/// The folder inside the checkout, component by component, none of them a symlink: what the
/// repository holds must not lead the agent to another place.
fn inside(checkout: &Path, directory: Option<&Directory>) -> Result<PathBuf, Box<Outcome>> {
    let mut path = checkout.to_owned();
    let Some(directory) = directory else { return Ok(path) };
    for part in directory.as_path().components() {
        let Component::Normal(part) = part else { continue };
        path.push(part);
        let fault = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => continue,
            Ok(metadata) if metadata.is_symlink() => "is or goes through a symlink",
            Ok(_) => "is not a folder",
            Err(_) => "does not exist in the checkout",
        };
        let message = format!("directory {:?} {fault}", directory.to_string());
        return Err(Box::new(Outcome::failed(Reason::DirectoryNotFound, message)));
    }
    Ok(path)
}

fn is_real_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

/// Makes a folder that only this user may enter; one that is there already will do.
fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_dir = path.symlink_metadata().as_ref().is_ok_and(Metadata::is_dir);
            if is_dir { Ok(()) } else { Err(error) }
        }
        made => made,
    }
}

fn no_checkout(checkout: &Path) -> Box<Outcome> {
    let message = format!(
        "the job has no checkout at {}; do claude-exec and git-pull share one workspace?",
        checkout.display()
    );
    Box::new(Outcome::failed(Reason::InternalError, message))
}

/// The outcome of a job one of whose own files or folders cannot be made.
pub(crate) fn unusable(path: &Path, error: &io::Error) -> Box<Outcome> {
    let (reason, what) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (Reason::DiskFull, "the disk of the workspace is full; ")
        }
        _ => (Reason::InternalError, ""),
    };
    let message = format!("{what}cannot make {} anew: {error}", path.display());
    Box::new(Outcome::failed(reason, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn fault(checkout: &Path, directory: &str) -> Option<String> {
        let directory = Directory::try_from(directory.to_owned()).unwrap();
        inside(checkout, Some(&directory)).err().map(|outcome| {
            assert_eq!(outcome.reason, Some(Reason::DirectoryNotFound));
            outcome.message
        })
    }

    #[test]
    fn a_directory_must_be_a_real_folder_of_the_checkout() {
        let checkout = tempfile::tempdir().unwrap();
        let root = checkout.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        symlink("/", root.join("outside")).unwrap();
        symlink("b", root.join("a/link")).unwrap();
        assert_eq!(fault(root, "a/b"), None);
        assert_eq!(fault(root, "./a/"), None);
        for (directory, words) in [
            ("outside", "symlink"),
            ("outside/etc", "symlink"),
            ("a/link", "symlink"),
            ("file", "not a folder"),
            ("file/x", "not a folder"),
            ("missing", "does not exist"),
        ] {
            let message = fault(root, directory).unwrap();
            assert!(message.contains(words) && message.contains(directory), "{message}");
        }
    }

    #[test]
    fn home_is_private() {
        let root = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(root.path()).unwrap();
        let folders = Folders::open(&workspace, &Job::detached(), None).unwrap();
        let mode = folders.home.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(folders.temporary.is_dir() && folders.work.is_dir());
    }

    #[test]
    fn what_an_earlier_agent_left_is_gone_and_no_link_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(root.path()).unwrap();
        let job = Job::detached();
        let folders = Folders::open(&workspace, &job, None).unwrap();
        std::fs::create_dir_all(folders.home.join(".claude")).unwrap();
        std::fs::write(folders.home.join(".claude/settings.json"), "{}").unwrap();
        let closed = std::fs::Permissions::from_mode(0o500);
        std::fs::set_permissions(folders.home.join(".claude"), closed).unwrap();
        std::fs::create_dir_all(folders.prompt.join("in the way")).unwrap();
        std::fs::remove_dir(&folders.temporary).unwrap();
        let outside = root.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "").unwrap();
        symlink(&outside, &folders.temporary).unwrap();
        std::fs::write(folders.work.join("work"), "").unwrap();
        let again = Folders::open(&workspace, &job, None).unwrap();
        for own in [&again.home, &again.temporary] {
            let metadata = own.symlink_metadata().unwrap();
            assert!(metadata.is_dir() && own.read_dir().unwrap().next().is_none(), "{own:?}");
        }
        assert!(!again.prompt.exists() && outside.join("kept").exists());
        assert!(again.work.join("work").exists());
    }
}
