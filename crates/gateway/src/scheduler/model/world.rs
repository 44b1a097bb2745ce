//! What surrounds the scheduler, and what must hold after each step.

use std::collections::{BTreeMap, HashMap, HashSet};

use service::protocol::WorkerId;

use super::super::*;
use super::Step;

/// A write on its way to the disk; a restart loses it.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Insert(JobId, NewJob, Option<&'static str>),
    /// It is on disk, which the gateway has not yet heard.
    Report(JobId),
    Take(Start, WorkerId),
    Back {
        id: JobId,
        attempt: u32,
        retries_used: u32,
        pause: Duration,
    },
    End(JobId),
    Park(&'static str, RateLimit),
}

/// A job as the disk has it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: JobId,
    new: NewJob,
    pub(super) agent: Option<&'static str>,
    attempt: u32,
    retries_used: u32,
    agent_started: bool,
    cancel: Option<Reason>,
    worker: Option<WorkerId>,
    terminals: u32,
}

/// How many jobs may run at the same time.
const QUOTA: u32 = 3;

fn scheduler() -> Scheduler {
    let running_jobs = std::num::NonZeroU32::new(QUOTA);
    let quotas = crate::tokens::Quotas { running_jobs, ..Default::default() };
    Scheduler::new(usize::MAX, [("".into(), quotas)])
}

pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) disk: BTreeMap<i64, Stored>,
    pub(super) writes: Vec<Write>,
    /// The workers that have a job, and whether the gateway reads their streams.
    pub(super) workers: BTreeMap<JobId, (WorkerId, u32, bool)>,
    refused: usize,
    /// Jobs of which the gateway knows that they are on disk.
    reported: HashSet<JobId>,
    pub(super) now: Instant,
    /// Until when jobs pause.
    pauses: HashMap<JobId, Instant>,
    pub(super) default: &'static str,
    /// Until when no job of an agent may start, and whether one is to try it then.
    pub(super) parked: HashMap<&'static str, (Instant, bool)>,
    /// The same, as the disk has it.
    pub(super) parkings: HashMap<&'static str, RateLimit>,
    /// When the clock on the wall was at 0.
    pub(super) epoch: Instant,
}

impl Default for World {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            scheduler: scheduler(),
            disk: BTreeMap::new(),
            writes: Vec::new(),
            workers: BTreeMap::new(),
            refused: 0,
            reported: HashSet::new(),
            now,
            pauses: HashMap::new(),
            default: "claude",
            parked: HashMap::new(),
            parkings: HashMap::new(),
            epoch: now,
        }
    }
}

impl World {
    fn row(&self, id: JobId) -> i64 {
        *self.disk.iter().find(|(_, job)| job.id == id).expect("the job is on disk").0
    }

    fn stored(&mut self, id: JobId) -> &mut Stored {
        let row = self.row(id);
        self.disk.get_mut(&row).expect("just seen")
    }

    pub(super) fn nth_read(&self, n: usize) -> Option<JobId> {
        let read: Vec<JobId> =
            self.workers.iter().filter(|(_, worker)| worker.2).map(|(id, _)| *id).collect();
        (!read.is_empty()).then(|| read[n % read.len()])
    }

    fn nth_unread(&self, n: usize) -> Option<JobId> {
        let orphans = self.scheduler.orphans();
        let mut orphans: Vec<JobId> = orphans.into_iter().map(|job| job.id).collect();
        orphans.sort();
        (!orphans.is_empty()).then(|| orphans[n % orphans.len()])
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Submit { agent, group, on_conflict, priority, retries } => {
                let group = group.map(|group| GroupKey::new("", &group.to_string()));
                let account = Account::new("", &priority.to_string());
                let name = Agent::new(agent);
                let new = NewJob { account, agent: name, priority, retries, group, on_conflict };
                let id = JobId::random();
                match self.scheduler.admit(id, new.clone()) {
                    Ok(()) => self.writes.push(Write::Insert(id, new, agent)),
                    Err(_) => self.refused += 1,
                }
            }
            Step::Commit(n) if !self.writes.is_empty() => {
                let write = self.writes.remove(n % self.writes.len());
                self.commit(write);
            }
            Step::Dispatch => {
                if let Some(start) = self.scheduler.start_next(self.now) {
                    self.check_agent(start.job.id);
                    let until = self.pauses.remove(&start.job.id);
                    assert!(until.is_none_or(|until| until <= self.now), "started too early");
                    self.writes.push(Write::Take(start, WorkerId::random()));
                }
            }
            Step::AgentStarts(n) => {
                if let Some(id) = self.nth_read(n) {
                    self.scheduler.agent_started(id);
                    self.stored(id).agent_started = true;
                }
            }
            Step::Refused(n) => {
                if let Some(id) = self.nth_read(n) {
                    self.workers.remove(&id);
                    self.give_back(id);
                }
            }
            Step::Lost(n) => self.attempt_ends(n, Outcome::failed(Reason::WorkerLost, "lost")),
            Step::Done(n) => self.attempt_ends(n, Outcome::completed("done")),
            Step::Limited(n, seconds) => self.limited(n, seconds),
            Step::Default(agent) => {
                self.default = agent;
                self.scheduler.set_default_agent(agent);
            }
            Step::Cancel(n) => self.cancel(n),
            Step::TimePasses(ms) => {
                self.now += Duration::from_millis(ms);
                self.scheduler.wake(self.now);
            }
            Step::Restart => self.restart(),
            Step::Reattach(n) => self.reattach(n),
            Step::GiveUp(n) => self.give_up(n),
            Step::Commit(_) => {}
        }
        self.check();
    }

    fn give_back(&mut self, id: JobId) {
        if let Some((attempt, retries_used)) = self.scheduler.give_back(id) {
            let pause = Duration::ZERO;
            self.writes.push(Write::Back { id, attempt, retries_used, pause });
        }
    }

    fn attempt_ends(&mut self, n: usize, outcome: Outcome) {
        if let Some(id) = self.nth_read(n) {
            self.workers.remove(&id);
            self.judge(id, outcome);
        }
    }

    pub(super) fn judge(&mut self, id: JobId, outcome: Outcome) {
        match self.scheduler.attempt_ended(id, outcome, self.now) {
            Some(Verdict::End(_)) => self.writes.push(Write::End(id)),
            Some(Verdict::Requeue { retries_used, pause, .. }) => {
                let attempt = self.stored(id).attempt;
                self.writes.push(Write::Back { id, attempt, retries_used, pause });
            }
            None => panic!("{id} ended in a phase that has no end"),
        }
    }

    fn cancel(&mut self, n: usize) {
        if self.disk.is_empty() {
            return;
        }
        let id = self.disk.values().nth(n % self.disk.len()).expect("in range").id;
        match self.scheduler.cancel(id, Reason::CancelRequested) {
            Cancel::End(_) => self.writes.push(Write::End(id)),
            Cancel::Stop => drop(self.stored(id).cancel.get_or_insert(Reason::CancelRequested)),
            Cancel::Unknown => assert_eq!(self.stored(id).terminals, 1, "{id} is forgotten"),
        }
    }

    fn reattach(&mut self, n: usize) {
        if let Some(id) = self.nth_unread(n)
            && let Some((worker, attempt, is_read)) = self.workers.get_mut(&id)
        {
            let start = self.scheduler.reattached(id, *attempt, *worker);
            assert!(start.is_some(), "{id} is not given back to its worker");
            *is_read = true;
        }
    }

    /// The gateway sees to what the worker left; until it is done, it is as if it read the worker.
    fn give_up(&mut self, n: usize) {
        if let Some(id) = self.nth_unread(n) {
            let start = self.scheduler.take_over(id).expect("an orphan can be taken over");
            let worker = self.stored(id).worker.expect("an orphan had a worker");
            self.workers.insert(id, (worker, start.attempt, true));
        }
    }

    fn commit(&mut self, write: Write) {
        match write {
            Write::Park(agent, limit) => drop(self.parkings.insert(agent, limit)),
            Write::Insert(id, new, agent) => {
                let row = self.disk.last_key_value().map_or(1, |(row, _)| row + 1);
                let stored = Stored {
                    id,
                    new,
                    agent,
                    attempt: 0,
                    retries_used: 0,
                    agent_started: false,
                    cancel: None,
                    worker: None,
                    terminals: 0,
                };
                self.note_superseded(&stored.new);
                self.disk.insert(row, stored);
                self.writes.push(Write::Report(id));
            }
            Write::Report(id) => {
                let admission = self.scheduler.committed(id, self.row(id));
                self.writes.extend(admission.end.into_iter().map(|(job, _)| Write::End(job.id)));
                self.reported.insert(id);
            }
            Write::Take(start, worker) => {
                let stored = self.stored(start.job.id);
                (stored.attempt, stored.worker) = (start.attempt, Some(worker));
                stored.agent_started = false;
                self.workers.insert(start.job.id, (worker, start.attempt, true));
            }
            Write::Back { id, attempt, retries_used, pause } => {
                self.pauses.insert(id, self.now + pause);
                let stored = self.stored(id);
                (stored.attempt, stored.retries_used) = (attempt, retries_used);
                (stored.worker, stored.agent_started) = (None, false);
                match self.scheduler.requeued(id, self.now) {
                    Back::End(_) => self.writes.push(Write::End(id)),
                    Back::Queued => {}
                    Back::Unknown => panic!("{id} cannot go back"),
                }
            }
            Write::End(id) => {
                self.stored(id).terminals += 1;
                self.scheduler.ended(id);
            }
        }
    }

    /// What the disk says of older jobs once a newer one is there.
    fn note_superseded(&mut self, newer: &NewJob) {
        if newer.on_conflict == OnConflict::Replace && newer.group.is_some() {
            for older in self.disk.values_mut().filter(|older| older.new.group == newer.group) {
                older.cancel.get_or_insert(Reason::Superseded);
            }
        }
    }

    fn restart(&mut self) {
        self.writes.clear();
        self.reported = self.disk.values().map(|stored| stored.id).collect();
        self.scheduler = scheduler();
        for worker in self.workers.values_mut() {
            worker.2 = false;
        }
        for (row, stored) in self.disk.iter().filter(|(_, stored)| stored.terminals == 0) {
            let restored = Restored {
                account: stored.new.account.clone(),
                agent: stored.new.agent.clone(),
                rank: Rank { priority: stored.new.priority, row: *row },
                retries: stored.new.retries,
                retries_used: stored.retries_used,
                attempt: stored.attempt,
                agent_started: stored.agent_started,
                cancel: stored.cancel,
                pause: self
                    .pauses
                    .get(&stored.id)
                    .map_or(Duration::ZERO, |until| *until - self.now),
                group: stored.new.group.clone(),
                running_on: stored.worker,
            };
            if let Back::End(_) = self.scheduler.restore(stored.id, restored, self.now) {
                self.writes.push(Write::End(stored.id));
            }
        }
        self.restore_parkings();
        // A worker whose attempt is over for the store is nobody's any more.
        let disk: HashMap<JobId, Option<WorkerId>> =
            self.disk.values().map(|stored| (stored.id, stored.worker)).collect();
        let ended: Vec<JobId> =
            self.disk.values().filter(|s| s.terminals > 0).map(|s| s.id).collect();
        self.workers.retain(|id, (worker, ..)| disk[id] == Some(*worker) && !ended.contains(id));
    }

    fn check(&self) {
        assert!(self.workers.len() <= QUOTA as usize, "more jobs run than may");
        let mut busy: HashMap<&GroupKey, JobId> = HashMap::new();
        for stored in self.disk.values() {
            assert!(stored.terminals <= 1, "{} ended twice", stored.id);
            assert!(stored.attempt <= 3 + stored.new.retries, "{} is tried too often", stored.id);
            let works = self.workers.contains_key(&stored.id);
            assert!(!(works && stored.terminals > 0), "{} works after its end", stored.id);
            if let (Some(group), true) = (&stored.new.group, works) {
                let other = busy.insert(group, stored.id);
                assert_eq!(other, None, "{} runs beside it", stored.id);
            }
        }
        self.check_superseded();
    }

    /// No job goes on as if nothing had happened once a newer one has taken its place.
    fn check_superseded(&self) {
        let mut newest: HashSet<&GroupKey> = HashSet::new();
        for stored in self.disk.values().rev() {
            let Some(group) = &stored.new.group else { continue };
            let is_known = self.reported.contains(&stored.id);
            if newest.contains(group) && is_known && stored.terminals == 0 {
                let id = stored.id;
                assert!(self.scheduler.cancel_reason(id).is_some(), "{id} is not superseded");
            }
            if is_known && stored.new.on_conflict == OnConflict::Replace {
                newest.insert(group);
            }
        }
    }

    /// Lets everything that can happen happen, without further mishaps.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let step = if !self.writes.is_empty() {
                Step::Commit(0)
            } else if self.nth_read(0).is_some() {
                Step::Done(0)
            } else if self.scheduler.has_ready() {
                Step::Dispatch
            } else if self.nth_unread(0).is_some() {
                Step::GiveUp(0)
            } else if let Some(due) = self.scheduler.next_due() {
                assert!(due > self.now, "a pause that is over goes on");
                Step::TimePasses((due - self.now).as_millis() as u64 + 1)
            } else {
                return;
            };
            self.step(step);
        }
        panic!("the jobs never end");
    }

    pub(super) fn check_that_all_is_over(&self) {
        for stored in self.disk.values() {
            assert_eq!(stored.terminals, 1, "{} never ended", stored.id);
        }
        assert_eq!(self.scheduler.counts(), (0, 0));
    }
}
