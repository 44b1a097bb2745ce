//! Which agents the claude-exec workers have.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use service::protocol::WorkerKind;
use service::protocol::worker::Attach;

use super::Registry;

/// How long the agents of a worker that left are still known. One that has done its job is back within
/// seconds, and a job for its agent can wait for it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// When workers with these agents last left.
#[derive(Debug, Default)]
pub(super) struct Departed(HashMap<Vec<String>, Instant>);

impl Departed {
    pub(super) fn note(&mut self, attach: Attach, now: Instant) {
        if attach.kind == WorkerKind::ClaudeExec {
            self.0.retain(|_, left| is_recent(*left, now));
            self.0.insert(attach.agents, now);
        }
    }

    fn remembered(&self, now: Instant) -> impl Iterator<Item = &[String]> {
        let recent = self.0.iter().filter(move |(_, left)| is_recent(**left, now));
        recent.map(|(agents, _)| agents.as_slice())
    }
}

fn is_recent(left: Instant, now: Instant) -> bool {
    now.saturating_duration_since(left) < REMEMBERED
}

impl Registry {
    /// All agents that claude-exec workers have, or had until a moment ago; none while no such worker
    /// is attached, or one of them does not say.
    pub(crate) fn agents(&self, now: Instant) -> Option<BTreeSet<&str>> {
        if !self.has(WorkerKind::ClaudeExec) {
            return None;
        }
        let workers = self.workers.values().map(|worker| &worker.attach);
        let workers = workers.filter(|attach| attach.kind == WorkerKind::ClaudeExec);
        let offers = workers.map(|attach| attach.agents.as_slice());
        let mut agents = BTreeSet::new();
        for offer in offers.chain(self.departed.remembered(now)) {
            if offer.is_empty() {
                return None;
            }
            agents.extend(offer.iter().map(String::as_str));
        }
        Some(agents)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use service::protocol::WorkerId;

    use super::*;

    fn arrives(registry: &mut Registry, agents: &[&str]) -> impl FnOnce(&mut Registry) + use<> {
        let agents = agents.iter().map(|name| (*name).to_owned()).collect();
        let (id, kind, node) = (WorkerId::random(), WorkerKind::ClaudeExec, "node".to_owned());
        let (port, version, workspace, job) = (3000, "1".to_owned(), None, None);
        let (is_leaving, succeeds) = (false, None);
        let attach =
            Attach { id, kind, port, workspace, node, version, agents, job, is_leaving, succeeds };
        let line = registry.attach(attach, IpAddr::V4(Ipv4Addr::LOCALHOST));
        move |registry| assert!(registry.detach(id, line))
    }

    fn agents(registry: &Registry, after: Duration) -> Option<Vec<&str>> {
        registry.agents(Instant::now() + after).map(|agents| agents.into_iter().collect())
    }

    #[test]
    fn an_agent_is_forgotten_a_minute_after_its_last_worker_left() {
        let mut registry = Registry::default();
        let _stays = arrives(&mut registry, &["claude"]);
        let goes = arrives(&mut registry, &["claude", "command"]);
        let goes_too = arrives(&mut registry, &["claude", "command"]);
        goes(&mut registry);
        let all = Some(vec!["claude", "command"]);
        assert_eq!(agents(&registry, REMEMBERED), all, "one is there");
        goes_too(&mut registry);
        assert_eq!(agents(&registry, REMEMBERED / 2), all);
        assert_eq!(agents(&registry, REMEMBERED), Some(vec!["claude"]));
    }

    #[test]
    fn nobody_knows_what_a_worker_that_does_not_say_can_do_nor_what_comes_when_none_is_there() {
        let mut registry = Registry::default();
        let goes = arrives(&mut registry, &["claude"]);
        let silent = arrives(&mut registry, &[]);
        assert_eq!(agents(&registry, Duration::ZERO), None);
        silent(&mut registry);
        assert_eq!(agents(&registry, Duration::ZERO), None, "it may come back");
        assert_eq!(agents(&registry, REMEMBERED), Some(vec!["claude"]));
        goes(&mut registry);
        assert_eq!(agents(&registry, Duration::ZERO), None);
    }
}
