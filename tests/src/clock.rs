//! A clock that leaps, for programs that are started with it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::environment::tool;
use crate::stack::Setup;

/// The time of day of the programs that are started with it; timers and agents are not touched.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    folder: TempDir,
}

impl Clock {
    /// A clock that is right. `None`, which is said aloud, when libfaketime is not there.
    ///
    /// # Panics
    /// When there is `faketime`, but not its library.
    #[must_use]
    pub fn new() -> Option<Self> {
        tool("faketime")?;
        let library = find_library().expect("Debian's faketime comes with its library");
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let clock = Self { library, folder };
        clock.set(0);
        Some(clock)
    }

    /// Sets it so many seconds before (if negative) or after the true time, at once.
    ///
    /// # Panics
    /// When the file that says so cannot be written.
    pub fn set(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("a temporary folder can be written");
        fs::rename(&new, self.file()).expect("a file can be replaced");
    }

    /// A setup all of whose services go by it.
    #[must_use]
    pub fn rule(&self, setup: Setup) -> Setup {
        let variables = self.variables().into_iter();
        variables.fold(setup, |setup, (name, value)| setup.env(name, value))
    }

    /// What a program needs in its environment to go by it.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, OsString); 5] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
            // The files' times are the kernel's, which knows nothing of this.
            ("NO_FAKE_STAT", "1".into()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

/// Debian keeps it in the folder of the machine's architecture.
fn find_library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let roots = folders.chain([Path::new("/usr/lib").to_owned()]);
    let files = roots.map(|root| root.join("faketime/libfaketimeMT.so.1"));
    files.into_iter().find(|file| file.exists())
}
