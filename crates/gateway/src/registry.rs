//! Which workers are attached, and who gets the next idle one: pure decisions, no I/O.

mod agents;
mod placement;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use service::protocol::worker::{Attach, Lease};
use service::protocol::{JobId, WorkerId, WorkerKind, WorkspaceId};

/// All attached workers, and all who wait for one.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    workers: HashMap<WorkerId, Worker>,
    /// The idle ones, longest idle first.
    idle: BTreeMap<u64, WorkerId>,
    /// Those who wait for a worker, oldest first.
    waiting: VecDeque<Waiting>,
    departed: agents::Departed,
    counter: u64,
}

/// One attachment of a worker; a worker that attaches again has a new one.
pub(crate) type Line = u64;

/// One wish for a worker.
pub(crate) type Ticket = u64;

/// What kind of worker is wanted, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) kind: WorkerKind,
    pub(crate) workspace: Option<WorkspaceId>,
}

/// What came of a wish.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A worker was idle.
    Granted(Lease),
    /// None was; the ticket will be called.
    Waits(Ticket),
}

/// What a worker that was told to stop could still be needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departing {
    /// Nobody can tell: it is not attached.
    Unknown,
    /// Nothing: it sees no workspace.
    Unneeded,
    /// Jobs that have their files in this workspace, if not for others who stay, as far as is known.
    OneOf(WorkspaceId),
    /// Jobs that have their files in this workspace.
    LastOf(WorkspaceId),
    /// The job for which it has been set aside.
    Expected,
    /// The job that it has; after that it will be gone.
    Busy,
}

/// What a worker is known to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It waits for a job.
    Idle,
    /// It is set aside for somebody.
    Leased,
    /// It has its job.
    Busy,
}

impl Activity {
    pub(crate) const ALL: [Self; 3] = [Self::Idle, Self::Leased, Self::Busy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Leased => "leased",
            Self::Busy => "busy",
        }
    }
}

#[derive(Debug)]
struct Worker {
    attach: Attach,
    url: String,
    line: Line,
    activity: Activity,
    /// The job that it is set aside for, or has.
    job: Option<JobId>,
    /// Its place among the idle ones.
    idle_since: u64,
    /// Whether it was told to stop: it takes no job that is not in its workspace already.
    is_leaving: bool,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    wish: Wish,
    job: JobId,
}

impl Registry {
    /// A worker is here; it replaces an earlier attachment of the same worker.
    pub(crate) fn attach(&mut self, attach: Attach, address: IpAddr) -> Line {
        self.counter += 1;
        let (id, line) = (attach.id, self.counter);
        let is_idle = attach.job.is_none();
        // A lease outlives a line that broke for a moment.
        let before = self.workers.get(&id).map(|worker| (worker.activity, worker.job));
        self.forget(id);
        if let Some(before) = attach.succeeds {
            // Its line may be open yet: nobody is to count on it.
            self.forget(before);
        }
        let url = match address.to_canonical() {
            IpAddr::V4(address) => format!("http://{address}:{}", attach.port),
            IpAddr::V6(address) => format!("http://[{address}]:{}", attach.port),
        };
        let (activity, job) = match before {
            Some((Activity::Leased, job)) if is_idle => (Activity::Leased, job),
            _ => (Activity::Busy, attach.job.map(|job| job.id)),
        };
        let (idle_since, is_leaving) = (0, attach.is_leaving);
        let worker = Worker { attach, url, line, activity, job, idle_since, is_leaving };
        self.workers.insert(id, worker);
        if is_idle && activity == Activity::Busy {
            self.set_idle(id);
        }
        line
    }

    /// A line is closed: its worker is gone, unless it has a newer line.
    pub(crate) fn detach(&mut self, id: WorkerId, line: Line) -> bool {
        let is_current = self.workers.get(&id).is_some_and(|worker| worker.line == line);
        if is_current {
            self.forget(id);
        }
        is_current
    }

    /// A worker cannot be reached: it is gone until it attaches again. Returns its line.
    pub(crate) fn drop_worker(&mut self, id: WorkerId) -> Option<Line> {
        let line = self.workers.get(&id).map(|worker| worker.line);
        self.forget(id);
        line
    }

    /// The longest idle worker that fits is set aside for a job; without one, the wish waits its
    /// turn. A job without files goes where it finds an agent.
    pub(crate) fn ask(&mut self, wish: Wish, job: JobId) -> Answer {
        self.granted_or(wish, job, VecDeque::push_back)
    }

    /// The same, but the wish goes before all others.
    pub(crate) fn ask_first(&mut self, wish: Wish, job: JobId) -> Answer {
        self.granted_or(wish, job, VecDeque::push_front)
    }

    fn granted_or(
        &mut self,
        wish: Wish,
        job: JobId,
        line_up: impl FnOnce(&mut VecDeque<Waiting>, Waiting),
    ) -> Answer {
        if let Some(id) = self.idle_one(wish) {
            return Answer::Granted(self.lease(id, job));
        }
        self.counter += 1;
        line_up(&mut self.waiting, Waiting { ticket: self.counter, wish, job });
        Answer::Waits(self.counter)
    }

    /// Takes the longest idle worker that fits, if there is one; it counts as busy.
    ///
    /// Nobody is passed over: an idle worker fits nobody who waits.
    pub(crate) fn take_idle(&mut self, wish: Wish) -> Option<Lease> {
        let id = self.idle_one(wish)?;
        self.set_busy(id);
        self.contact(id)
    }

    /// Whoever asked has gone away.
    pub(crate) fn withdraw(&mut self, ticket: Ticket) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
    }

    /// The next one who waits and can be served now.
    pub(crate) fn next_grant(&mut self) -> Option<(Ticket, Lease)> {
        let waiting = self.waiting.iter().enumerate();
        let (index, id) = waiting
            .filter_map(|(index, waiting)| Some((index, self.idle_one(waiting.wish)?)))
            .next()?;
        let Waiting { ticket, job, .. } = self.waiting.remove(index)?;
        Some((ticket, self.lease(id, job)))
    }

    /// A worker was told to stop. Returns what it could still be needed for.
    pub(crate) fn depart(&mut self, id: WorkerId) -> Departing {
        let Some(worker) = self.workers.get_mut(&id) else { return Departing::Unknown };
        worker.is_leaving = true;
        match worker.activity {
            Activity::Idle => {}
            Activity::Leased => return Departing::Expected,
            Activity::Busy => return Departing::Busy,
        }
        self.without(id)
    }

    /// A worker has done its job. Returns what another job could still need it for, where its
    /// supervisor may start the next one elsewhere; nothing where there is but one workspace.
    pub(crate) fn retire(&self, id: WorkerId) -> Departing {
        match self.without(id) {
            Departing::LastOf(workspace) if !self.has_elsewhere(workspace) => Departing::Unneeded,
            departing => departing,
        }
    }

    /// Nobody is to count on a worker any more.
    pub(crate) fn set_leaving(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.is_leaving = true;
        }
    }

    /// What would be without a worker.
    fn without(&self, id: WorkerId) -> Departing {
        let Some(worker) = self.workers.get(&id) else { return Departing::Unknown };
        let (kind, workspace) = (worker.attach.kind, worker.attach.workspace);
        let fits = |other: &Worker| !other.is_leaving && other.fits(Wish { kind, workspace });
        let stays = |(other, it): (&WorkerId, &Worker)| *other != id && fits(it);
        match workspace {
            Some(workspace) if self.workers.iter().any(stays) => Departing::OneOf(workspace),
            Some(workspace) => Departing::LastOf(workspace),
            None => Departing::Unneeded,
        }
    }

    fn has_elsewhere(&self, workspace: WorkspaceId) -> bool {
        let mut places = self.workers.values().filter_map(|worker| worker.attach.workspace);
        places.any(|place| place != workspace)
    }

    /// The worker has a job now, or says so.
    pub(crate) fn set_busy(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            self.idle.remove(&worker.idle_since);
            worker.activity = Activity::Busy;
        }
    }

    /// The worker has no job after all.
    pub(crate) fn set_idle(&mut self, id: WorkerId) {
        self.counter += 1;
        if let Some(worker) = self.workers.get_mut(&id)
            && worker.activity != Activity::Idle
        {
            worker.activity = Activity::Idle;
            worker.job = None;
            worker.idle_since = self.counter;
            self.idle.insert(self.counter, id);
        }
    }

    /// Where a worker is that is attached and not known to be idle.
    pub(crate) fn occupied(&self, id: WorkerId) -> Option<&str> {
        let worker = self.workers.get(&id)?;
        (worker.activity != Activity::Idle).then_some(worker.url.as_str())
    }

    /// Where a worker is, whatever it does.
    pub(crate) fn contact(&self, id: WorkerId) -> Option<Lease> {
        self.workers.get(&id).map(Worker::to_lease)
    }

    /// The workers of steps that are set aside for this job, or have it.
    pub(crate) fn working_for(&self, job: JobId) -> Vec<(WorkerKind, Lease)> {
        let of_job = self.workers.values().filter(|worker| worker.job == Some(job));
        let of_steps = of_job.filter(|worker| worker.attach.kind != WorkerKind::Workflow);
        of_steps.map(|worker| (worker.attach.kind, worker.to_lease())).collect()
    }

    /// The workspace in which a job's steps are done, as far as its workers tell.
    pub(crate) fn workspace_of(&self, job: JobId) -> Option<WorkspaceId> {
        self.working_for(job).into_iter().find_map(|(_, lease)| lease.workspace)
    }

    /// How many wait for a worker of this kind.
    pub(crate) fn waiting(&self, kind: WorkerKind) -> usize {
        self.waiting.iter().filter(|waiting| waiting.wish.kind == kind).count()
    }

    /// Whether any worker of this kind is attached, whatever it does.
    pub(crate) fn has(&self, kind: WorkerKind) -> bool {
        self.workers.values().any(|worker| worker.attach.kind == kind)
    }

    /// Whether any worker is attached that fits, whatever it does.
    pub(crate) fn has_fitting(&self, wish: Wish) -> bool {
        self.workers.values().any(|worker| worker.fits(wish))
    }

    /// How many workers of this kind do this.
    pub(crate) fn count(&self, kind: WorkerKind, activity: Activity) -> usize {
        let counts = |worker: &&Worker| worker.attach.kind == kind && worker.activity == activity;
        self.workers.values().filter(counts).count()
    }

    fn lease(&mut self, id: WorkerId, job: JobId) -> Lease {
        let worker = self.workers.get_mut(&id).expect("idle workers are known");
        worker.activity = Activity::Leased;
        worker.job = Some(job);
        self.idle.remove(&worker.idle_since);
        worker.to_lease()
    }

    fn forget(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.remove(&id) {
            self.idle.remove(&worker.idle_since);
            self.departed.note(worker.attach, Instant::now());
        }
    }
}

impl Worker {
    fn fits(&self, wish: Wish) -> bool {
        self.attach.kind == wish.kind
            && (!self.is_leaving || wish.workspace.is_some())
            && wish.workspace.is_none_or(|workspace| self.attach.workspace == Some(workspace))
    }

    fn to_lease(&self) -> Lease {
        Lease {
            worker: self.attach.id,
            url: self.url.clone(),
            workspace: self.attach.workspace,
            node: self.attach.node.clone(),
        }
    }
}
