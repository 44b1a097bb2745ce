//! A disk that a test can fill.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::binaries::binaries;
use crate::environment::{skipped, tool};
use crate::process::{Launch, Process};

/// A few megabytes of memory as a disk. Only programs that are started on it see it: it is mounted
/// in a namespace of its own.
#[derive(Debug)]
pub struct SmallDisk {
    /// Keeps the namespace.
    keeper: Process,
    folder: TempDir,
    own_user: bool,
}

/// What takes up the room of a disk, until it is dropped.
#[derive(Debug)]
pub struct Filler(PathBuf);

impl SmallDisk {
    /// A disk of so many megabytes. `None`, which is said aloud, where that is not allowed.
    ///
    /// # Panics
    /// When there is no room for a temporary folder.
    pub async fn new(megabytes: u32) -> Option<Self> {
        for program in ["unshare", "nsenter", "mount"] {
            tool(program)?;
        }
        let own_user = !rustix::process::geteuid().is_root();
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let script = format!(
            "mount -t tmpfs -o size={megabytes}m tmpfs '{}' && echo mounted && exec sleep 100000",
            folder.path().display()
        );
        let user: &[&str] = if own_user { &["--user", "--map-root-user"] } else { &[] };
        let keeper = Launch::program(Path::new("unshare"))
            .args(user)
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .start();
        let mut disk = Self { keeper, folder, own_user };
        if !disk.is_mounted().await {
            skipped("full disks", "this machine allows no mount namespaces");
            return None;
        }
        Some(disk)
    }

    async fn is_mounted(&mut self) -> bool {
        loop {
            if self.keeper.lines().iter().any(|line| line == "mounted") {
                return true;
            }
            if !self.keeper.is_running() {
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// The disk's folder, as the programs on it see it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The disk's folder, as the test sees it.
    #[must_use]
    pub fn ours(&self) -> PathBuf {
        let path = self.path().strip_prefix("/").expect("a temporary folder's path is absolute");
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(path)
    }

    /// Will start a program of the workspace where it sees the disk.
    #[must_use]
    pub fn launch(&self, name: &str) -> Launch {
        let user: &[&str] = if self.own_user { &["--user", "--preserve-credentials"] } else { &[] };
        Launch::program(Path::new("nsenter"))
            .args(user)
            .args(["--mount", "--target", &self.keeper.id().to_string(), "--"])
            .args([AsRef::<OsStr>::as_ref(&binaries().join(name))])
    }

    /// Fills the disk to its last byte.
    ///
    /// # Panics
    /// When that fails for another reason than lack of room.
    #[must_use]
    pub fn fill(&self) -> Filler {
        let path = self.ours().join("filler");
        let mut file = File::create(&path).expect("a disk that is not full takes a file");
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0; size];
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("the disk cannot be filled: {error}"),
                }
            }
        }
        Filler(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // The disk may be gone already.
        let _ = fs::remove_file(&self.0);
    }
}
