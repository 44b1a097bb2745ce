//! Removing what an agent may have left.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Removes whatever is there, without following symlinks; nothing there is fine.
///
/// # Errors
/// When the system does not let us.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let remove = || match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    let removed = match remove() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            remove()
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives us back the right to empty folders that an agent (or Go's module cache) closed; a symlink
/// is an error, for what it leads to is none of ours.
fn open_up(path: &Path) -> io::Result<()> {
    let mut open = vec![path.to_owned()];
    while let Some(folder) = open.pop() {
        open_folder_up(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}

/// The same for one folder; what others may do with it stays.
pub(super) fn open_folder_up(folder: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = fs::File::from(rustix::fs::open(folder, flags, Mode::empty())?);
    let mode = handle.metadata()?.permissions().mode() & 0o7777 | 0o700;
    // The one way to change the mode of a folder that may not be opened, and of no other.
    let itself = format!("/proc/self/fd/{}", handle.as_raw_fd());
    fs::set_permissions(itself, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_tree_is_removed_whatever_its_owner_did_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        fs::write(tree.join("a/b/c"), "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o500)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn the_right_to_folders_is_not_taken_through_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (outside, link) = (root.path().join("outside"), root.path().join("link"));
        fs::create_dir(&outside).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o050)).unwrap();
        symlink(&outside, &link).unwrap();
        assert!(open_up(&link).is_err());
        assert_eq!(outside.metadata().unwrap().permissions().mode() & 0o777, 0o050);
        open_up(&outside).unwrap();
        assert_eq!(outside.metadata().unwrap().permissions().mode() & 0o777, 0o750);
    }
}
