//! Whose turn it is: fair between tokens, and between the repositories of one token.
//!
//! Among jobs of the same priority, the token with the fewest running jobs comes next, and of those
//! the one that was served longest ago; within the token the same holds for its repositories. So
//! whoever queues a thousand jobs waits behind their own, not the others behind them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use service::protocol::JobId;

use super::job::Rank;
use super::lanes::{Agent, Gate, Lanes};

/// On whose account a job runs. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    token: Arc<str>,
    repo: Arc<str>,
}

impl Account {
    pub(crate) fn new(token: &str, repo: &str) -> Self {
        Self { token: token.into(), repo: repo.into() }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

/// A job that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: JobId,
    pub(super) rank: Rank,
    pub(super) account: Account,
    pub(super) agent: Agent,
}

/// The jobs that could run now.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Never forgotten, so that nobody gains by being away: there are only as many as the operator
    /// has given out.
    tokens: HashMap<Arc<str>, Token>,
    /// The tokens that have such jobs.
    turns: BTreeMap<Turn, Arc<str>>,
    /// The agents whose jobs stay here, but cannot run.
    closed: HashSet<Agent>,
    /// How many jobs have been taken.
    served: u64,
    /// How many jobs run.
    running: usize,
}

#[derive(Debug, Default)]
struct Token {
    share: Share,
    /// How many jobs it has, whether they run or wait.
    jobs: usize,
    /// How many may run; those that could run otherwise are not here meanwhile.
    max_running: Option<usize>,
    repos: HashMap<Arc<str>, Repo>,
    /// The repositories that have such jobs.
    turns: BTreeMap<Turn, Arc<str>>,
}

#[derive(Debug, Default)]
struct Repo {
    share: Share,
    jobs: Lanes<JobId>,
}

/// How much of the workers a token or a repository has had.
#[derive(Debug, Default)]
struct Share {
    running: usize,
    /// When its latest job was taken.
    served: u64,
    /// Its place among the others, if it has a job that could run.
    turn: Option<Turn>,
}

/// A place in an order of turns; the least is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    priority: Reverse<i32>,
    running: usize,
    served: u64,
    /// The row of the job that is meant, which makes it unique.
    row: i64,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// How many jobs could run now, as far as the quotas of their tokens go; counts up to `most`.
    pub(super) fn count_up_to(&self, most: usize) -> usize {
        let mut count = 0;
        for token in self.turns.values().filter_map(|name| self.tokens.get(name)) {
            let may_start =
                token.max_running.map_or(most, |max| max.saturating_sub(token.share.running));
            count += token.count_up_to(may_start.min(most - count));
            if count == most {
                break;
            }
        }
        count
    }

    /// The same account, in memory that is shared with its other jobs if it has any here.
    pub(super) fn shared(&self, account: Account) -> Account {
        let Some((token, known)) = self.tokens.get_key_value(&account.token) else {
            return account;
        };
        let repo = known.repos.get_key_value(&account.repo).map(|(repo, _)| Arc::clone(repo));
        Account { token: Arc::clone(token), repo: repo.unwrap_or(account.repo) }
    }

    pub(super) fn insert(&mut self, entry: &Entry) {
        let gate = self.gate(&entry.agent);
        self.change(&entry.account, |_, repo| {
            repo.jobs.insert(&entry.agent, gate, entry.rank, entry.id);
        });
    }

    /// The agents whose jobs cannot run.
    pub(super) fn closed(&self) -> &HashSet<Agent> {
        &self.closed
    }

    pub(super) fn gate(&self, agent: &Agent) -> Gate {
        if self.closed.contains(agent) { Gate::Closed } else { Gate::Open }
    }

    /// Lets the jobs of an agent run, or not; says whether that is new. The time that it takes grows
    /// with the number of repositories, not of jobs.
    pub(super) fn set(&mut self, agent: &Agent, gate: Gate) -> bool {
        let is_new = match gate {
            Gate::Open => self.closed.remove(agent),
            Gate::Closed => self.closed.insert(agent.clone()),
        };
        if !is_new {
            return false;
        }
        let mut accounts = Vec::new();
        for (token, its) in &self.tokens {
            let with = its.repos.iter().filter(|(_, repo)| repo.jobs.has(agent));
            accounts.extend(with.map(|(repo, _)| (Arc::clone(token), Arc::clone(repo))));
        }
        for (token, repo) in accounts {
            self.change(&Account { token, repo }, |_, repo| repo.jobs.set(agent, gate));
        }
        true
    }

    /// Lets no more of a token's jobs run than `max` at the same time.
    pub(super) fn limit(&mut self, token: Arc<str>, max: usize) {
        self.tokens.entry(token).or_default().max_running = Some(max);
    }

    /// A job comes in on this account.
    pub(super) fn join(&mut self, account: &Account) {
        self.tokens.entry(Arc::clone(&account.token)).or_default().jobs += 1;
    }

    /// A job of this account is no more, and does not run.
    pub(super) fn leave(&mut self, account: &Account) {
        if let Some(token) = self.tokens.get_mut(&account.token) {
            token.jobs -= 1;
        }
    }

    /// How many of a token's jobs do not run.
    pub(super) fn waiting_of(&self, account: &Account) -> usize {
        self.tokens.get(&account.token).map_or(0, |token| token.jobs - token.share.running)
    }

    /// How many jobs run.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// How many of a token's jobs run, if they are as many as may.
    pub(super) fn all_that_may_run(&self, account: &Account) -> Option<usize> {
        let token = self.tokens.get(&account.token)?;
        token.is_at_limit().then_some(token.share.running)
    }

    /// The job of this token that is next, if only the token's limit is in its way.
    pub(super) fn next_at_limit(&self, account: &Account) -> Option<JobId> {
        let token = self.tokens.get(&account.token).filter(|token| token.is_at_limit())?;
        let repo = token.repos.get(token.turns.first_key_value()?.1)?;
        Some(*repo.jobs.first()?.1)
    }

    /// Harmless when it is not here.
    pub(super) fn remove(&mut self, entry: &Entry) {
        self.change(&entry.account, |_, repo| {
            repo.jobs.remove(&entry.agent, entry.rank);
        });
    }

    /// Takes the job whose turn it is; it counts as running from now on.
    pub(super) fn take_next(&mut self) -> Option<JobId> {
        let token = Arc::clone(self.turns.first_key_value()?.1);
        let repo = Arc::clone(self.tokens.get(&token)?.turns.first_key_value()?.1);
        self.served += 1;
        self.running += 1;
        let served = self.served;
        self.change(&Account { token, repo }, |token, repo| {
            for share in [token, &mut repo.share] {
                share.running += 1;
                share.served = served;
            }
            repo.jobs.pop_first()
        })
    }

    /// A job that is not taken from here runs on this account.
    pub(super) fn occupy(&mut self, account: &Account) {
        self.running += 1;
        self.change(account, |token, repo| {
            token.running += 1;
            repo.share.running += 1;
        });
    }

    /// A job that ran on this account does not run any more.
    pub(super) fn vacate(&mut self, account: &Account) {
        self.running -= 1;
        self.change(account, |token, repo| {
            token.running -= 1;
            repo.share.running -= 1;
        });
    }

    /// Changes what an account has, then gives it the turn that it has now.
    fn change<T>(
        &mut self,
        account: &Account,
        change: impl FnOnce(&mut Share, &mut Repo) -> T,
    ) -> T {
        let token = self.tokens.entry(Arc::clone(&account.token)).or_default();
        let repo = token.repos.entry(Arc::clone(&account.repo)).or_default();
        let result = change(&mut token.share, repo);
        let best = repo.jobs.first().map(|(rank, _)| (rank.priority, rank.row));
        repo.share.queue_up(best, &account.repo, &mut token.turns);
        if repo.jobs.is_empty() && repo.share.running == 0 {
            token.repos.remove(&account.repo);
        }
        let first = token.turns.first_key_value().filter(|_| !token.is_at_limit());
        let best = first.map(|(turn, _)| (turn.priority.0, turn.row));
        token.share.queue_up(best, &account.token, &mut self.turns);
        result
    }
}

impl Token {
    fn count_up_to(&self, most: usize) -> usize {
        let mut count = 0;
        for repo in self.turns.values().filter_map(|name| self.repos.get(name)) {
            count += repo.jobs.len();
            if count >= most {
                return most;
            }
        }
        count
    }

    fn is_at_limit(&self) -> bool {
        self.max_running.is_some_and(|max| self.share.running >= max)
    }
}

impl Share {
    /// Takes its place among the others with its best job, or leaves them if it has none.
    fn queue_up(
        &mut self,
        best: Option<(i32, i64)>,
        name: &Arc<str>,
        turns: &mut BTreeMap<Turn, Arc<str>>,
    ) {
        if let Some(turn) = self.turn.take() {
            turns.remove(&turn);
        }
        if let Some((priority, row)) = best {
            let priority = Reverse(priority);
            let turn = Turn { priority, running: self.running, served: self.served, row };
            turns.insert(turn, Arc::clone(name));
            self.turn = Some(turn);
        }
    }
}
