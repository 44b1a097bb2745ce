//! Agents whose credential has no quota left: their jobs wait until it is there again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use service::protocol::{JobId, Outcome, Reason, State};

use super::Scheduler;
use super::lanes::{Agent, Gate};

/// Jobs are held up no longer than this, whenever the quota is there again by the agent's word; then
/// one of them tries whether the limit still holds. For a process that an agent starts can write
/// lines that look like the agent's own: no job may hold up everybody else's for good.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// How far the one that tries is ahead of the others. A quota that is used up is refused at the first
/// request, seconds after the start.
const TRIAL: Duration = Duration::from_secs(60);

/// Who runs a job that names no agent, until a worker has said which one it chooses.
const USUAL_AGENT: &str = "claude";

/// Longest name of an agent in words: callers choose the names of agents that do not exist.
const MAX_NAME_CHARS: usize = 40;

/// A quota that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// When it is there again, as the agent says.
    pub(crate) retry_at: Timestamp,
    /// Until when jobs wait for that.
    pub(crate) until: Timestamp,
}

/// What jobs of an agent wait for whose quota was refused. Its words say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) agent: Arc<str>,
    pub(crate) limit: RateLimit,
    pub(super) ends: Instant,
    is_on_trial: bool,
}

/// All agents whose jobs wait.
#[derive(Debug)]
pub(super) struct Parkings {
    parked: BTreeMap<Arc<str>, Parking>,
    /// Those whose limit was longer than we waited: the next job tries whether it still holds.
    on_trial: HashMap<Arc<str>, RateLimit>,
    /// Who runs the jobs that name no agent.
    default: Arc<str>,
}

#[derive(Clone, Copy, Debug)]
struct Parking {
    limit: RateLimit,
    ends: Instant,
    is_on_trial: bool,
}

impl Default for Parkings {
    fn default() -> Self {
        let (parked, on_trial) = (BTreeMap::new(), HashMap::new());
        Self { parked, on_trial, default: USUAL_AGENT.into() }
    }
}

impl RateLimit {
    /// The limit at which an attempt ended, if there is one and it still holds.
    pub(crate) fn of(outcome: &Outcome, now: Timestamp) -> Option<Self> {
        let is_limited =
            outcome.state == State::Failed && outcome.reason == Some(Reason::RateLimited);
        let retry_at = outcome.retry_at.filter(|at| is_limited && *at > now)?;
        // Whole milliseconds, so that a restart does not change it.
        let retry_at = Timestamp::from_millisecond(retry_at.as_millisecond()).unwrap_or(retry_at);
        let longest = Timestamp::from_second(now.as_second()).unwrap_or(now) + LONGEST;
        Some(Self { retry_at, until: retry_at.min(longest) })
    }

    /// How long jobs have to wait yet. A clock that was set anew does not make it longer than the
    /// longest.
    pub(crate) fn left(self, now: Timestamp) -> Duration {
        Duration::try_from(self.until.duration_since(now)).unwrap_or_default().min(LONGEST)
    }

    fn is_cut_short(self) -> bool {
        self.until < self.retry_at
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agent: String = self.agent.chars().take(MAX_NAME_CHARS).collect();
        let RateLimit { retry_at, until } = self.limit;
        if self.is_on_trial {
            return write!(
                f,
                "{agent}'s credential was rate limited; one job tries whether it still is"
            );
        }
        write!(f, "{agent}'s credential is rate limited until {retry_at}")?;
        if self.limit.is_cut_short() {
            write!(f, "; one job tries at {until} whether it still is")?;
        }
        Ok(())
    }
}

impl Scheduler {
    /// A running job's attempt ended at this limit: all jobs of its agent wait, at most until
    /// `ends`. Returns the agent's name if they did not wait for as long already.
    pub(crate) fn park(&mut self, id: JobId, limit: RateLimit, ends: Instant) -> Option<Arc<str>> {
        let job = self.jobs.get(&id).filter(|_| self.is_running(id))?;
        let name = self.parkings.name_of(&job.agent);
        self.park_agent(&name, limit, ends).then_some(name)
    }

    /// Goes on with what was parked before a restart; `now` is both.
    pub(crate) fn restore_parking(
        &mut self,
        name: &Arc<str>,
        limit: RateLimit,
        now: (Instant, Timestamp),
    ) {
        let (instant, timestamp) = now;
        if limit.until > timestamp {
            self.park_agent(name, limit, instant + limit.left(timestamp));
        } else if limit.retry_at > timestamp {
            self.parkings.on_trial.insert(Arc::clone(name), limit);
        }
    }

    fn park_agent(&mut self, name: &Arc<str>, limit: RateLimit, ends: Instant) -> bool {
        let known = self.parkings.parked.get(name).filter(|parking| !parking.is_on_trial);
        if known.is_some_and(|parking| parking.ends >= ends) {
            return false;
        }
        self.parkings.on_trial.remove(name);
        let parking = Parking { limit, ends, is_on_trial: false };
        self.parkings.parked.insert(Arc::clone(name), parking);
        self.set_lanes(name);
        self.has_parked = true;
        true
    }

    /// A job of this agent was started: if it is to try whether a limit still holds, the others wait
    /// for what becomes of it.
    pub(super) fn begin_trial(&mut self, agent: &Agent, now: Instant) {
        if self.parkings.on_trial.is_empty() {
            return;
        }
        let name = self.parkings.name_of(agent);
        if let Some(limit) = self.parkings.on_trial.remove(&name) {
            let parking = Parking { limit, ends: now + TRIAL, is_on_trial: true };
            self.parkings.parked.insert(Arc::clone(&name), parking);
            self.set_lanes(&name);
        }
    }

    /// When the next parking is over.
    pub(super) fn next_parking_end(&self) -> Option<Instant> {
        self.parkings.parked.values().map(|parking| parking.ends).min()
    }

    /// Lets the jobs go on whose agents have waited long enough.
    pub(super) fn end_parkings(&mut self, now: Instant) {
        let over = self.parkings.parked.iter().filter(|(_, parking)| parking.ends <= now);
        let over: Vec<_> = over.map(|(name, parking)| (Arc::clone(name), *parking)).collect();
        for (name, parking) in over {
            self.parkings.parked.remove(&name);
            if parking.limit.is_cut_short() && !parking.is_on_trial {
                self.parkings.on_trial.insert(Arc::clone(&name), parking.limit);
            }
            self.set_lanes(&name);
        }
    }

    /// Who runs the jobs that name no agent, as far as is known.
    pub(crate) fn default_agent(&self) -> &str {
        &self.parkings.default
    }

    /// Workers have said whom they choose for jobs that name no agent.
    pub(crate) fn set_default_agent(&mut self, name: &str) {
        if *self.parkings.default == *name {
            return;
        }
        self.parkings.default = name.into();
        let name = Arc::clone(&self.parkings.default);
        self.set_lanes(&name);
    }

    /// What the job's agent waits for, if it is parked.
    pub(super) fn limited(&self, agent: &Agent) -> Option<Limited> {
        let name = self.parkings.name_of(agent);
        self.parkings.parked.get(&name).map(|parking| parking.in_words(&name))
    }

    /// The agents that wait, and how many jobs wait with each.
    pub(crate) fn parkings(&self) -> Vec<(Limited, usize)> {
        let parked = self.parkings.parked.iter();
        parked
            .map(|(name, parking)| {
                let lanes = self.parkings.lanes_of(name);
                let jobs = lanes.map(|lane| self.waiting.count_of(&lane)).sum();
                (parking.in_words(name), jobs)
            })
            .collect()
    }

    /// Opens the lanes of an agent, or closes them if it is parked.
    fn set_lanes(&mut self, name: &Arc<str>) {
        let is_parked = self.parkings.parked.contains_key(name);
        let gate = if is_parked { Gate::Closed } else { Gate::Open };
        for lane in self.parkings.lanes_of(name) {
            if self.ready.set(&lane, gate) {
                self.groups.set(&lane, gate, &mut self.ready);
            }
        }
    }
}

impl Parkings {
    fn name_of(&self, agent: &Agent) -> Arc<str> {
        Arc::clone(agent.name().unwrap_or(&self.default))
    }

    /// The jobs that ask for this agent, and, if it is the default, those that ask for none.
    fn lanes_of(&self, name: &Arc<str>) -> impl Iterator<Item = Agent> + use<> {
        let unnamed = (*self.default == **name).then(Agent::default);
        std::iter::once(Agent::from(Arc::clone(name))).chain(unnamed)
    }
}

impl Parking {
    fn in_words(self, agent: &Arc<str>) -> Limited {
        let Self { limit, ends, is_on_trial } = self;
        Limited { agent: Arc::clone(agent), limit, ends, is_on_trial }
    }
}

#[cfg(test)]
mod tests;
