//! The homes of a job's earlier attempts, with what their agents left there: transcripts above all.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use service::workspace::remove_tree;

/// How many are kept beside the current one: there may be large caches in a home.
const KEPT: usize = 3;

/// Says to which attempt the current home belongs. A symlink whose target is the number: whatever an
/// agent makes of it, to read it takes no time and follows nothing.
const MARK: &str = "home.attempt";

/// Puts the home that an earlier attempt left in a job's folder aside, as `home-<its attempt>`, and
/// removes the oldest of those. What an agent put in their places is removed, never followed.
///
/// # Errors
/// When the system does not let us.
pub(crate) fn put_aside(folder: &Path, home: &Path, attempt: u32) -> io::Result<()> {
    let mark = folder.join(MARK);
    if is_real_folder(home) {
        let earlier = earlier(folder, marked(&mark, attempt));
        remove_tree(&earlier)?;
        fs::rename(home, earlier)?;
    }
    remove_tree(home)?;
    remove_old(folder, attempt)?;
    remove_tree(&mark)?;
    symlink(attempt.to_string(), mark)
}

fn earlier(folder: &Path, attempt: u32) -> PathBuf {
    folder.join(format!("home-{attempt}"))
}

/// To which attempt the home belongs that this one finds; without a mark, to the one before.
fn marked(mark: &Path, attempt: u32) -> u32 {
    let number = fs::read_link(mark).ok().and_then(|number| number.to_str()?.parse().ok());
    number
        .filter(|number| (1..=attempt).contains(number))
        .unwrap_or(attempt.saturating_sub(1).max(1))
}

fn remove_old(folder: &Path, attempt: u32) -> io::Result<()> {
    let mut kept: Vec<u32> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(number) = name.to_string_lossy().strip_prefix("home-").map(str::to_owned) else {
            continue;
        };
        let path = folder.join(&name);
        let number = number.parse().ok().filter(|number| (1..=attempt).contains(number));
        match number.filter(|number| path == earlier(folder, *number) && is_real_folder(&path)) {
            Some(number) => kept.push(number),
            None => remove_tree(&path)?,
        }
    }
    kept.sort_unstable_by_key(|number| Reverse(*number));
    kept.into_iter().skip(KEPT).try_for_each(|number| remove_tree(&earlier(folder, number)))
}

fn is_real_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// An attempt begins; its agent leaves a transcript.
    fn attempt(folder: &Path, attempt: u32) {
        let home = folder.join("home");
        put_aside(folder, &home, attempt).unwrap();
        fs::create_dir(&home).unwrap();
        fs::write(home.join("transcript"), attempt.to_string()).unwrap();
    }

    /// Which homes are there, and whose transcript is in each.
    fn homes(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let homes = entries.filter(|entry| entry.path().is_dir() && !entry.path().is_symlink());
        let text = |entry: fs::DirEntry| {
            let transcript = fs::read_to_string(entry.path().join("transcript")).unwrap();
            (entry.file_name().into_string().unwrap(), transcript)
        };
        let mut homes: Vec<_> = homes.map(text).collect();
        homes.sort();
        homes
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn each_home_is_kept_under_its_own_attempt_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        attempt(folder, 1);
        // The second never reached its agent.
        attempt(folder, 3);
        assert_eq!(homes(folder), pairs(&[("home", "3"), ("home-1", "1")]));
        for number in 4..=6 {
            attempt(folder, number);
        }
        let latest = [("home", "6"), ("home-3", "3"), ("home-4", "4"), ("home-5", "5")];
        assert_eq!(homes(folder), pairs(&latest));
    }

    #[test]
    fn an_attempt_that_begins_twice_keeps_the_later_home() {
        let folder = tempfile::tempdir().unwrap();
        attempt(folder.path(), 1);
        attempt(folder.path(), 1);
        attempt(folder.path(), 1);
        assert_eq!(homes(folder.path()), pairs(&[("home", "1"), ("home-1", "1")]));
    }

    #[test]
    fn what_an_agent_put_in_the_way_is_removed_and_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, outside) = (folder.path().join("job"), folder.path().join("outside"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        attempt(&folder, 1);
        // Its home and the place of its later home lead elsewhere, and its mark lies.
        fs::remove_dir_all(folder.join("home")).unwrap();
        for name in ["home", "home-1", "home-0", "home-01", "home-99", "home-x", "home-"] {
            symlink(&outside, folder.join(name)).unwrap();
        }
        fs::remove_file(folder.join(MARK)).unwrap();
        symlink("../../outside", folder.join(MARK)).unwrap();
        attempt(&folder, 2);
        assert_eq!(homes(&folder), pairs(&[("home", "2")]));
        // A folder in the place, a closed home, and marks that are none.
        for (number, mark) in [(3, "99"), (4, "-1"), (5, "0")] {
            fs::create_dir_all(folder.join(format!("home-{}", number - 1)).join("x")).unwrap();
            fs::set_permissions(folder.join("home"), fs::Permissions::from_mode(0o000)).unwrap();
            fs::remove_file(folder.join(MARK)).unwrap();
            symlink(mark, folder.join(MARK)).unwrap();
            attempt(&folder, number);
            let before = earlier(&folder, number - 1);
            fs::set_permissions(&before, fs::Permissions::from_mode(0o700)).unwrap();
            let transcript = fs::read_to_string(before.join("transcript")).unwrap();
            assert_eq!(transcript, (number - 1).to_string());
        }
        assert!(outside.join("kept").exists());
        let left: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left.len(), 1 + KEPT + 1, "{left:?}");
    }
}
