//! How many jobs wait, to tell each its place.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::lanes::Agent;

/// The jobs that wait, also those that wait for their group, for their agent or for a retry.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    all: ByPriority,
    by_agent: HashMap<Agent, ByPriority>,
}

#[derive(Debug, Default)]
struct ByPriority(BTreeMap<i32, usize>);

impl Waiting {
    /// The same agent, in memory that is shared with others that wait for it.
    pub(super) fn shared(&self, agent: Agent) -> Agent {
        self.by_agent.get_key_value(&agent).map_or(agent, |(known, _)| known.clone())
    }

    pub(super) fn join(&mut self, agent: &Agent, priority: i32) {
        self.all.join(priority);
        self.by_agent.entry(agent.clone()).or_default().join(priority);
    }

    pub(super) fn leave(&mut self, agent: &Agent, priority: i32) {
        self.all.leave(priority);
        if let Some(its) = self.by_agent.get_mut(agent) {
            its.leave(priority);
            if its.0.is_empty() {
                self.by_agent.remove(agent);
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.all.0.values().sum()
    }

    pub(super) fn count_of(&self, agent: &Agent) -> usize {
        self.by_agent.get(agent).map_or(0, |its| its.0.values().sum())
    }

    /// How many wait that have a higher priority, and how many that have this one; those that are
    /// passed over do not count.
    pub(super) fn before(&self, priority: i32, passed_over: &HashSet<Agent>) -> (usize, usize) {
        let (mut higher, mut same) = self.all.before(priority);
        for its in passed_over.iter().filter_map(|agent| self.by_agent.get(agent)) {
            let (their_higher, their_same) = its.before(priority);
            higher -= their_higher;
            same -= their_same;
        }
        (higher, same)
    }
}

impl ByPriority {
    fn join(&mut self, priority: i32) {
        *self.0.entry(priority).or_default() += 1;
    }

    fn leave(&mut self, priority: i32) {
        if let Some(count) = self.0.get_mut(&priority) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&priority);
            }
        }
    }

    fn before(&self, priority: i32) -> (usize, usize) {
        let higher = self.0.range(priority + 1..).map(|(_, count)| count).sum();
        (higher, self.0.get(&priority).copied().unwrap_or(0))
    }
}
