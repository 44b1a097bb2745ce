//! The `.git` folder of a checkout.

use std::fs;
use std::io;
use std::path::Path;

use url::Url;

use crate::mirror::Mirror;
use crate::skeleton::{self, Target, as_path};
use crate::snapshot::{Found, Head, Snapshot};

/// Makes the `.git` folder for what was found; none for an empty repository.
///
/// The branch is a local one that follows the remote's; a tag, or a remote HEAD that is on no
/// branch, is a detached HEAD. The remote's address is the public one.
pub(crate) fn create(
    git: &Path,
    mirror: &Mirror,
    url: &Url,
    snapshot: &Snapshot,
    found: Option<&Found>,
) -> io::Result<()> {
    let branch = found.and_then(Found::branch);
    skeleton::create(git, &config(url, branch))?;
    skeleton::borrow_objects(git, mirror.path())?;
    fs::write(git.join("packed-refs"), skeleton::packed_refs(snapshot, remote_name))?;
    if let Some(shallow) = skeleton::shallow(snapshot) {
        fs::write(git.join("shallow"), shallow)?;
    }
    if let Head::Branch(name) = &snapshot.head
        && let Some(name) = remote_name(name)
    {
        let head = git.join("refs/remotes/origin/HEAD");
        fs::create_dir_all(git.join("refs/remotes/origin"))?;
        fs::write(head, skeleton::head(Target::Ref(&name)))?;
    }
    let Some(found) = found else { return Ok(()) };
    match (branch, &found.name) {
        (Some(_), Some(name)) => {
            let path = git.join(as_path(name));
            fs::create_dir_all(path.parent().unwrap_or(git))?;
            fs::write(path, format!("{}\n", found.commit))?;
            skeleton::write_head(git, Target::Ref(name))
        }
        _ => skeleton::write_head(git, Target::Commit(found.commit)),
    }
}

/// Where a remote's branch or tag is to be found here.
fn remote_name(name: &[u8]) -> Option<Vec<u8>> {
    match name.strip_prefix(b"refs/heads/") {
        // Would be in the way of the remote's own HEAD.
        Some(b"HEAD") => None,
        Some(branch) => Some([b"refs/remotes/origin/", branch].concat()),
        None => Some(name.to_vec()),
    }
}

fn config(url: &Url, branch: Option<&[u8]>) -> Vec<u8> {
    let mut config = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
        \tlogallrefupdates = true\n[remote \"origin\"]\n\turl = "
        .to_vec();
    config.extend(skeleton::quoted(url.as_str().as_bytes()));
    config.extend_from_slice(b"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n");
    if let Some(branch) = branch {
        config.extend_from_slice(b"[branch ");
        config.extend(skeleton::quoted(branch));
        config.extend_from_slice(b"]\n\tremote = origin\n\tmerge = ");
        config.extend(skeleton::quoted(&[b"refs/heads/", branch].concat()));
        config.push(b'\n');
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_branch_stays_within_its_quotes() {
        let url = Url::parse("https://host/repo").unwrap();
        let config = String::from_utf8(config(&url, Some(b"a\"]b"))).unwrap();
        assert!(config.contains("[branch \"a\\\"]b\"]\n"), "{config}");
    }
}
