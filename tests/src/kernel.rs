//! What the kernel knows of running programs.

use std::fs;
use std::path::Path;

/// A process, as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: u32,
    /// Its program's name, cut off after 15 bytes.
    pub name: String,
    /// Who started it, or took it over.
    pub parent: u32,
}

/// Whether a process is there and not a zombie.
#[must_use]
pub fn is_alive(id: u32) -> bool {
    look_at(id).is_some()
}

/// The processes that `parent` has started and that still run.
#[must_use]
pub fn children_of(parent: u32) -> Vec<Seen> {
    all().into_iter().filter(|seen| seen.parent == parent).collect()
}

/// Those of these processes that still run.
#[must_use]
pub fn still_there(seen: &[Seen]) -> Vec<Seen> {
    // A number may be another program's by now.
    let same = |seen: &Seen| look_at(seen.id).filter(|now| now.name == seen.name);
    seen.iter().filter_map(same).collect()
}

/// The processes whose working directory is `folder` or below it.
#[must_use]
pub fn working_below(folder: &Path) -> Vec<Seen> {
    let works_there = |seen: &Seen| {
        let place = fs::read_link(format!("/proc/{}/cwd", seen.id));
        place.is_ok_and(|place| place.starts_with(folder))
    };
    all().into_iter().filter(works_there).collect()
}

/// The processes that have ended and that `parent` has not yet waited for.
#[must_use]
pub fn zombies_of(parent: u32) -> Vec<Seen> {
    let zombies = ids().filter_map(stat).filter(|(_, is_zombie)| *is_zombie);
    zombies.map(|(seen, _)| seen).filter(|seen| seen.parent == parent).collect()
}

fn all() -> Vec<Seen> {
    ids().filter_map(look_at).collect()
}

fn ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc is there on Linux").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process, if it is there and not a zombie.
#[must_use]
pub fn look_at(id: u32) -> Option<Seen> {
    stat(id).filter(|(_, is_zombie)| !is_zombie).map(|(seen, _)| seen)
}

/// A process, if it is there, and whether it is a zombie.
fn stat(id: u32) -> Option<(Seen, bool)> {
    // By `proc_pid_stat(5)`: id, name in parentheses, state, parent.
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_whitespace();
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    Some((Seen { id, name: name.to_owned(), parent: fields.next()?.parse().ok()? }, is_zombie))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_seen_as_long_as_it_runs() {
        let mut child = Command::new("sleep").arg("1000").current_dir("/").spawn().unwrap();
        let id = child.id();
        let seen = children_of(std::process::id());
        assert!(seen.iter().any(|seen| seen.id == id), "{seen:?}");
        assert!(is_alive(id));
        child.kill().unwrap();
        while is_alive(id) {
            std::thread::yield_now();
        }
        let zombies = zombies_of(std::process::id());
        assert!(zombies.iter().any(|seen| seen.id == id), "{zombies:?}");
        child.wait().unwrap();
        assert!(!is_alive(id));
    }
}
