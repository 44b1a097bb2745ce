//! What becomes of tasks over time: how they end, and how long ago a replica was last all right.

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use service::protocol::cluster::{Restarts, Service, Task};

use crate::snapshot::{RUNNING, is_wanted};

/// Swarm itself counts the failures of this time (swarmkit, `manager/scheduler/nodeinfo.go`).
pub(crate) const FAILURES: SignedDuration = SignedDuration::from_mins(5);

/// How long a replica may take to be replaced: at 50 restarts at once the last one takes 10 s.
const REPLACED: SignedDuration = SignedDuration::from_secs(10);

/// A task that did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) service: String,
    pub(crate) node: Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) error: String,
}

/// Counts each task once.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    restarts: HashMap<String, Restarts>,
    /// The tasks that are known to have ended.
    ended: HashSet<String>,
    /// Those that failed within the last minutes, oldest first.
    failed: VecDeque<Failed>,
    /// When each replica was last seen to run or to have done its job.
    well: HashMap<(String, u32), Timestamp>,
    has_looked: bool,
}

impl Tally {
    /// Takes note of all tasks at one moment. The ends of those that had ended before the first look
    /// are not counted.
    pub(crate) fn look(&mut self, services: &[Service], now: Timestamp) {
        let mut ended = HashSet::new();
        let mut well = HashMap::new();
        for service in services {
            for task in &service.tasks {
                let is_news = has_ended(task) && !self.ended.contains(&task.id);
                if has_ended(task) {
                    ended.insert(task.id.clone());
                }
                if is_news {
                    self.note_end(&service.name, task, now);
                }
                let Some(slot) = task.slot else { continue };
                let key = (service.name.clone(), slot);
                let is_well =
                    task.state == RUNNING && is_wanted(task) || is_news && task.state == "complete";
                let before = self.well.get(&key).copied();
                // A replica that is new has its time as well.
                let at = if is_well { now } else { before.unwrap_or(now) };
                if is_well || is_wanted(task) {
                    let latest = well.entry(key).or_insert(at);
                    *latest = at.max(*latest);
                }
            }
        }
        // What Docker does not show any more never comes back.
        (self.ended, self.well, self.has_looked) = (ended, well, true);
        while self.failed.front().is_some_and(|failed| now.duration_since(failed.at) > FAILURES) {
            self.failed.pop_front();
        }
    }

    fn note_end(&mut self, service: &str, task: &Task, now: Timestamp) {
        let is_good = task.state == "complete";
        if self.has_looked {
            let restarts = self.restarts.entry(service.to_owned()).or_default();
            let count = if is_good { &mut restarts.after_job } else { &mut restarts.after_crash };
            *count += 1;
        }
        if !is_good {
            let error = task.error.clone().unwrap_or_else(|| format!("it is {}", task.state));
            let at = task.since.map_or(now, |since| since.min(now));
            let failed = Failed { service: service.to_owned(), node: task.node.clone(), at, error };
            let place = self.failed.partition_point(|other| other.at <= at);
            self.failed.insert(place, failed);
        }
    }

    /// How often replicas of a service ended by themselves since the first look.
    pub(crate) fn restarts(&self, service: &str) -> Restarts {
        self.restarts.get(service).copied().unwrap_or_default()
    }

    /// The tasks that failed within the last five minutes, oldest first.
    pub(crate) fn failed(&self) -> impl DoubleEndedIterator<Item = &Failed> {
        self.failed.iter()
    }

    /// How many replicas of a service run, or are merely being replaced.
    pub(crate) fn well(&self, service: &str, now: Timestamp) -> usize {
        let of_service = self.well.iter().filter(|((name, _), _)| name == service);
        of_service.filter(|(_, at)| now.duration_since(**at) <= REPLACED).count()
    }
}

/// Whether a task ended by itself; one that was told to stop is `shutdown`, whatever its exit code.
fn has_ended(task: &Task) -> bool {
    matches!(task.state.as_str(), "complete" | "failed" | "rejected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, service, task};

    fn counted(tally: &Tally) -> (u64, u64) {
        let Restarts { after_job, after_crash } = tally.restarts("git-pull");
        (after_job, after_crash)
    }

    #[test]
    fn ends_after_a_job_and_after_a_crash_are_counted_apart_and_once() {
        let mut tally = Tally::default();
        let old = task("old", 1, "complete");
        tally.look(&[service("git-pull", 1, vec![old.clone()])], at(0));
        assert_eq!(counted(&tally), (0, 0), "it had ended before");
        let tasks = vec![
            old,
            task("done", 1, "complete"),
            task("died", 2, "failed"),
            task("refused", 3, "rejected"),
            task("stopped", 4, "shutdown"),
            task("lost", 5, "orphaned"),
            task("runs", 1, "running"),
        ];
        for second in 1..4 {
            tally.look(&[service("git-pull", 5, tasks.clone())], at(second));
            assert_eq!(counted(&tally), (1, 2));
        }
    }

    #[test]
    fn nothing_is_kept_of_tasks_that_docker_has_forgotten() {
        let mut tally = Tally::default();
        for round in 0..1000 {
            let tasks = vec![task(&format!("t{round}"), 1, "complete")];
            tally.look(&[service("git-pull", 1, tasks)], at(round));
        }
        assert_eq!((tally.ended.len(), counted(&tally)), (1, (999, 0)));
        tally.look(&[], at(1001));
        assert_eq!((tally.ended.len(), tally.well.len()), (0, 0));
    }

    #[test]
    fn failures_are_remembered_for_five_minutes_even_those_before_the_start() {
        let mut tally = Tally::default();
        let mut early = task("early", 1, "failed");
        early.since = Some(at(-200));
        let tasks = vec![early, task("late", 1, "failed")];
        tally.look(&[service("git-pull", 1, tasks.clone())], at(0));
        assert_eq!(tally.failed().count(), 2);
        tally.look(&[service("git-pull", 1, tasks)], at(101));
        assert_eq!(tally.failed().map(|failed| failed.at).collect::<Vec<_>>(), [at(0)]);
    }

    #[test]
    fn a_replica_that_does_one_short_job_after_another_is_well() {
        let mut tally = Tally::default();
        for round in 0..30 {
            let mut tasks = vec![task(&format!("t{round}"), 1, "complete")];
            tasks.push(task("next", 1, "assigned"));
            tally.look(&[service("git-pull", 1, tasks)], at(round * 2));
            assert_eq!(tally.well("git-pull", at(round * 2)), 1, "round {round}");
        }
    }

    #[test]
    fn a_replica_that_is_not_replaced_is_not_well_after_a_while() {
        let mut tally = Tally::default();
        let runs = [service("git-pull", 2, vec![task("a", 1, "running"), task("b", 2, "running")])];
        tally.look(&runs, at(0));
        let waits =
            [service("git-pull", 2, vec![task("a", 1, "running"), task("c", 2, "pending")])];
        tally.look(&waits, at(2));
        assert_eq!(tally.well("git-pull", at(2)), 2);
        tally.look(&waits, at(11));
        assert_eq!(tally.well("git-pull", at(11)), 1);
        tally.look(&runs, at(12));
        assert_eq!(tally.well("git-pull", at(12)), 2);
    }

    #[test]
    fn a_replica_that_was_taken_away_counts_no_more() {
        let mut tally = Tally::default();
        tally.look(&[service("git-pull", 1, vec![task("a", 1, "running")])], at(0));
        let mut drains = task("a", 1, "running");
        drains.desired_state = "remove".to_owned();
        tally.look(&[service("git-pull", 0, vec![drains])], at(1));
        assert_eq!(tally.well("git-pull", at(1)), 0);
    }
}
