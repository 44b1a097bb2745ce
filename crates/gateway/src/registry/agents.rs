//! Which agents the attached workers have.

use std::collections::BTreeSet;

use service::protocol::WorkerKind;

use super::Registry;

impl Registry {
    /// All agents that claude-exec workers have; none while no such worker is attached, or one of
    /// them does not say.
    pub(crate) fn agents(&self) -> Option<BTreeSet<&str>> {
        let workers = self.workers.values().map(|worker| &worker.attach);
        let offers = workers.filter(|it| it.kind == WorkerKind::ClaudeExec).map(|it| &it.agents);
        let mut agents = BTreeSet::new();
        for offer in offers {
            if offer.is_empty() {
                return None;
            }
            agents.extend(offer.iter().map(String::as_str));
        }
        (!agents.is_empty()).then_some(agents)
    }
}
