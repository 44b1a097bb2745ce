//! The files that make a folder a git repository, written without libgit2: no template, and no
//! configuration but ours.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::Oid;

use crate::snapshot::Snapshot;

/// Makes the folders of an empty repository in `folder`, and its configuration.
pub(crate) fn create(folder: &Path, config: &[u8]) -> io::Result<()> {
    for name in ["objects/pack", "objects/info", "refs/heads", "refs/tags"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::write(folder.join("config"), config)?;
    // Last, since a folder without it is not yet a repository.
    write_head(folder, Target::Ref(b"refs/heads/main"))
}

/// What HEAD is to be.
pub(crate) enum Target<'a> {
    /// A ref, by its whole name.
    Ref(&'a [u8]),
    /// A commit.
    Commit(Oid),
}

/// Points HEAD somewhere.
pub(crate) fn write_head(folder: &Path, target: Target<'_>) -> io::Result<()> {
    replace(&folder.join("HEAD"), &head(target))
}

/// The content of HEAD.
pub(crate) fn head(target: Target<'_>) -> Vec<u8> {
    match target {
        Target::Ref(name) => [b"ref: ", name, b"\n"].concat(),
        Target::Commit(id) => format!("{id}\n").into_bytes(),
    }
}

/// Lets `folder` borrow the objects of `lender`, both being folders of repositories.
pub(crate) fn borrow_objects(folder: &Path, lender: &Path) -> io::Result<()> {
    let mut line = lender.join("objects").as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    fs::write(folder.join("objects/info/alternates"), line)
}

/// The content of `packed-refs`; `place` says where each ref goes, if anywhere.
pub(crate) fn packed_refs(
    snapshot: &Snapshot,
    place: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let mut lines: Vec<(Vec<u8>, String, String)> = Vec::new();
    for reference in snapshot.refs() {
        let Some(name) = place(&reference.name) else { continue };
        let peeled = reference.peeled.map(|id| format!("^{id}\n")).unwrap_or_default();
        lines.push((name, reference.id.to_string(), peeled));
    }
    // A reader searches in the file, by the order that its first line promises.
    lines.sort();
    let mut file = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
    for (name, id, peeled) in lines {
        file.extend_from_slice(id.as_bytes());
        file.push(b' ');
        file.extend_from_slice(&name);
        file.push(b'\n');
        file.extend_from_slice(peeled.as_bytes());
    }
    file
}

/// The content of `shallow`; none when the history is whole.
pub(crate) fn shallow(snapshot: &Snapshot) -> Option<Vec<u8>> {
    let lines: String = snapshot.shallow.iter().map(|id| format!("{id}\n")).collect();
    (!lines.is_empty()).then(|| lines.into_bytes())
}

/// Writes a file as a whole or not at all.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().unwrap_or(Path::new("."));
    // Readable for the other kind of worker, which may run as another user.
    let mode = fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(folder)?;
    file.write_all(content)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A value of a configuration file in quotes.
pub(crate) fn quoted(value: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    quoted
}

/// A name of a ref as a path below the repository's folder.
pub(crate) fn as_path(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}
