//! The scheduler against a model of its surroundings: a store that commits when the test says so,
//! workers that vanish, and a gateway that is killed between any two steps.

mod limits;
mod world;

use proptest::prelude::*;
use service::protocol::request::OnConflict;

use limits::HOUR;
use world::World;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Submit {
        agent: Option<&'static str>,
        group: Option<u8>,
        on_conflict: OnConflict,
        priority: i32,
        retries: u32,
    },
    Commit(usize),
    Dispatch,
    AgentStarts(usize),
    Refused(usize),
    Lost(usize),
    Done(usize),
    /// The quota of a job's agent is used up, for so many seconds.
    Limited(usize, u64),
    /// Workers have another default agent from now on.
    Default(&'static str),
    Cancel(usize),
    TimePasses(u64),
    Restart,
    Reattach(usize),
    GiveUp(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let conflict =
        prop_oneof![Just(OnConflict::Queue), Just(OnConflict::Replace), Just(OnConflict::Reject)];
    let agent = prop_oneof![Just(None), Just(Some("claude")), Just(Some("command"))];
    let submit = (agent, proptest::option::of(0..3_u8), conflict, -1..=1_i32, 0..3_u32).prop_map(
        |(agent, group, on_conflict, priority, retries)| Step::Submit {
            agent,
            group,
            on_conflict,
            priority,
            retries,
        },
    );
    let seconds = prop_oneof![Just(0), 1..10_u64, 1..12 * HOUR];
    let limited = (0..8_usize, seconds).prop_map(|(n, seconds)| Step::Limited(n, seconds));
    prop_oneof![
        4 => submit,
        8 => (0..8_usize).prop_map(Step::Commit),
        4 => Just(Step::Dispatch),
        2 => (0..8_usize).prop_map(Step::AgentStarts),
        1 => (0..8_usize).prop_map(Step::Refused),
        2 => (0..8_usize).prop_map(Step::Lost),
        2 => (0..8_usize).prop_map(Step::Done),
        2 => limited,
        1 => Just(Step::Default("claude")),
        1 => Just(Step::Default("command")),
        2 => (0..64_usize).prop_map(Step::Cancel),
        1 => (0..8 * HOUR).prop_map(|seconds| Step::TimePasses(seconds * 1000)),
        2 => (0..4000_u64).prop_map(Step::TimePasses),
        1 => Just(Step::Restart),
        1 => (0..8_usize).prop_map(Step::Reattach),
        1 => (0..8_usize).prop_map(Step::GiveUp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_committed_job_ends_exactly_once_and_groups_never_overlap(
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut world = World::default();
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.check_that_all_is_over();
    }
}
