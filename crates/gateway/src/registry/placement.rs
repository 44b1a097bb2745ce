//! Where a job's files are put: its agent must work where they are.

use std::collections::HashMap;

use service::protocol::{WorkerId, WorkerKind, WorkspaceId};

use super::{Activity, Registry, Wish, Worker};

/// What can be done for one more job in a workspace; the best comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Chance {
    /// An agent's worker is idle, and no pull under way needs it.
    Idle,
    /// There are some, which have work.
    Busy,
}

/// The claude-exec workers of a workspace beside the work that comes to them.
#[derive(Clone, Copy, Debug, Default)]
struct Agents {
    staying: usize,
    idle: usize,
    /// Steps of git-pulls there, most of which an agent is to follow.
    coming: usize,
}

impl Registry {
    /// The longest idle worker that fits. One for a job without files yet is looked for where agents
    /// are: with volumes of the nodes' own, its agent can work nowhere else.
    pub(super) fn idle_one(&self, wish: Wish) -> Option<WorkerId> {
        let idle = self.idle.values().filter_map(|id| Some((*id, self.workers.get(id)?)));
        let mut fitting = idle.filter(|(_, worker)| worker.fits(wish));
        if wish.kind != WorkerKind::GitPull || wish.workspace.is_some() {
            return fitting.next().map(|(id, _)| id);
        }
        let agents = self.agents_by_workspace();
        if agents.values().all(|agents| agents.staying == 0) {
            return fitting.next().map(|(id, _)| id);
        }
        let chance = |worker: &Worker| agents.get(&worker.attach.workspace)?.chance();
        let chances = fitting.filter_map(|(id, worker)| Some((chance(worker)?, id)));
        chances.min_by_key(|(chance, _)| *chance).map(|(_, id)| id)
    }

    fn agents_by_workspace(&self) -> HashMap<Option<WorkspaceId>, Agents> {
        let mut all: HashMap<_, Agents> = HashMap::new();
        for worker in self.workers.values() {
            let agents = all.entry(worker.attach.workspace).or_default();
            match worker.attach.kind {
                WorkerKind::ClaudeExec if !worker.is_leaving => {
                    agents.staying += 1;
                    agents.idle += usize::from(worker.activity == Activity::Idle);
                }
                WorkerKind::GitPull if worker.activity != Activity::Idle => agents.coming += 1,
                WorkerKind::ClaudeExec | WorkerKind::GitPull | WorkerKind::Workflow => {}
            }
        }
        all
    }
}

impl Agents {
    /// None where no job should be put.
    fn chance(self) -> Option<Chance> {
        let chance = if self.idle > self.coming { Chance::Idle } else { Chance::Busy };
        (self.staying > 0).then_some(chance)
    }
}
