//! Jobs in the order of their ranks, with a lane for each agent that can be closed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::job::Rank;

/// The agent that a job asks for; none is the one that workers choose by themselves. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Agent(Option<Arc<str>>);

impl Agent {
    pub(crate) fn new(name: Option<&str>) -> Self {
        Self(name.map(Arc::from))
    }

    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.0.as_ref()
    }
}

impl From<Arc<str>> for Agent {
    fn from(name: Arc<str>) -> Self {
        Self(Some(name))
    }
}

/// Whether those in a lane may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Closed,
}

/// What waits in a place, best first. Those in a closed lane stay where they are and are passed over;
/// closing and opening a lane costs the same however many wait in it.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    lanes: BTreeMap<Agent, BTreeMap<Rank, T>>,
    /// The best of each lane that is open.
    heads: BTreeMap<Rank, Agent>,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), heads: BTreeMap::new() }
    }
}

impl<T> Lanes<T> {
    /// Whether nothing waits, in a closed lane neither.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(super) fn has(&self, agent: &Agent) -> bool {
        self.lanes.contains_key(agent)
    }

    /// Adds to a lane, whose gate must be the one that it was set to.
    pub(super) fn insert(&mut self, agent: &Agent, gate: Gate, rank: Rank, item: T) {
        self.change(agent, gate, |lane| lane.insert(rank, item));
    }

    /// Harmless when it is not here.
    pub(super) fn remove(&mut self, agent: &Agent, rank: Rank) -> Option<T> {
        let first = *self.lanes.get(agent)?.first_key_value()?.0;
        let gate = if self.heads.contains_key(&first) { Gate::Open } else { Gate::Closed };
        self.change(agent, gate, |lane| lane.remove(&rank))
    }

    /// How many are not passed over.
    pub(super) fn len(&self) -> usize {
        let open = self.heads.values().filter_map(|agent| self.lanes.get(agent));
        open.map(BTreeMap::len).sum()
    }

    /// The best that is not passed over.
    pub(super) fn first(&self) -> Option<(Rank, &T)> {
        let (rank, agent) = self.heads.first_key_value()?;
        Some((*rank, self.lanes.get(agent)?.get(rank)?))
    }

    pub(super) fn pop_first(&mut self) -> Option<T> {
        let (rank, agent) = self.heads.first_key_value()?;
        let (rank, agent) = (*rank, agent.clone());
        self.remove(&agent, rank)
    }

    /// Opens or closes a lane.
    pub(super) fn set(&mut self, agent: &Agent, gate: Gate) {
        if self.has(agent) {
            self.change(agent, gate, |_| ());
        }
    }

    /// Changes a lane, then shows its best if it is open.
    fn change<R>(
        &mut self,
        agent: &Agent,
        gate: Gate,
        change: impl FnOnce(&mut BTreeMap<Rank, T>) -> R,
    ) -> R {
        let lane = self.lanes.entry(agent.clone()).or_default();
        if let Some((head, _)) = lane.first_key_value() {
            self.heads.remove(head);
        }
        let result = change(lane);
        match lane.first_key_value() {
            Some((head, _)) if gate == Gate::Open => drop(self.heads.insert(*head, agent.clone())),
            Some(_) => {}
            None => drop(self.lanes.remove(agent)),
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, i64),
        Remove(u8, i64),
        Pop,
        Set(u8, Gate),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..3_u8, 0..20_i64).prop_map(|(agent, row)| Step::Insert(agent, row)),
            2 => (0..3_u8, 0..20_i64).prop_map(|(agent, row)| Step::Remove(agent, row)),
            2 => Just(Step::Pop),
            1 => (0..3_u8).prop_map(|agent| Step::Set(agent, Gate::Open)),
            1 => (0..3_u8).prop_map(|agent| Step::Set(agent, Gate::Closed)),
        ]
    }

    /// The rows differ between agents, as they do between jobs.
    fn place(agent: u8, row: i64) -> (Agent, Rank) {
        let rank = Rank { priority: 0, row: row * 3 + i64::from(agent) };
        (Agent::new(Some(&agent.to_string())), rank)
    }

    proptest! {
        #[test]
        fn the_first_is_the_best_of_all_that_wait_in_open_lanes(
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            let mut lanes = Lanes::default();
            let mut all: BTreeMap<Rank, Agent> = BTreeMap::new();
            let mut closed = HashSet::new();
            for step in steps {
                match step {
                    Step::Insert(agent, row) => {
                        let (agent, rank) = place(agent, row);
                        let is_closed = closed.contains(&agent);
                        let gate = if is_closed { Gate::Closed } else { Gate::Open };
                        lanes.insert(&agent, gate, rank, rank);
                        all.insert(rank, agent);
                    }
                    Step::Remove(agent, row) => {
                        let (agent, rank) = place(agent, row);
                        let was_there = all.remove(&rank).is_some();
                        prop_assert_eq!(lanes.remove(&agent, rank).is_some(), was_there);
                    }
                    Step::Pop => {
                        let best = all.iter().find(|(_, agent)| !closed.contains(*agent));
                        let best = best.map(|(rank, _)| *rank);
                        prop_assert_eq!(lanes.pop_first(), best);
                        best.and_then(|best| all.remove(&best));
                    }
                    Step::Set(agent, gate) => {
                        let (agent, _) = place(agent, 0);
                        lanes.set(&agent, gate);
                        match gate {
                            Gate::Open => closed.remove(&agent),
                            Gate::Closed => closed.insert(agent),
                        };
                    }
                }
                let best = all.iter().find(|(_, agent)| !closed.contains(*agent));
                prop_assert_eq!(lanes.first(), best.map(|(rank, _)| (*rank, rank)));
                prop_assert_eq!(lanes.is_empty(), all.is_empty());
                let open = all.values().filter(|agent| !closed.contains(*agent));
                prop_assert_eq!(lanes.len(), open.count());
            }
        }
    }
}
