//! Whether a failure was for lack of room, where libgit2 tells no error number.

use std::io;
use std::path::Path;

/// Less than this is a full disk: no file system hands out its last blocks to everybody.
const FULL_BYTES: u64 = 1024 * 1024;

/// To be asked right after a write into `folder` failed, before what it wrote is removed.
pub(crate) fn was_lacking(folder: &Path) -> bool {
    let last = io::Error::last_os_error().kind();
    matches!(last, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) || is_full(folder)
}

fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| {
        let has_no_inode = disk.f_files > 0 && disk.f_favail == 0;
        disk.f_bavail.saturating_mul(disk.f_frsize) < FULL_BYTES || has_no_inode
    })
}
