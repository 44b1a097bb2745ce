use service::protocol::request::OnConflict;

use super::super::{Account, Admission, Back, Cancel, GroupKey, NewJob, Verdict, Wait};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A scheduler whose clocks a test sets: on the wall it is 1970.
struct Desk {
    scheduler: Scheduler,
    row: i64,
    now: Instant,
    time: Timestamp,
}

impl Default for Desk {
    fn default() -> Self {
        let (now, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        Self { scheduler: Scheduler::default(), row: 0, now, time }
    }
}

impl Desk {
    fn admit(&mut self, agent: Option<&str>, new: impl FnOnce(&mut NewJob)) -> (JobId, Admission) {
        let (id, account) = (JobId::random(), Account::new("", ""));
        let agent = Agent::new(agent);
        let (group, on_conflict) = (None, OnConflict::Queue);
        let mut job = NewJob { account, agent, priority: 0, retries: 0, group, on_conflict };
        new(&mut job);
        self.row += 1;
        self.scheduler.admit(id, job).unwrap();
        let admission = self.scheduler.committed(id, self.row);
        (id, admission)
    }

    fn submit(&mut self, agent: &str) -> JobId {
        self.admit(Some(agent), |_| ()).0
    }

    fn start(&mut self) -> Option<JobId> {
        self.scheduler.start_next(self.now).map(|start| start.job.id)
    }

    /// The job's attempt ends at a limit that holds for as long.
    fn limit(&mut self, id: JobId, left: Duration) -> Verdict {
        let outcome = limited(Some(self.time + left));
        if let Some(limit) = RateLimit::of(&outcome, self.time) {
            self.scheduler.park(id, limit, self.now + limit.left(self.time));
        }
        self.scheduler.attempt_ended(id, outcome, self.now).unwrap()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.time += time;
        self.scheduler.wake(self.now);
    }

    fn wait(&self, id: JobId) -> String {
        match self.scheduler.wait_of(id) {
            Some(Wait::Limit(limited)) => limited.to_string(),
            wait => format!("{wait:?}"),
        }
    }

    /// Those who are told something now.
    fn told(&mut self) -> Vec<JobId> {
        let (news, parked) = self.scheduler.take_news();
        let jobs = news.into_iter().chain(parked.unwrap_or_default());
        jobs.map(|job| job.id).filter(|id| self.scheduler.tell(*id).is_some()).collect()
    }
}

fn limited(retry_at: Option<Timestamp>) -> Outcome {
    Outcome { retry_at, ..Outcome::failed(Reason::RateLimited, "used up") }
}

#[test]
fn jobs_of_a_parked_agent_wait_in_their_order_and_others_pass_them() {
    let mut desk = Desk::default();
    let first = desk.submit("claude");
    assert_eq!(desk.start(), Some(first));
    let unnamed = desk.admit(None, |_| ()).0;
    let named = desk.submit("claude");
    assert!(matches!(desk.limit(first, HOUR), Verdict::End(_)));
    desk.scheduler.ended(first);
    let urgent = desk.admit(Some("claude"), |job| job.priority = 9).0;
    let other = desk.submit("command");
    let words = "claude's credential is rate limited until 1970-01-01T01:00:00Z";
    assert_eq!([unnamed, named, urgent].map(|id| desk.wait(id)), [words; 3]);
    let places = [urgent, named, other].map(|id| desk.scheduler.position(id));
    assert_eq!(places, [1, 4, 1], "those who cannot run are not before those who can");
    assert_eq!((desk.start(), desk.start()), (Some(other), None));
    assert_eq!(desk.scheduler.counts(), (3, 1));
    let parkings: Vec<_> =
        desk.scheduler.parkings().iter().map(|(it, jobs)| (it.agent.to_string(), *jobs)).collect();
    assert_eq!(parkings, [("claude".to_owned(), 3)]);
    desk.pass(HOUR - SECOND);
    assert_eq!((desk.start(), desk.scheduler.next_due()), (None, Some(desk.now + SECOND)));
    desk.pass(SECOND);
    assert_eq!(desk.scheduler.parkings(), []);
    assert_eq!([(); 4].map(|()| desk.start()), [Some(urgent), Some(unnamed), Some(named), None]);
}

#[test]
fn a_retry_at_a_limit_waits_with_the_others_and_keeps_its_place() {
    let mut desk = Desk::default();
    let retried = desk.admit(Some("claude"), |job| job.retries = 1).0;
    assert_eq!(desk.start(), Some(retried));
    let later = desk.submit("claude");
    let Verdict::Requeue { reason, retries_used, pause } = desk.limit(retried, HOUR) else {
        panic!("it is not tried again");
    };
    assert_eq!(
        reason,
        "claude's credential is rate limited until 1970-01-01T01:00:00Z; retry 1 of 1 follows \
         then: used up"
    );
    assert_eq!((retries_used, pause), (1, Duration::ZERO));
    assert_eq!(desk.scheduler.requeued(retried, desk.now), Back::Queued);
    assert_eq!((desk.start(), desk.told()), (None, vec![later]));
    desk.pass(HOUR);
    assert_eq!((desk.start(), desk.start()), (Some(retried), Some(later)));
    // Then its retries are used up.
    let Verdict::End(outcome) = desk.limit(retried, HOUR) else { panic!("it is tried again") };
    let retry_at = Some(Timestamp::from_second(2 * 3600).unwrap());
    assert_eq!((outcome.retryable, outcome.retry_at), (true, retry_at));
}

#[test]
fn a_limit_that_is_over_or_almost_leaves_the_usual_pause() {
    for left in [Duration::ZERO, SECOND / 10] {
        let mut desk = Desk::default();
        let id = desk.admit(Some("claude"), |job| job.retries = 1).0;
        desk.start().unwrap();
        let Verdict::Requeue { reason, pause, .. } = desk.limit(id, left) else {
            panic!("it is not tried again");
        };
        assert_eq!(reason, "retry 1 of 1 in 1 s: used up");
        assert!(pause >= SECOND * 4 / 5);
    }
    let now = Timestamp::UNIX_EPOCH;
    let of = |outcome: Outcome| RateLimit::of(&outcome, now).is_some();
    assert!(of(limited(Some(now + SECOND))));
    assert!(!of(limited(Some(now))) && !of(limited(None)));
    let retry_at = Some(now + SECOND);
    assert!(!of(Outcome { retry_at, ..Outcome::failed(Reason::AgentError, "x") }));
    assert!(!of(Outcome { retry_at, ..Outcome::cancelled(Reason::RateLimited, "x") }));
}

#[test]
fn after_six_hours_one_job_tries_whether_a_longer_limit_still_holds() {
    let mut desk = Desk::default();
    let first = desk.submit("claude");
    desk.start().unwrap();
    let jobs = [(); 3].map(|()| desk.submit("claude"));
    desk.limit(first, 100 * HOUR);
    assert_eq!(
        desk.wait(jobs[0]),
        "claude's credential is rate limited until 1970-01-05T04:00:00Z; one job tries at \
         1970-01-01T06:00:00Z whether it still is"
    );
    desk.pass(6 * HOUR - SECOND);
    assert_eq!(desk.start(), None);
    desk.pass(SECOND);
    assert_eq!((desk.start(), desk.start()), (Some(jobs[0]), None));
    let words = "claude's credential was rate limited; one job tries whether it still is";
    assert_eq!(desk.wait(jobs[1]), words);
    // It still holds.
    desk.limit(jobs[0], 94 * HOUR);
    desk.pass(TRIAL);
    assert_eq!(desk.start(), None);
    desk.pass(6 * HOUR);
    assert_eq!((desk.start(), desk.start()), (Some(jobs[1]), None));
    // It does not, or it would have been heard of.
    desk.pass(TRIAL);
    assert_eq!((desk.start(), desk.start()), (Some(jobs[2]), None));
    assert_eq!(desk.scheduler.next_due(), None);
}

#[test]
fn the_longer_of_two_limits_counts_and_no_clock_makes_it_longer_than_six_hours() {
    let mut desk = Desk::default();
    let ids = [(); 3].map(|()| desk.submit("claude"));
    let _ = ids.map(|_| desk.start().unwrap());
    desk.limit(ids[0], 2 * HOUR);
    desk.limit(ids[1], HOUR);
    assert_eq!(desk.scheduler.next_due(), Some(desk.now + 2 * HOUR));
    desk.limit(ids[2], 3 * HOUR);
    assert_eq!(desk.scheduler.next_due(), Some(desk.now + 3 * HOUR));
    // After a restart the clock is a day behind.
    let at = |hours: i64| Timestamp::from_second(hours * 3600).unwrap();
    let limit = RateLimit { retry_at: at(25), until: at(25) };
    let mut restored = Desk::default();
    let now = (restored.now, restored.time);
    restored.scheduler.restore_parking(&"claude".into(), limit, now);
    assert_eq!(restored.scheduler.next_due(), Some(restored.now + LONGEST));
    // One that is over is forgotten, unless nobody has tried yet.
    for (until, tries) in [(at(0), true), (at(25), false)] {
        let mut restored = Desk { time: at(24), ..Desk::default() };
        let limit = RateLimit { retry_at: at(25), until };
        let time = if tries { at(24) } else { at(26) };
        restored.scheduler.restore_parking(&"claude".into(), limit, (restored.now, time));
        let ids = [(); 2].map(|()| restored.submit("claude"));
        assert_eq!(restored.start(), Some(ids[0]));
        assert_eq!(restored.start().is_none(), tries);
    }
}

#[test]
fn a_parked_job_holds_up_no_other_of_its_group_and_can_be_cancelled_or_replaced() {
    let mut desk = Desk::default();
    let grouped = |job: &mut NewJob| job.group = Some(GroupKey::new("", "deploy"));
    let first = desk.submit("claude");
    desk.start().unwrap();
    desk.limit(first, HOUR);
    desk.scheduler.ended(first);
    let parked = desk.admit(Some("claude"), grouped).0;
    let other = desk.admit(Some("command"), grouped).0;
    assert_eq!(desk.scheduler.wait_of(other), Some(Wait::Worker));
    assert_eq!((desk.start(), desk.start()), (Some(other), None));
    // Once it may go, it waits for the one that has passed it.
    desk.pass(HOUR);
    assert_eq!(desk.scheduler.wait_of(parked), Some(Wait::Group(other)));
    assert_eq!(desk.start(), None);
    desk.scheduler.ended(other);
    assert_eq!(desk.start(), Some(parked));
    desk.limit(parked, HOUR);
    desk.scheduler.ended(parked);
    let [cancelled, replaced] = [(); 2].map(|()| desk.admit(Some("claude"), grouped).0);
    let reason = Reason::CancelRequested;
    assert_eq!(desk.scheduler.cancel(cancelled, reason), Cancel::End(reason));
    desk.scheduler.ended(cancelled);
    let (newest, admission) = desk.admit(Some("command"), |job| {
        grouped(job);
        job.on_conflict = OnConflict::Replace;
    });
    assert_eq!(admission.end.iter().map(|(job, _)| job.id).collect::<Vec<_>>(), [replaced]);
    desk.scheduler.ended(replaced);
    assert_eq!(desk.start(), Some(newest));
    desk.scheduler.ended(newest);
    assert_eq!(desk.scheduler.counts(), (0, 0));
    desk.pass(HOUR);
    assert!(!desk.scheduler.has_ready());
}

#[test]
fn jobs_that_name_no_agent_wait_for_the_one_that_workers_choose() {
    let mut desk = Desk::default();
    desk.scheduler.set_default_agent("codex");
    let first = desk.admit(None, |_| ()).0;
    desk.start().unwrap();
    let parked = desk.limit(first, HOUR);
    assert!(matches!(parked, Verdict::End(_)));
    let unnamed = desk.admit(None, |_| ()).0;
    let named = desk.submit("codex");
    let other = desk.submit("claude");
    assert!(desk.wait(unnamed).starts_with("codex's credential"));
    assert_eq!((desk.start(), desk.start()), (Some(other), None));
    desk.scheduler.set_default_agent("claude");
    assert_eq!((desk.start(), desk.start()), (Some(unnamed), None));
    assert!(desk.wait(named).starts_with("codex's credential"));
    let waits = desk.admit(None, |_| ()).0;
    desk.scheduler.set_default_agent("codex");
    assert!(desk.wait(waits).starts_with("codex's credential"));
    assert_eq!(desk.start(), None);
}

#[test]
fn each_job_that_waits_is_told_once_and_again_when_it_is_to_wait_longer() {
    let mut desk = Desk::default();
    let running = [(); 2].map(|()| desk.submit("claude"));
    let _ = running.map(|_| desk.start().unwrap());
    let waiting = [(); 3].map(|()| desk.submit("claude"));
    let other = desk.submit("command");
    assert!(desk.scheduler.tell(waiting[0]).is_some() && desk.scheduler.tell(other).is_some());
    desk.limit(running[0], HOUR);
    assert_eq!(desk.told(), waiting);
    desk.limit(running[1], HOUR);
    assert_eq!(desk.told(), [], "it is the same limit");
    let newcomer = desk.submit("claude");
    assert_eq!((desk.told(), desk.told()), (vec![newcomer], vec![]));
    desk.start().unwrap();
    desk.limit(other, 2 * HOUR);
    assert_eq!(desk.told(), [], "that is another agent");
}

#[test]
fn a_job_whose_pause_ends_while_its_agent_is_parked_is_told() {
    let mut desk = Desk::default();
    let paused = desk.admit(Some("claude"), |job| job.retries = 1).0;
    let limited = desk.submit("claude");
    let _ = [(); 2].map(|()| desk.start().unwrap());
    let lost = Outcome::failed(Reason::HostUnreachable, "away");
    desk.scheduler.attempt_ended(paused, lost, desk.now).unwrap();
    desk.scheduler.requeued(paused, desk.now);
    desk.limit(limited, HOUR);
    assert_eq!(desk.told(), []);
    desk.pass(2 * SECOND);
    assert_eq!((desk.told(), desk.start()), (vec![paused], None));
}
