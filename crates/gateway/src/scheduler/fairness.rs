//! Who is served when many want to be.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A scheduler, and what a reader of its promises knows of each job.
#[derive(Default)]
struct Desk {
    scheduler: Scheduler,
    row: i64,
    waiting: HashMap<JobId, Known>,
    running: HashMap<JobId, Known>,
    served: HashMap<String, u64>,
    starts: u64,
    /// Whether the jobs of the second agent cannot run.
    is_parked: bool,
}

#[derive(Clone)]
struct Known {
    token: String,
    repo: String,
    agent: u8,
    priority: i32,
    row: i64,
}

const AGENTS: [&str; 2] = ["command", "claude"];

impl Known {
    /// How the job's repository is told from those of the same name elsewhere.
    fn lane(&self) -> String {
        format!("{}/{}", self.token, self.repo)
    }
}

impl Desk {
    fn submit(&mut self, token: &str, repo: &str, priority: i32) -> JobId {
        self.submit_for(0, token, repo, priority)
    }

    fn submit_for(&mut self, agent: u8, token: &str, repo: &str, priority: i32) -> JobId {
        let id = JobId::random();
        self.row += 1;
        let account = Account::new(token, repo);
        let on_conflict = OnConflict::Queue;
        let name = Agent::new(Some(AGENTS[usize::from(agent)]));
        let (retries, group) = (0, None);
        let new = NewJob { account, agent: name, priority, retries, group, on_conflict };
        self.scheduler.admit(id, new).unwrap();
        self.scheduler.committed(id, self.row);
        let (token, repo) = (token.to_owned(), repo.to_owned());
        self.waiting.insert(id, Known { token, repo, agent, priority, row: self.row });
        id
    }

    fn start(&mut self) -> Option<JobId> {
        let expected = self.whose_turn();
        let started = self.scheduler.start_next(Instant::now()).map(|start| start.job.id);
        assert_eq!(started, expected);
        let known = self.waiting.remove(&started?).unwrap();
        self.starts += 1;
        self.served.insert(known.token.clone(), self.starts);
        self.served.insert(known.lane(), self.starts);
        self.running.insert(started?, known);
        started
    }

    fn end(&mut self, id: JobId) {
        self.scheduler.attempt_ended(id, Outcome::completed("done"), Instant::now()).unwrap();
        self.scheduler.ended(id);
        let lane = self.running.remove(&id).unwrap().lane();
        let is_known = |known: &Known| known.lane() == lane;
        if !self.waiting.values().chain(self.running.values()).any(is_known) {
            self.served.remove(&lane);
        }
    }

    /// Parks the second agent, or lets its jobs go on.
    fn park(&mut self, is_parked: bool, now: Instant) {
        let name = AGENTS[1].into();
        if is_parked {
            let at = |second| jiff::Timestamp::from_second(second).unwrap();
            let limit = RateLimit { retry_at: at(3600), until: at(3600) };
            self.scheduler.restore_parking(&name, limit, (now, at(0)));
        } else {
            self.scheduler.wake(now + Duration::from_secs(3600));
        }
        self.is_parked = is_parked;
    }

    /// The same by looking at every job.
    fn whose_turn(&self) -> Option<JobId> {
        let share = |is_its: &dyn Fn(&Known) -> bool, name: &str| {
            let running = self.running.values().filter(|known| is_its(known)).count();
            (running, self.served.get(name).copied().unwrap_or(0))
        };
        let best = |jobs: &[(&JobId, &Known)]| {
            jobs.iter().map(|(_, known)| (-known.priority, known.row)).min()
        };
        let can_run = |known: &Known| known.agent == 0 || !self.is_parked;
        let all: Vec<_> = self.waiting.iter().filter(|(_, known)| can_run(known)).collect();
        let of = |is_its: &dyn Fn(&Known) -> bool| {
            all.iter().copied().filter(|(_, known)| is_its(known)).collect::<Vec<_>>()
        };
        let (_, known) = all.iter().min_by_key(|(_, known)| {
            let token = |other: &Known| other.token == known.token;
            let lane = |other: &Known| other.lane() == known.lane();
            let by_token = best(&of(&token)).unwrap();
            let by_lane = best(&of(&lane)).unwrap();
            (
                (by_token.0, share(&token, &known.token), by_token.1),
                (by_lane.0, share(&lane, &known.lane()), by_lane.1),
                (-known.priority, known.row),
            )
        })?;
        self.waiting.iter().find(|(_, other)| other.row == known.row).map(|(id, _)| *id)
    }
}

#[test]
fn a_single_job_goes_before_the_thousand_of_another_token_or_repository() {
    for (crowd, single) in [(("a", "r"), ("b", "r")), (("a", "r"), ("a", "s"))] {
        let mut scheduler = Scheduler::default();
        let submit = |scheduler: &mut Scheduler, row, (token, repo)| {
            let id = JobId::random();
            let (account, agent) = (Account::new(token, repo), Agent::default());
            let (group, on_conflict) = (None, OnConflict::Queue);
            let new = NewJob { account, agent, priority: 0, retries: 0, group, on_conflict };
            scheduler.admit(id, new).unwrap();
            scheduler.committed(id, row);
            id
        };
        for row in 1..=1000 {
            submit(&mut scheduler, row, crowd);
        }
        for _ in 0..5 {
            scheduler.start_next(Instant::now()).unwrap();
        }
        let single = submit(&mut scheduler, 1001, single);
        assert_eq!(scheduler.start_next(Instant::now()).unwrap().job.id, single);
    }
}

#[test]
fn a_thousand_repositories_do_not_make_a_token_a_thousand_times_as_important() {
    let mut desk = Desk::default();
    for n in 0..50 {
        desk.submit("crowd", &format!("repo-{n}"), 0);
    }
    let others = ["a", "b", "c"].map(|token| desk.submit(token, "repo", 0));
    let started: Vec<_> = (0..4).map(|_| desk.start().unwrap()).collect();
    assert!(others.iter().all(|other| started.contains(other)));
}

#[test]
fn tokens_that_always_have_work_take_turns() {
    let mut desk = Desk::default();
    for n in 0..30 {
        desk.submit(if n < 20 { "a" } else { "b" }, "repo", 0);
    }
    let mut order = String::new();
    for _ in 0..20 {
        let id = desk.start().unwrap();
        order.push_str(&desk.running[&id].token);
        desk.end(id);
    }
    assert_eq!(order, "ab".repeat(10));
}

#[test]
fn urgent_jobs_go_first_whosever_they_are() {
    let mut desk = Desk::default();
    let first = desk.submit("a", "repo", 1);
    desk.submit("b", "repo", 0);
    let second = desk.submit("a", "repo", 1);
    assert_eq!([desk.start(), desk.start()], [Some(first), Some(second)]);
}

#[derive(Clone, Debug)]
enum Step {
    Submit { agent: u8, token: u8, repo: u8, priority: i32 },
    Park(bool),
    Start,
    End(usize),
    Cancel(usize),
    GiveBack(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let submit = (0..2_u8, 0..3_u8, 0..3_u8, 0..2_i32)
        .prop_map(|(agent, token, repo, priority)| Step::Submit { agent, token, repo, priority });
    prop_oneof![
        4 => submit,
        1 => Just(Step::Park(true)),
        1 => Just(Step::Park(false)),
        4 => Just(Step::Start),
        2 => (0..16_usize).prop_map(Step::End),
        1 => (0..16_usize).prop_map(Step::Cancel),
        1 => (0..16_usize).prop_map(Step::GiveBack),
    ]
}

fn nth(jobs: &HashMap<JobId, Known>, n: usize) -> Option<JobId> {
    let mut jobs: Vec<_> = jobs.iter().map(|(id, known)| (known.row, *id)).collect();
    jobs.sort_unstable();
    (!jobs.is_empty()).then(|| jobs[n % jobs.len()].1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_next_job_is_the_one_that_a_look_at_every_job_would_pick(
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let (mut desk, now) = (Desk::default(), Instant::now());
        for step in steps {
            match step {
                Step::Submit { agent, token, repo, priority } => {
                    desk.submit_for(agent, &token.to_string(), &repo.to_string(), priority);
                }
                Step::Park(is_parked) => desk.park(is_parked, now),
                Step::Start => drop(desk.start()),
                Step::End(n) => if let Some(id) = nth(&desk.running, n) {
                    desk.end(id);
                },
                Step::Cancel(n) => if let Some(id) = nth(&desk.running, n) {
                    prop_assert_eq!(
                        desk.scheduler.cancel(id, Reason::CancelRequested), Cancel::Stop
                    );
                },
                Step::GiveBack(n) => if let Some(id) = nth(&desk.running, n)
                    && desk.scheduler.cancel_reason(id).is_none()
                {
                    desk.scheduler.give_back(id).unwrap();
                    desk.scheduler.requeued(id, Instant::now());
                    let known = desk.running.remove(&id).unwrap();
                    desk.waiting.insert(id, known);
                },
            }
        }
        desk.park(false, now);
        let left = desk.waiting.len();
        for _ in 0..left {
            prop_assert!(desk.start().is_some());
        }
        prop_assert_eq!(desk.start(), None);
    }

    #[test]
    fn nobody_waits_for_more_than_one_job_of_each_other_token(
        crowds in proptest::collection::vec(1..9_usize, 1..5),
        served_before in 0..20_usize,
    ) {
        let mut desk = Desk::default();
        for (token, jobs) in crowds.iter().enumerate() {
            for n in 0..*jobs {
                desk.submit(&token.to_string(), &n.to_string(), 0);
            }
        }
        for _ in 0..served_before {
            if let Some(id) = desk.start() {
                desk.end(id);
            }
        }
        let single = desk.submit("single", "repo", 0);
        let before = std::iter::from_fn(|| {
            let id = desk.start()?;
            desk.end(id);
            (id != single).then_some(id)
        });
        prop_assert!(before.count() <= crowds.len());
    }
}
