//! A job's folder in the workspace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use service::protocol::JobId;
use service::workspace::{LENDER, Workspace, lender_of, remove_tree};

use crate::fault::Fault;
use crate::mirror::Mirror;
use crate::skeleton;

/// The folder of one job: its checkout, and what git-pull notes about it.
#[derive(Debug)]
pub(crate) struct JobFolder {
    job: JobId,
    path: PathBuf,
}

impl JobFolder {
    pub(crate) fn new(workspace: &Workspace, job: JobId) -> Self {
        Self { job, path: workspace.job(job) }
    }

    /// Where the repository is checked out.
    pub(crate) fn checkout(&self) -> PathBuf {
        self.path.join("repo")
    }

    /// Makes an empty checkout in the folder, whose lock we have; what an earlier attempt left there is removed.
    pub(crate) fn prepare(&self) -> Result<(), Fault> {
        let prepare = || {
            if !is_folder(&self.path) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            remove_tree(&self.checkout())?;
            fs::create_dir(self.checkout())
        };
        prepare().map_err(Fault::io("make the job's folder"))
    }

    /// Removes the checkout as far as that is possible.
    pub(crate) fn discard_checkout(&self) {
        if let Err(error) = remove_tree(&self.checkout()) {
            tracing::warn!("cannot remove {}: {error}", self.checkout().display());
        }
    }

    /// Notes which mirror the checkout borrows from; until the folder is gone, it must stay.
    pub(crate) fn borrow_from(&self, mirror: &Mirror) -> Result<(), Fault> {
        let note = format!("{}\n", mirror.name());
        skeleton::replace(&self.path.join(LENDER), note.as_bytes())
            .map_err(Fault::io("write into the job's folder"))
    }

    /// Checks that there is a checkout, and that it was pulled from the mirror's repository.
    pub(crate) fn check(&self, mirror: &Mirror, url: &str) -> Result<(), Fault> {
        let lender = lender_of(&self.path);
        if !is_folder(&self.path) || !is_folder(&self.checkout()) || lender.is_none() {
            return Err(Fault::NoCheckout { job: self.job });
        }
        if lender != Some(mirror.name()) {
            return Err(Fault::OtherRepository { job: self.job, url: url.to_owned() });
        }
        Ok(())
    }
}

/// Whether this is a folder itself, and not a symlink to one.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_in_the_place_of_a_job_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(root.path()).unwrap();
        let folder = JobFolder::new(&workspace, JobId::random());
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), &folder.path).unwrap();
        assert!(folder.prepare().is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
