//! Locks between processes, which the kernel releases when their holder dies.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;

/// Between two tries: short beside any fetch, long beside a system call.
const PAUSE: Duration = Duration::from_millis(20);

/// A lock that this process holds until it drops it.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the lock, for as long as the job is not stopped; `wait` is called once if it is
    /// not free at once.
    ///
    /// There is no other limit: who holds it is held to limits of its own.
    pub(crate) fn wait(
        path: &Path,
        stop: &CancellationToken,
        wait: impl FnOnce(),
    ) -> Result<Self, Fault> {
        let mut wait = Some(wait);
        loop {
            if let Some(lock) = Self::try_now(path)? {
                return Ok(lock);
            }
            if stop.is_cancelled() {
                return Err(Fault::Stopped);
            }
            if let Some(wait) = wait.take() {
                wait();
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Marks what is locked as just used, by the time of the lock's file.
    pub(crate) fn touch(&self) {
        // Without it something is taken for older than it is, and at worst fetched again.
        let _ = self.file.set_modified(SystemTime::now());
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_now(path: &Path) -> Result<Option<Self>, Fault> {
        let action = || format!("lock {}", path.file_name().unwrap_or_default().to_string_lossy());
        let open = File::options().create(true).truncate(false).write(true).open(path);
        let file = open.map_err(Fault::io(action()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(errno) => Err(Fault::io(action())(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_waits_and_a_stop_ends_its_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let first = Lock::try_now(&path).unwrap().unwrap();
        assert!(Lock::try_now(&path).unwrap().is_none());
        let stop = CancellationToken::new();
        let fault = Lock::wait(&path, &stop, || stop.cancel()).unwrap_err();
        assert!(matches!(fault, Fault::Stopped));
        drop(first);
        assert!(Lock::try_now(&path).unwrap().is_some());
    }
}
