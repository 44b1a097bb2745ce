//! The volume that git-pull and claude-exec share.

mod job_lock;
mod lender;
mod remove;
mod turn;

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use protocol::{JobId, Step, WorkspaceId};

pub use job_lock::JobLock;
pub use lender::{LENDER, lender_of};
pub use remove::remove_tree;
use turn::Turn;

/// The file that holds the workspace's id.
const MARKER: &str = ".oneshift-workspace";

/// The shared volume; who reads the same id from it sees the same files.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    id: WorkspaceId,
}

/// A folder that cannot be the workspace.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// The folder cannot be used.
    #[error("cannot use the workspace {path}: {cause}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The marker file holds no id.
    #[error("{path} holds no workspace id; remove it to have a new one made")]
    BadMarker {
        /// The marker file.
        path: String,
    },
}

impl Workspace {
    /// Opens the workspace at `root`; makes the folder and its id if there is none yet.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn open(root: &Path) -> Result<Self, WorkspaceError> {
        let io =
            |path: &Path, cause| WorkspaceError::Io { path: path.display().to_string(), cause };
        let folder = |path: &Path| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .map_err(|cause| io(path, cause))
        };
        folder(root)?;
        let root = root.canonicalize().map_err(|cause| io(root, cause))?;
        folder(&root.join("cache"))?;
        folder(&root.join("jobs"))?;
        let marker = root.join(MARKER);
        if !marker.exists() {
            write_marker(&root, &marker).map_err(|cause| io(&marker, cause))?;
        }
        let text = std::fs::read_to_string(&marker).map_err(|cause| io(&marker, cause))?;
        let id = text
            .trim()
            .parse()
            .map_err(|_| WorkspaceError::BadMarker { path: marker.display().to_string() })?;
        Ok(Self { root, id })
    }

    /// The workspace's id.
    #[must_use]
    pub fn id(&self) -> WorkspaceId {
        self.id
    }

    /// The folder of the bare mirrors; only git-pull writes there.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// The folder of all jobs' folders.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    /// A job's folder.
    #[must_use]
    pub fn job(&self, job: JobId) -> PathBuf {
        self.jobs().join(job.to_string())
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The step that worked last in a job's folder, or works there now; none if it cannot be known.
    #[must_use]
    pub fn last_step(&self, job: JobId) -> Option<Step> {
        Turn::last(&self.job(job))?.step()
    }

    /// A job's checkout.
    #[must_use]
    pub fn checkout(&self, job: JobId) -> PathBuf {
        self.job(job).join("repo")
    }

    /// The agent's HOME in a job.
    #[must_use]
    pub fn home(&self, job: JobId) -> PathBuf {
        self.job(job).join("home")
    }
}

/// Several workers may start on an empty volume at once: each writes a whole file of its own, and
/// the first link wins.
fn write_marker(root: &Path, marker: &Path) -> std::io::Result<()> {
    // Readable for the other kind of worker, which runs as another user.
    let mode = std::fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(root)?;
    writeln!(file, "{}", WorkspaceId::random())?;
    file.as_file().sync_all()?;
    match std::fs::hard_link(file.path(), marker) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_open_a_new_workspace_at_once_agree_on_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Workspace::open(folder.path()).unwrap().id();
        let ids: Vec<WorkspaceId> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
