use std::collections::HashSet;

use proptest::prelude::*;
use service::protocol::JobId;
use service::protocol::worker::RunningJob;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn worker(kind: WorkerKind, workspace: Option<WorkspaceId>) -> Attach {
    Attach {
        id: WorkerId::random(),
        kind,
        port: 3000,
        workspace,
        node: "node".to_owned(),
        version: "1".to_owned(),
        agents: Vec::new(),
        job: None,
        is_leaving: false,
        succeeds: None,
    }
}

fn wish(kind: WorkerKind) -> Wish {
    Wish { kind, workspace: None }
}

fn granted(answer: Answer) -> Lease {
    match answer {
        Answer::Granted(lease) => lease,
        Answer::Waits(_) => panic!("no worker was idle"),
    }
}

fn ticket(answer: Answer) -> Ticket {
    match answer {
        Answer::Waits(ticket) => ticket,
        Answer::Granted(lease) => panic!("{lease:?} was idle"),
    }
}

#[test]
fn the_longest_idle_worker_goes_first_and_goes_once() {
    let mut registry = Registry::default();
    let [first, second] = [(); 2].map(|()| worker(WorkerKind::GitPull, None));
    registry.attach(first.clone(), HERE);
    registry.attach(second.clone(), HERE);
    let lease = granted(registry.ask(wish(WorkerKind::GitPull), JobId::random()));
    assert_eq!((lease.worker, lease.url.as_str()), (first.id, "http://127.0.0.1:3000"));
    assert_eq!(granted(registry.ask(wish(WorkerKind::GitPull), JobId::random())).worker, second.id);
    ticket(registry.ask(wish(WorkerKind::GitPull), JobId::random()));
}

#[test]
fn the_oldest_wish_gets_the_first_worker_that_fits_it() {
    let mut registry = Registry::default();
    let (here, elsewhere) = (WorkspaceId::random(), WorkspaceId::random());
    let bound = Wish { kind: WorkerKind::ClaudeExec, workspace: Some(here) };
    let oldest = ticket(registry.ask(bound, JobId::random()));
    let younger = ticket(registry.ask(wish(WorkerKind::ClaudeExec), JobId::random()));
    registry.attach(worker(WorkerKind::GitPull, Some(here)), HERE);
    assert!(registry.next_grant().is_none());
    registry.attach(worker(WorkerKind::ClaudeExec, Some(elsewhere)), HERE);
    assert_eq!(registry.next_grant().unwrap().0, younger);
    registry.attach(worker(WorkerKind::ClaudeExec, Some(here)), HERE);
    assert_eq!(registry.next_grant().unwrap().0, oldest);
    assert!(registry.next_grant().is_none());
}

#[test]
fn a_job_is_pulled_where_an_agent_can_work_on_it() {
    let mut registry = Registry::default();
    let pull = |registry: &mut Registry| registry.ask(wish(WorkerKind::GitPull), JobId::random());
    let [bare, busy, free] = [(); 3].map(|()| Some(WorkspaceId::random()));
    for workspace in [bare, busy, free] {
        registry.attach(worker(WorkerKind::GitPull, workspace), HERE);
    }
    // Without agents anywhere it does not matter.
    let first = granted(pull(&mut registry));
    assert_eq!(first.workspace, bare);
    registry.set_idle(first.worker);
    let at_work = worker(WorkerKind::ClaudeExec, busy);
    registry.attach(at_work.clone(), HERE);
    registry.set_busy(at_work.id);
    let leaving = Attach { is_leaving: true, ..worker(WorkerKind::ClaudeExec, bare) };
    registry.attach(leaving, HERE);
    registry.attach(worker(WorkerKind::ClaudeExec, free), HERE);
    // One that comes later, where the only idle agent will have a job by then.
    registry.attach(worker(WorkerKind::GitPull, free), HERE);
    assert_eq!(granted(pull(&mut registry)).workspace, free);
    assert_eq!(granted(pull(&mut registry)).workspace, busy);
    assert_eq!(granted(pull(&mut registry)).workspace, free);
    let waits = ticket(pull(&mut registry));
    assert!(registry.next_grant().is_none(), "nobody can work where the idle git-pull is");
    registry.attach(worker(WorkerKind::ClaudeExec, bare), HERE);
    assert_eq!(registry.next_grant().unwrap().0, waits);
}

#[test]
fn a_worker_that_is_to_go_does_not_count_on_one_that_will_be_gone_after_its_job() {
    let mut registry = Registry::default();
    let here = WorkspaceId::random();
    let [busy, idle] = [(); 2].map(|()| worker(WorkerKind::GitPull, Some(here)));
    registry.attach(busy.clone(), HERE);
    registry.attach(idle.clone(), HERE);
    registry.set_busy(busy.id);
    assert_eq!(registry.depart(idle.id), Departing::OneOf(here));
    assert_eq!(registry.depart(busy.id), Departing::Busy);
    assert_eq!(registry.depart(idle.id), Departing::LastOf(here));
    // Nor does it count on one that comes to take such a one's place.
    registry.attach(Attach { is_leaving: true, ..worker(WorkerKind::GitPull, Some(here)) }, HERE);
    assert_eq!(registry.depart(idle.id), Departing::LastOf(here));
}

#[test]
fn a_worker_that_took_anothers_place_does_not_count_on_it() {
    let mut registry = Registry::default();
    let here = WorkspaceId::random();
    // It had no time to say that it was told to stop, and its line is not seen to be closed yet.
    let before = worker(WorkerKind::GitPull, Some(here));
    registry.attach(before.clone(), HERE);
    registry.set_busy(before.id);
    let (is_leaving, succeeds) = (true, Some(before.id));
    let successor = Attach { is_leaving, succeeds, ..worker(WorkerKind::GitPull, Some(here)) };
    registry.attach(successor.clone(), HERE);
    assert_eq!(registry.depart(successor.id), Departing::LastOf(here));
    assert_eq!(registry.count(WorkerKind::GitPull, Activity::Busy), 0);
}

#[test]
fn a_worker_that_has_done_its_job_is_the_last_one_only_where_the_next_may_come_elsewhere() {
    let mut registry = Registry::default();
    let here = WorkspaceId::random();
    let [first, second] = [(); 2].map(|()| worker(WorkerKind::GitPull, Some(here)));
    registry.attach(first.clone(), HERE);
    assert_eq!(registry.retire(first.id), Departing::Unneeded, "there is but one workspace");
    let elsewhere = Some(WorkspaceId::random());
    registry.attach(worker(WorkerKind::ClaudeExec, elsewhere), HERE);
    assert_eq!(registry.retire(first.id), Departing::LastOf(here));
    registry.attach(second.clone(), HERE);
    assert_eq!(registry.retire(first.id), Departing::OneOf(here));
    // Of two that end in the same moment one stays.
    registry.set_leaving(first.id);
    assert_eq!(registry.retire(second.id), Departing::LastOf(here));
}

#[test]
fn a_worker_that_comes_with_a_job_is_busy() {
    let mut registry = Registry::default();
    let mut busy = worker(WorkerKind::Workflow, None);
    busy.job = Some(RunningJob { id: JobId::random(), attempt: 1 });
    registry.attach(busy, HERE);
    assert_eq!(registry.count(WorkerKind::Workflow, Activity::Busy), 1);
    ticket(registry.ask(wish(WorkerKind::Workflow), JobId::random()));
}

#[test]
fn the_end_of_an_old_line_does_not_take_the_worker_away() {
    let mut registry = Registry::default();
    let worker = worker(WorkerKind::Workflow, None);
    let old = registry.attach(worker.clone(), HERE);
    let new = registry.attach(worker.clone(), HERE);
    assert!(!registry.detach(worker.id, old));
    assert_eq!(registry.count(WorkerKind::Workflow, Activity::Idle), 1);
    assert!(registry.detach(worker.id, new));
    assert!(!registry.has(WorkerKind::Workflow));
}

#[test]
fn a_leased_worker_whose_line_broke_for_a_moment_is_not_leased_again() {
    let mut registry = Registry::default();
    let worker = worker(WorkerKind::GitPull, None);
    registry.attach(worker.clone(), HERE);
    granted(registry.ask(wish(WorkerKind::GitPull), JobId::random()));
    registry.attach(worker, HERE);
    ticket(registry.ask(wish(WorkerKind::GitPull), JobId::random()));
}

#[test]
fn a_worker_of_a_step_works_for_the_job_that_leased_it_or_that_it_says_it_has() {
    let mut registry = Registry::default();
    let [leased, idle, mut back] = [(); 3].map(|()| worker(WorkerKind::GitPull, None));
    let (job, other) = (JobId::random(), JobId::random());
    let of = |registry: &Registry, job| {
        let ids = registry.working_for(job).into_iter().map(|(_, lease)| lease.worker);
        ids.collect::<HashSet<_>>()
    };
    registry.attach(leased.clone(), HERE);
    granted(registry.ask(wish(WorkerKind::GitPull), job));
    let waiting = ticket(registry.ask(wish(WorkerKind::GitPull), other));
    registry.attach(idle.clone(), HERE);
    assert_eq!(registry.next_grant().unwrap().0, waiting);
    back.job = Some(RunningJob { id: job, attempt: 1 });
    registry.attach(back.clone(), HERE);
    assert_eq!(of(&registry, job), HashSet::from([leased.id, back.id]));
    assert_eq!(of(&registry, other), HashSet::from([idle.id]));
    registry.set_idle(leased.id);
    assert_eq!(of(&registry, job), HashSet::from([back.id]));
    let mut workflow = worker(WorkerKind::Workflow, None);
    workflow.job = back.job;
    registry.attach(workflow, HERE);
    assert_eq!(of(&registry, job), HashSet::from([back.id]));
}

#[test]
fn an_urgent_wish_goes_before_those_that_have_waited_longer() {
    let mut registry = Registry::default();
    let patient = ticket(registry.ask(wish(WorkerKind::GitPull), JobId::random()));
    let urgent = ticket(registry.ask_first(wish(WorkerKind::GitPull), JobId::random()));
    for expected in [urgent, patient] {
        registry.attach(worker(WorkerKind::GitPull, None), HERE);
        assert_eq!(registry.next_grant().unwrap().0, expected);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Attach,
    AttachAgain(usize),
    Detach(usize),
    Ask,
    Withdraw(usize),
    Busy(usize),
    Idle(usize),
}

proptest! {
    #[test]
    fn no_worker_is_leased_twice_and_none_idles_while_somebody_waits(
        steps in proptest::collection::vec(prop_oneof![
            3 => Just(Step::Attach),
            1 => (0..9_usize).prop_map(Step::AttachAgain),
            1 => (0..9_usize).prop_map(Step::Detach),
            4 => Just(Step::Ask),
            1 => (0..9_usize).prop_map(Step::Withdraw),
            1 => (0..9_usize).prop_map(Step::Busy),
            2 => (0..9_usize).prop_map(Step::Idle),
        ], 0..60),
    ) {
        let mut registry = Registry::default();
        let (mut lines, mut tickets) = (Vec::new(), Vec::new());
        let (mut leased, mut busy) = (HashSet::new(), HashSet::new());
        for step in steps {
            let nth = |n: usize| (!lines.is_empty()).then(|| n % lines.len());
            match step {
                Step::Attach => {
                    let worker = worker(WorkerKind::GitPull, None);
                    let line = registry.attach(worker.clone(), HERE);
                    lines.push((worker, line));
                }
                Step::AttachAgain(n) => if let Some(n) = nth(n) {
                    lines[n].1 = registry.attach(lines[n].0.clone(), HERE);
                    // It says that it has no job.
                    if busy.remove(&lines[n].0.id) {
                        leased.remove(&lines[n].0.id);
                    }
                },
                Step::Detach(n) => if let Some(n) = nth(n) {
                    let (worker, line) = lines.remove(n);
                    prop_assert!(registry.detach(worker.id, line));
                    leased.remove(&worker.id);
                    busy.remove(&worker.id);
                },
                Step::Ask => match registry.ask(wish(WorkerKind::GitPull), JobId::random()) {
                    Answer::Granted(lease) => prop_assert!(leased.insert(lease.worker)),
                    Answer::Waits(ticket) => tickets.push(ticket),
                },
                Step::Withdraw(n) => if !tickets.is_empty() {
                    registry.withdraw(tickets.remove(n % tickets.len()));
                },
                Step::Busy(n) => if let Some(n) = nth(n) {
                    registry.set_busy(lines[n].0.id);
                    leased.insert(lines[n].0.id);
                    busy.insert(lines[n].0.id);
                },
                Step::Idle(n) => if let Some(n) = nth(n) {
                    registry.set_idle(lines[n].0.id);
                    leased.remove(&lines[n].0.id);
                    busy.remove(&lines[n].0.id);
                },
            }
            while let Some((ticket, lease)) = registry.next_grant() {
                prop_assert!(leased.insert(lease.worker), "leased twice");
                tickets.retain(|waiting| *waiting != ticket);
            }
            let idle = registry.count(WorkerKind::GitPull, Activity::Idle);
            prop_assert!(tickets.is_empty() || idle == 0, "{idle} idle, {} wait", tickets.len());
        }
    }
}
