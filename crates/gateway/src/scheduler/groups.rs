//! Concurrency keys: of the jobs with the same key, one runs at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use service::protocol::JobId;

use super::lanes::{Agent, Gate, Lanes};
use super::ready::{Entry, Ready};

/// A concurrency key, within the jobs of one token: nobody can hold up another's jobs with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupKey {
    token: Arc<str>,
    key: Arc<str>,
}

impl GroupKey {
    pub(crate) fn new(token: &str, key: &str) -> Self {
        Self { token: token.into(), key: key.into() }
    }
}

/// All groups that have members.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<GroupKey, Group>);

#[derive(Debug, Default)]
struct Group {
    /// All jobs with the key that have not ended, by age.
    members: BTreeSet<JobId>,
    /// The row of the newest committed job that takes the place of all before it; 0 without one.
    newest_row: i64,
    /// The one that a worker has.
    holder: Option<JobId>,
    queued: Lanes<Entry>,
    /// Which of the queued is among the jobs that are ready to run; at most one.
    exposed: Option<Entry>,
}

impl Groups {
    pub(super) fn join(&mut self, key: &GroupKey, id: JobId) {
        self.0.entry(key.clone()).or_default().members.insert(id);
    }

    pub(super) fn any_member(&self, key: &GroupKey) -> Option<JobId> {
        self.0.get(key)?.members.first().copied()
    }

    pub(super) fn members(&self, key: &GroupKey) -> Vec<JobId> {
        self.0.get(key).map(|group| group.members.iter().copied().collect()).unwrap_or_default()
    }

    /// The job in this row takes the place of all members before it.
    pub(super) fn supersede(&mut self, key: &GroupKey, row: i64) {
        if let Some(group) = self.0.get_mut(key) {
            group.newest_row = group.newest_row.max(row);
        }
    }

    /// Whether a newer member has taken the place of the one in this row.
    pub(super) fn is_superseded(&self, key: &GroupKey, row: i64) -> bool {
        self.0.get(key).is_some_and(|group| row < group.newest_row)
    }

    pub(super) fn enqueue(&mut self, key: &GroupKey, entry: Entry, ready: &mut Ready) {
        let gate = ready.gate(&entry.agent);
        self.change(key, ready, |group| {
            group.queued.insert(&entry.agent.clone(), gate, entry.rank, entry);
        });
    }

    pub(super) fn dequeue(&mut self, key: &GroupKey, entry: &Entry, ready: &mut Ready) {
        self.change(key, ready, |group| {
            group.queued.remove(&entry.agent, entry.rank);
        });
    }

    /// A worker has this member now.
    pub(super) fn hold(&mut self, key: &GroupKey, entry: &Entry, ready: &mut Ready) {
        self.change(key, ready, |group| {
            group.queued.remove(&entry.agent, entry.rank);
            group.holder = Some(entry.id);
        });
    }

    /// The jobs of an agent can run again, or cannot; `ready` has been told.
    pub(super) fn set(&mut self, agent: &Agent, gate: Gate, ready: &mut Ready) {
        let with = self.0.iter().filter(|(_, group)| group.queued.has(agent));
        let keys: Vec<GroupKey> = with.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.change(&key, ready, |group| group.queued.set(agent, gate));
        }
    }

    /// No worker has this member any more.
    pub(super) fn release(&mut self, key: &GroupKey, id: JobId, ready: &mut Ready) {
        self.change(key, ready, |group| {
            if group.holder == Some(id) {
                group.holder = None;
            }
        });
    }

    /// This member has ended.
    pub(super) fn leave(&mut self, key: &GroupKey, id: JobId, ready: &mut Ready) {
        self.release(key, id, ready);
        if let Some(group) = self.0.get_mut(key) {
            group.members.remove(&id);
            if group.members.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// The job that this one waits for.
    pub(super) fn ahead_of(&self, key: &GroupKey, id: JobId) -> Option<JobId> {
        let holder = self.0.get(key)?.holder;
        holder.or_else(|| self.first_queued(key)).filter(|ahead| *ahead != id)
    }

    /// The one of those that wait that is next.
    pub(super) fn first_queued(&self, key: &GroupKey) -> Option<JobId> {
        Some(self.0.get(key)?.queued.first()?.1.id)
    }

    /// Changes a group, then sees to it that the best member that can run is ready if none is running.
    fn change(&mut self, key: &GroupKey, ready: &mut Ready, change: impl FnOnce(&mut Group)) {
        let group = self.0.entry(key.clone()).or_default();
        change(group);
        if let Some(entry) = group.exposed.take() {
            ready.remove(&entry);
        }
        if group.holder.is_none()
            && let Some((_, entry)) = group.queued.first()
        {
            ready.insert(entry);
            group.exposed = Some(entry.clone());
        }
    }
}
