//! Finding and killing every process below another one.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

/// Pause between two rounds of killing: what was killed needs a moment to be gone.
const ROUND: Duration = Duration::from_millis(1);

/// One process, as `/proc/<pid>/stat` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: Pid,
    parent: i32,
    group: i32,
    is_zombie: bool,
}

/// Kills everything below this process, which must be a subreaper, until nothing is left or
/// `patience` is over. Returns how many were killed.
///
/// Whoever calls this must have no child that it still needs.
pub(crate) fn kill_all_below(this: Pid, patience: Duration) -> u32 {
    let give_up = Instant::now() + patience;
    let mut sweep = Sweep::new(this);
    // A process that forks while /proc is read may be missed once, so one empty look is not enough.
    let mut empty_looks = 0;
    while empty_looks < 2 && Instant::now() < give_up {
        let found = sweep.kill_round();
        for zombie in found.iter().filter(|process| process.parent == this.as_raw_pid()) {
            // An error means that somebody else has waited for it already.
            let _ = waitpid(Some(zombie.id), WaitOptions::NOHANG);
        }
        empty_looks = if found.is_empty() { empty_looks + 1 } else { 0 };
        thread::sleep(ROUND);
    }
    sweep.killed()
}

/// Rounds of killing everything below one process.
#[derive(Debug)]
pub(super) struct Sweep {
    root: Pid,
    killed: HashSet<i32>,
}

impl Sweep {
    pub(super) fn new(root: Pid) -> Self {
        Self { root, killed: HashSet::new() }
    }

    /// How many processes were killed so far.
    pub(super) fn killed(&self) -> u32 {
        u32::try_from(self.killed.len()).unwrap_or(u32::MAX)
    }

    /// Kills what is below the root now; returns all that was found, zombies too.
    ///
    /// Whole process groups are killed first: the kernel does that in one go, so a group that
    /// forks without end cannot outrun it.
    pub(super) fn kill_round(&mut self) -> Vec<Process> {
        let found = below(self.root);
        let own_group = rustix::process::getpgrp().as_raw_pid();
        let alive = || found.iter().filter(|process| !process.is_zombie);
        let groups: HashSet<i32> =
            alive().map(|process| process.group).filter(|group| *group != own_group).collect();
        // Errors mean that it is gone already.
        for group in groups.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        for process in alive() {
            let _ = kill_process(process.id, Signal::KILL);
            self.killed.insert(process.id.as_raw_pid());
        }
        found
    }
}

/// All processes below `root`, as far as one look at /proc tells.
fn below(root: Pid) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all_processes() {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![root.as_raw_pid()];
    while let Some(parent) = parents.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            parents.push(process.id.as_raw_pid());
            found.push(process);
        }
    }
    found
}

fn all_processes() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        // A process that is gone by now has no file any more.
        let stat = std::fs::read(entry.path().join("stat")).ok()?;
        parse_stat(Pid::from_raw(id)?, &stat)
    })
}

/// Reads `pid (name) state ppid pgrp …` of proc(5); the name may hold anything, even `)`.
fn parse_stat(id: Pid, stat: &[u8]) -> Option<Process> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = std::str::from_utf8(&stat[after_name..]).ok()?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    Some(Process {
        id,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        is_zombie: matches!(state, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_confuse() {
        let id = Pid::from_raw(7).unwrap();
        let process = parse_stat(id, b"7 (a) Z 1 1 (b) S 42 43 44 0 -1").unwrap();
        assert_eq!(process, Process { id, parent: 42, group: 43, is_zombie: false });
        assert_eq!(parse_stat(id, b"7 (x"), None);
        assert_eq!(parse_stat(id, b"7 (x) S"), None);
    }

    #[test]
    fn grandchildren_are_found() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(shell.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let grandchild = line.trim().parse().unwrap();
        let shell_id = Pid::from_child(&shell);
        let found = below(shell_id);
        kill_process(Pid::from_raw(grandchild).unwrap(), Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert!(found.iter().any(|process| process.id.as_raw_pid() == grandchild), "{found:?}");
    }
}
