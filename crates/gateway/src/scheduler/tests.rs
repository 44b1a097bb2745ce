use service::protocol::Outcome;

use super::*;

fn submit(scheduler: &mut Scheduler, row: i64, priority: i32, group: Option<&str>) -> JobId {
    let id = JobId::random();
    let group = group.map(|group| GroupKey::new("", group));
    let new = NewJob { priority, group, ..new_job("", "") };
    scheduler.admit(id, new).unwrap();
    assert_eq!(scheduler.committed(id, row), Admission::default());
    id
}

fn new_job(token: &str, repo: &str) -> NewJob {
    let (account, agent) = (Account::new(token, repo), Agent::default());
    NewJob { account, agent, priority: 0, retries: 0, group: None, on_conflict: OnConflict::Queue }
}

#[test]
fn higher_priority_goes_first_then_the_older_job() {
    let mut scheduler = Scheduler::default();
    let old = submit(&mut scheduler, 1, 0, None);
    let young = submit(&mut scheduler, 2, 0, None);
    let urgent = submit(&mut scheduler, 3, 5, None);
    assert_eq!([urgent, old, young].map(|id| scheduler.position(id)), [1, 3, 3]);
    let order = [(); 3].map(|()| scheduler.start_next(Instant::now()).unwrap().job.id);
    assert_eq!(order, [urgent, old, young]);
    assert_eq!(scheduler.start_next(Instant::now()), None);
}

#[test]
fn a_job_that_waits_for_its_group_lets_others_pass() {
    let mut scheduler = Scheduler::default();
    let first = submit(&mut scheduler, 1, 0, Some("deploy"));
    let second = submit(&mut scheduler, 2, 9, Some("other"));
    assert_eq!(scheduler.start_next(Instant::now()).unwrap().job.id, second);
    assert_eq!(scheduler.start_next(Instant::now()).unwrap().job.id, first);
    let third = submit(&mut scheduler, 3, 9, Some("deploy"));
    let free = submit(&mut scheduler, 4, 0, None);
    assert_eq!(scheduler.wait_of(third), Some(Wait::Group(first)));
    assert_eq!(scheduler.start_next(Instant::now()).unwrap().job.id, free);
    assert_eq!(scheduler.start_next(Instant::now()), None);
    scheduler.ended(first);
    assert_eq!(scheduler.start_next(Instant::now()).unwrap().job.id, third);
}

#[test]
fn a_job_is_lost_three_times_at_most_before_its_agent_starts() {
    let mut scheduler = Scheduler::default();
    let id = submit(&mut scheduler, 1, 0, None);
    let lost = || Outcome::failed(Reason::WorkerLost, "the worker was lost");
    for attempt in 1..=2 {
        assert_eq!(scheduler.start_next(Instant::now()).unwrap().attempt, attempt);
        let verdict = scheduler.attempt_ended(id, lost(), Instant::now()).unwrap();
        assert!(matches!(verdict, Verdict::Requeue { retries_used: 0, .. }), "{verdict:?}");
        assert_eq!(scheduler.requeued(id, Instant::now()), Back::Queued);
    }
    assert_eq!(scheduler.start_next(Instant::now()).unwrap().attempt, 3);
    assert_eq!(
        scheduler.attempt_ended(id, lost(), Instant::now()),
        Some(Verdict::End(Box::new(lost())))
    );
}

#[test]
fn the_newer_job_replaces_the_queued_and_the_running_one() {
    let mut scheduler = Scheduler::default();
    let running = submit(&mut scheduler, 1, 0, Some("deploy"));
    scheduler.start_next(Instant::now()).unwrap();
    let queued = submit(&mut scheduler, 2, 0, Some("deploy"));
    let newest = JobId::random();
    let group = Some(GroupKey::new("", "deploy"));
    let new = NewJob { group, on_conflict: OnConflict::Replace, ..new_job("", "") };
    scheduler.admit(newest, new).unwrap();
    let admission = scheduler.committed(newest, 3);
    assert_eq!(admission.end, [(JobRef { id: queued, row: 2 }, Reason::Superseded)]);
    assert_eq!(admission.stop, [JobRef { id: running, row: 1 }]);
    assert_eq!(scheduler.start_next(Instant::now()), None);
}

#[test]
fn of_jobs_that_replace_each_other_the_newest_stays_in_whatever_order_they_become_known() {
    let mut scheduler = Scheduler::default();
    let [older, newer, waiting] = std::array::from_fn(|_| JobId::random());
    let group = Some(GroupKey::new("", "deploy"));
    let new = NewJob { group, on_conflict: OnConflict::Replace, ..new_job("", "") };
    for id in [older, newer] {
        scheduler.admit(id, new.clone()).unwrap();
    }
    scheduler.admit(waiting, NewJob { on_conflict: OnConflict::Queue, ..new }).unwrap();
    assert_eq!(scheduler.committed(newer, 3), Admission::default());
    let superseded = |id, row| vec![(JobRef { id, row }, Reason::Superseded)];
    assert_eq!(scheduler.committed(older, 2).end, superseded(older, 2));
    assert_eq!(scheduler.committed(waiting, 1).end, superseded(waiting, 1));
    assert_eq!(scheduler.start_next(Instant::now()).unwrap().job.id, newer);
}

#[test]
fn a_cancelled_job_is_not_tried_again() {
    let mut scheduler = Scheduler::default();
    let lost = || Outcome::failed(Reason::WorkerLost, "the worker was lost");
    let id = submit(&mut scheduler, 1, 0, None);
    scheduler.start_next(Instant::now()).unwrap();
    assert_eq!(scheduler.cancel(id, Reason::CancelRequested), Cancel::Stop);
    let Some(Verdict::End(outcome)) = scheduler.attempt_ended(id, lost(), Instant::now()) else {
        panic!("the job goes on");
    };
    assert_eq!(outcome.reason, Some(Reason::CancelRequested));
    scheduler.ended(id);
    let id = submit(&mut scheduler, 2, 0, None);
    scheduler.start_next(Instant::now()).unwrap();
    scheduler.attempt_ended(id, lost(), Instant::now()).unwrap();
    assert_eq!(scheduler.cancel(id, Reason::CancelRequested), Cancel::Stop);
    assert_eq!(scheduler.requeued(id, Instant::now()), Back::End(Reason::CancelRequested));
    assert_eq!(scheduler.cancel(JobId::random(), Reason::CancelRequested), Cancel::Unknown);
}

#[test]
fn a_retry_waits_for_its_pause_and_lets_its_group_pass() {
    let mut scheduler = Scheduler::default();
    let id = JobId::random();
    let group = Some(GroupKey::new("", "deploy"));
    scheduler.admit(id, NewJob { retries: 3, group, ..new_job("", "") }).unwrap();
    scheduler.committed(id, 1);
    let mut now = Instant::now();
    for (retry, seconds) in [(1, 1), (2, 2), (3, 4)] {
        scheduler.start_next(Instant::now()).unwrap();
        let limited = Outcome::failed(Reason::RateLimited, "too many");
        let Some(Verdict::Requeue { reason, pause, .. }) =
            scheduler.attempt_ended(id, limited, Instant::now())
        else {
            panic!("retry {retry} is not to be");
        };
        assert_eq!(reason, format!("retry {retry} of 3 in {seconds} s: too many"));
        assert_eq!(scheduler.requeued(id, now), Back::Queued);
        assert_eq!((scheduler.counts(), scheduler.next_due()), ((1, 0), Some(now + pause)));
        assert!(!scheduler.has_ready());
        scheduler.wake(now + pause - Duration::from_millis(1));
        assert!(!scheduler.has_ready());
        let other = submit(&mut scheduler, 1 + retry, 0, Some("deploy"));
        assert_eq!(scheduler.start_next(Instant::now()).unwrap().job.id, other);
        scheduler.ended(other);
        now += pause;
        scheduler.wake(now);
        assert_eq!(scheduler.next_due(), None);
    }
    assert_eq!(scheduler.start_next(Instant::now()).unwrap().job.id, id);
}

#[test]
fn a_job_that_pauses_is_cancelled_at_once() {
    let mut scheduler = Scheduler::default();
    let id = JobId::random();
    scheduler.admit(id, NewJob { retries: 1, ..new_job("", "") }).unwrap();
    scheduler.committed(id, 1);
    scheduler.start_next(Instant::now()).unwrap();
    scheduler
        .attempt_ended(id, Outcome::failed(Reason::RateLimited, "too many"), Instant::now())
        .unwrap();
    scheduler.requeued(id, Instant::now());
    let ended = Cancel::End(Reason::CancelRequested);
    assert_eq!(scheduler.cancel(id, Reason::CancelRequested), ended);
    assert_eq!(scheduler.next_due(), None);
    scheduler.ended(id);
    assert_eq!(scheduler.counts(), (0, 0));
}

/// Those of these jobs that have something to be told now, in this order.
fn told(scheduler: &mut Scheduler) -> Vec<(JobId, Wait)> {
    let (news, _) = scheduler.take_news();
    let tell = |job: JobRef| Some((job.id, scheduler.tell(job.id)?.wait));
    news.into_iter().filter_map(tell).collect()
}

#[test]
fn who_is_next_of_a_token_at_its_limit_is_told_once() {
    let running_jobs = std::num::NonZeroU32::new(1);
    let quotas = crate::tokens::Quotas { running_jobs, ..Default::default() };
    let mut scheduler = Scheduler::new(usize::MAX, [("".into(), quotas)]);
    let [first, second, third] = [1, 2, 3].map(|row| submit(&mut scheduler, row, 0, None));
    for id in [first, second, third] {
        assert_eq!(scheduler.tell(id).map(|news| news.wait), Some(Wait::Worker));
        assert_eq!(scheduler.tell(id), None);
    }
    scheduler.start_next(Instant::now()).unwrap();
    assert_eq!(told(&mut scheduler), [(second, Wait::Quota(1))]);
    scheduler.ended(first);
    scheduler.start_next(Instant::now()).unwrap();
    assert_eq!(told(&mut scheduler), [(third, Wait::Quota(1))]);
    // One that comes later hears it at its submission, and then not again.
    let fourth = submit(&mut scheduler, 4, 0, None);
    assert_eq!(scheduler.tell(fourth).map(|news| news.wait), Some(Wait::Quota(1)));
    scheduler.cancel(third, Reason::CancelRequested);
    scheduler.ended(third);
    scheduler.ended(second);
    scheduler.start_next(Instant::now()).unwrap();
    assert_eq!(told(&mut scheduler), []);
}

#[test]
fn who_is_next_of_a_group_is_told_whom_it_waits_for() {
    let mut scheduler = Scheduler::default();
    let [first, second, third] = [1, 2, 3].map(|row| submit(&mut scheduler, row, 0, Some("key")));
    scheduler.start_next(Instant::now()).unwrap();
    assert_eq!(told(&mut scheduler), [(second, Wait::Group(first))]);
    assert_eq!(scheduler.tell(third).map(|news| news.wait), Some(Wait::Group(first)));
    scheduler.ended(first);
    scheduler.start_next(Instant::now()).unwrap();
    assert_eq!(told(&mut scheduler), [(third, Wait::Group(second))]);
    // It is the same when no worker took the job after all, and another then does.
    scheduler.give_back(second).unwrap();
    scheduler.requeued(second, Instant::now());
    scheduler.start_next(Instant::now()).unwrap();
    assert_eq!(told(&mut scheduler), []);
}

#[test]
fn only_what_a_worker_would_be_given_counts_as_ready() {
    let running_jobs = std::num::NonZeroU32::new(3);
    let quotas = crate::tokens::Quotas { running_jobs, ..Default::default() };
    let mut scheduler = Scheduler::new(usize::MAX, [("".into(), quotas)]);
    assert_eq!(scheduler.ready_up_to(10), 0);
    submit(&mut scheduler, 1, 0, Some("deploy"));
    submit(&mut scheduler, 2, 0, Some("deploy"));
    assert_eq!(scheduler.ready_up_to(10), 1, "the second waits for the first");
    for row in 3..9 {
        submit(&mut scheduler, row, 0, None);
    }
    assert_eq!((scheduler.ready_up_to(10), scheduler.ready_up_to(2)), (3, 2));
    for left in [2, 1, 0] {
        scheduler.start_next(Instant::now()).unwrap();
        assert_eq!(scheduler.ready_up_to(10), left);
    }
    assert_eq!(scheduler.running(), 3);
}
