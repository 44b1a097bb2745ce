//! Who kills.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use end_to_end::{Stack, kernel};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::random::Random;

/// Between two kills.
const PAUSE: Duration = Duration::from_millis(200);

/// Kills one process of the stack after the other, never `oneshift up` itself.
#[derive(Debug)]
pub(crate) struct Killer {
    random: Random,
    /// How many of each kind it has killed.
    pub(crate) kills: BTreeMap<String, u32>,
    /// Id and name of all processes that it has seen.
    pub(crate) seen: BTreeSet<(u32, String)>,
}

impl Killer {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), kills: BTreeMap::new(), seen: BTreeSet::new() }
    }

    /// Never ends; may be dropped at any time.
    pub(crate) async fn rampage(&mut self, stack: &Stack) {
        loop {
            sleep(PAUSE).await;
            self.kill_one(stack);
        }
    }

    fn kill_one(&mut self, stack: &Stack) {
        let mut children = stack.children();
        // By kind and age, so that a seed repeats its choices as far as the machine allows.
        children.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        self.seen.extend(children.iter().map(|child| (child.id, child.name.clone())));
        let Some(victim) = self.random.pick(&children) else { return };
        let pid = i32::try_from(victim.id).ok().and_then(Pid::from_raw);
        // It may have ended by itself.
        if pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()) {
            *self.kills.entry(victim.name.clone()).or_default() += 1;
        }
    }

    /// Those it has seen that run still.
    pub(crate) fn survivors(&self) -> Vec<kernel::Seen> {
        let same = |(id, name): &(u32, String)| {
            kernel::look_at(*id).filter(|process| process.name == *name)
        };
        self.seen.iter().filter_map(same).collect()
    }
}
