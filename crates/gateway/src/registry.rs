//! Which workers are attached, and who gets the next idle one: pure decisions, no I/O.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use service::protocol::worker::{Attach, Lease};
use service::protocol::{WorkerId, WorkerKind, WorkspaceId};

/// All attached workers, and all who wait for one.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    workers: HashMap<WorkerId, Worker>,
    /// The idle ones, longest idle first.
    idle: BTreeMap<u64, WorkerId>,
    /// Those who wait for a worker, oldest first.
    waiting: VecDeque<Waiting>,
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
    /// Its place among the idle ones.
    idle_since: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    wish: Wish,
}

impl Registry {
    /// A worker is here; it replaces an earlier attachment of the same worker.
    pub(crate) fn attach(&mut self, attach: Attach, address: IpAddr) -> Line {
        self.counter += 1;
        let (id, line) = (attach.id, self.counter);
        let is_idle = attach.job.is_none();
        // A lease outlives a line that broke for a moment.
        let before = self.workers.get(&id).map(|worker| worker.activity);
        self.forget(id);
        let url = match address.to_canonical() {
            IpAddr::V4(address) => format!("http://{address}:{}", attach.port),
            IpAddr::V6(address) => format!("http://[{address}]:{}", attach.port),
        };
        let activity = match before {
            Some(Activity::Leased) if is_idle => Activity::Leased,
            _ => Activity::Busy,
        };
        let worker = Worker { attach, url, line, activity, idle_since: 0 };
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

    /// The longest idle worker that fits is set aside; without one, the wish waits its turn.
    pub(crate) fn ask(&mut self, wish: Wish) -> Answer {
        if let Some(lease) = self.take_idle(wish) {
            return Answer::Granted(lease);
        }
        self.counter += 1;
        self.waiting.push_back(Waiting { ticket: self.counter, wish });
        Answer::Waits(self.counter)
    }

    /// Sets the longest idle worker aside that fits, if there is one.
    ///
    /// Nobody is passed over: an idle worker fits nobody who waits.
    pub(crate) fn take_idle(&mut self, wish: Wish) -> Option<Lease> {
        let fits = |id: &WorkerId| self.workers.get(id).is_some_and(|worker| worker.fits(wish));
        let id = *self.idle.values().find(|id| fits(id))?;
        Some(self.lease(id))
    }

    /// Whoever asked has gone away.
    pub(crate) fn withdraw(&mut self, ticket: Ticket) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
    }

    /// The next one who waits and can be served now.
    pub(crate) fn next_grant(&mut self) -> Option<(Ticket, Lease)> {
        let (index, id) = self.waiting.iter().enumerate().find_map(|(index, waiting)| {
            let fits = |id: &&WorkerId| self.workers.get(id).is_some_and(|w| w.fits(waiting.wish));
            Some((index, *self.idle.values().find(fits)?))
        })?;
        let ticket = self.waiting.remove(index)?.ticket;
        Some((ticket, self.lease(id)))
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

    /// Whether any worker of this kind is attached, whatever it does.
    pub(crate) fn has(&self, kind: WorkerKind) -> bool {
        self.workers.values().any(|worker| worker.attach.kind == kind)
    }

    /// How many workers of this kind do this.
    pub(crate) fn count(&self, kind: WorkerKind, activity: Activity) -> usize {
        let counts = |worker: &&Worker| worker.attach.kind == kind && worker.activity == activity;
        self.workers.values().filter(counts).count()
    }

    fn lease(&mut self, id: WorkerId) -> Lease {
        let worker = self.workers.get_mut(&id).expect("idle workers are known");
        worker.activity = Activity::Leased;
        self.idle.remove(&worker.idle_since);
        worker.to_lease()
    }

    fn forget(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.remove(&id) {
            self.idle.remove(&worker.idle_since);
        }
    }
}

impl Worker {
    fn fits(&self, wish: Wish) -> bool {
        self.attach.kind == wish.kind
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
