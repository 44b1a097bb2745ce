//! One gateway at a time per store.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::OpenError;

/// How often to look whether the lock is free.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the store's lock, which lasts until the returned file is closed, by whatever means.
pub(super) fn acquire(folder: &Path, wait: Duration) -> Result<File, OpenError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.map_err(|error| OpenError::io(folder, error))?;
    let path = folder.join("oneshift.lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(|error| OpenError::io(&path, error))?;
    let since = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if since.elapsed() < wait => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                let folder = folder.display().to_string();
                return Err(OpenError::InUse { folder, seconds: wait.as_secs() });
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(OpenError::io(&path, error.into())),
        }
    }
}
