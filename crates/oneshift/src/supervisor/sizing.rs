//! How many workers a machine gets.

use client::protocol::WorkerKind;

/// What decides about the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) cpus: u64,
    pub(crate) memory_bytes: u64,
}

/// How many workers of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) workflow: u16,
    pub(crate) git_pull: u16,
    pub(crate) claude_exec: u16,
}

const GIB: u64 = 1 << 30;

impl Machine {
    /// This machine, or the part of it that this process may use.
    pub(crate) fn this() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
        let info = rustix::system::sysinfo();
        let total = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
        // The limit of a container, by cgroup v2; "max" when there is none.
        let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
        let limit = limit.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
        Self { cpus, memory_bytes: total.min(limit) }
    }
}

impl Sizes {
    /// The default for a machine: an agent for each GiB and two for each CPU, between 1 and 3.
    pub(crate) fn fitting(machine: Machine) -> Self {
        // A machine of 8 GB reports a little less than that.
        let by_memory = (machine.memory_bytes + GIB / 4) / GIB;
        let agents = (machine.cpus * 2).min(by_memory).clamp(1, 3) as u16;
        Self { workflow: agents + 2, git_pull: agents, claude_exec: agents }
    }

    /// How many of a kind.
    pub(crate) fn of(self, kind: WorkerKind) -> u16 {
        match kind {
            WorkerKind::Workflow => self.workflow,
            WorkerKind::GitPull => self.git_pull,
            WorkerKind::ClaudeExec => self.claude_exec,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(cpus: u64, memory_bytes: u64) -> (u16, u16, u16) {
        let sizes = Sizes::fitting(Machine { cpus, memory_bytes });
        (sizes.workflow, sizes.git_pull, sizes.claude_exec)
    }

    #[test]
    fn ordinary_machines_get_five_three_and_three() {
        assert_eq!(sizes(2, 4 * GIB), (5, 3, 3));
        assert_eq!(sizes(64, 512 * GIB), (5, 3, 3));
    }

    #[test]
    fn small_machines_get_fewer_but_never_none() {
        assert_eq!(sizes(1, 8 * GIB), (4, 2, 2));
        assert_eq!(sizes(8, 2 * GIB - GIB / 10), (4, 2, 2));
        assert_eq!(sizes(1, GIB / 4), (3, 1, 1));
    }
}
