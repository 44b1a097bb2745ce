//! Whose turn it is in a job's folder. The lock keeps two steps from working there at a time; this
//! keeps a step that comes too late, from a worker that hung or an attempt that was given up, from
//! undoing what a later one has done.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use protocol::event::Step;

use super::remove_tree;

/// A symlink whose target is the turn: whatever an agent makes of it, to read it takes no time and
/// follows nothing.
const MARK: &str = "turn";

/// The mark before it takes its place.
const NEW_MARK: &str = "turn.new";

/// An attempt and its step; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    attempt: u32,
    step: u8,
}

impl Turn {
    pub(super) fn new(attempt: u32, step: Step) -> Self {
        let step = match step {
            Step::Pull => 1,
            Step::Execute | Step::Check => 2,
            Step::Deliver => 3,
        };
        Self { attempt, step }
    }

    /// The turn that was last taken in a job's folder; none if no step has been there, or an agent
    /// has removed its mark.
    pub(super) fn last(folder: &Path) -> Option<Self> {
        let mark = fs::read_link(folder.join(MARK)).ok()?;
        let (attempt, step) = mark.to_str()?.split_once('.')?;
        Some(Self { attempt: attempt.parse().ok()?, step: step.parse().ok()? })
    }

    /// Its step; a check is part of the execution.
    pub(super) fn step(self) -> Option<Step> {
        [Step::Pull, Step::Execute, Step::Deliver]
            .into_iter()
            .find(|step| Self::new(self.attempt, *step) == self)
    }

    /// Notes down that this turn is taken, by whoever has the folder's lock.
    pub(super) fn take(self, folder: &Path) -> io::Result<()> {
        let (mark, new) = (folder.join(MARK), folder.join(NEW_MARK));
        remove_tree(&new)?;
        symlink(format!("{}.{}", self.attempt, self.step), &new)?;
        if fs::rename(&new, &mark).is_ok() {
            return Ok(());
        }
        // An agent put a folder there.
        remove_tree(&mark)?;
        fs::rename(&new, &mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_by_attempt_and_then_by_step() {
        use Step::{Check, Deliver, Execute, Pull};
        let turns = [(1, Pull), (1, Execute), (1, Deliver), (2, Pull), (10, Pull)];
        let turns = turns.map(|(attempt, step)| Turn::new(attempt, step));
        assert!(turns.is_sorted_by(|one, next| one < next));
        assert_eq!(Turn::new(1, Check), Turn::new(1, Execute));
        assert_eq!(Turn::new(3, Check).step(), Some(Execute));
        assert_eq!(Turn { attempt: 1, step: 7 }.step(), None);
    }

    #[test]
    fn a_turn_is_known_afterwards_whatever_was_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, mark) = (folder.path(), folder.path().join(MARK));
        let (first, second) = (Turn::new(1, Step::Execute), Turn::new(2, Step::Pull));
        assert_eq!(Turn::last(folder), None);
        first.take(folder).unwrap();
        assert_eq!(Turn::last(folder), Some(first));
        second.take(folder).unwrap();
        assert_eq!(Turn::last(folder), Some(second));
        for nonsense in ["", "2", "2.", "x.1", "4294967296.1", "../../x"] {
            fs::remove_file(&mark).unwrap();
            if nonsense.is_empty() {
                fs::create_dir_all(mark.join("deep")).unwrap();
                fs::create_dir(folder.join(NEW_MARK)).unwrap();
            } else {
                symlink(nonsense, &mark).unwrap();
            }
            assert_eq!(Turn::last(folder), None);
            first.take(folder).unwrap();
            assert_eq!(Turn::last(folder), Some(first));
        }
    }
}
