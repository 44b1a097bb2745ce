//! A folder that an agent has left, read through open handles: no symlink is ever followed, and
//! nothing is opened that could block.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;

/// An open folder.
pub(crate) struct Folder(OwnedFd);

/// Something in a folder.
pub(crate) struct Entry {
    pub(crate) name: std::ffi::CString,
    pub(crate) kind: Kind,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    Symlink,
    /// A pipe, socket or device.
    Other,
}

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// `NONBLOCK` in case that a pipe has taken the file's place since it was listed.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl Folder {
    /// Opens a folder whose place is ours, following symlinks on the way to it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens a folder in this one, if it is a folder itself.
    pub(crate) fn folder(&self, name: &CStr) -> io::Result<Self> {
        Ok(Self(openat(&self.0, name, FOLDER, Mode::empty())?))
    }

    /// Everything in this folder, in any order.
    pub(crate) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = self.kind(entry.file_name(), entry.file_type())?;
            let name = entry.file_name().to_owned();
            entries.extend(kind.map(|kind| Entry { name, kind }));
        }
        Ok(entries)
    }

    /// None for what is gone by now.
    fn kind(&self, name: &CStr, listed: FileType) -> io::Result<Option<Kind>> {
        let found = match listed {
            // Some file systems do not say.
            FileType::Unknown => match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            },
            listed => listed,
        };
        Ok(Some(match found {
            FileType::Directory => Kind::Folder,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        }))
    }

    /// Opens a file in this folder, if it is a regular one itself.
    pub(crate) fn file(&self, name: &CStr) -> io::Result<File> {
        let file = File::from(openat(&self.0, name, FILE, Mode::empty())?);
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::Error::other("not a regular file"))
    }

    /// Where a symlink in this folder points.
    pub(crate) fn link(&self, name: &CStr) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn symlinks_and_pipes_are_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(outside.path(), root.path().join("folder")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("file")).unwrap();
        rustix::fs::mknodat(CWD, root.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        assert!(folder.folder(c"folder").is_err());
        assert!(folder.file(c"file").is_err());
        assert!(folder.file(c"pipe").is_err());
        let pipe = folder.entries().unwrap().into_iter().find(|entry| &*entry.name == c"pipe");
        assert_eq!(pipe.unwrap().kind, Kind::Other);
    }
}
