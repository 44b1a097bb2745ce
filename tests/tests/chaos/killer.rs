//! Who kills.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use end_to_end::{Stack, kernel};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::orphans;
use crate::random::Random;

/// How long a stopped process hangs: for a moment, or until somebody has noticed and kills it.
const MOMENT_MS: u64 = 4_000;
const LONG: Duration = Duration::from_secs(60);

/// How often `oneshift up` itself is the victim.
const SUPERVISOR_ONE_IN: u64 = 40;

/// Sends one process of the stack after the other a signal.
#[derive(Debug)]
pub(crate) struct Killer {
    random: Random,
    /// Between two victims.
    pause: Duration,
    /// Those that are spared.
    spared: &'static [&'static str],
    hanging: Vec<Hanging>,
    pub(crate) victims: Victims,
    /// What the runs of the stack before this one have logged.
    pub(crate) log: Vec<String>,
}

/// How many of each kind were sent each signal.
#[derive(Debug, Default)]
pub(crate) struct Victims(BTreeMap<(String, &'static str), u32>);

/// A stopped process, and how that ends.
#[derive(Debug)]
struct Hanging {
    process: OwnedFd,
    until: Instant,
    then: Signal,
}

/// Whom to strike, and how.
#[derive(Clone, Copy, Debug)]
struct Choice {
    is_supervisor: bool,
    /// Which of the others, as a place in a circle of them.
    who: u64,
    way: Way,
}

/// How a victim is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Kill,
    Terminate,
    /// It hangs for so long, and goes on then.
    Pause(Duration),
    /// It hangs until it is killed.
    Hang,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Terminate => "SIGTERM",
            Self::Pause(_) => "SIGSTOP, SIGCONT",
            Self::Hang => "SIGSTOP, SIGKILL",
        }
    }
}

impl Choice {
    /// Always draws as often, so that a seed repeats its choices.
    fn random(random: &mut Random) -> Self {
        let is_supervisor = random.one_in(SUPERVISOR_ONE_IN);
        let who = random.below(u64::MAX);
        let (way, pause) = (random.below(20), 500 + random.below(MOMENT_MS - 500));
        let way = match way {
            0 | 1 => Way::Terminate,
            2 | 3 => Way::Pause(Duration::from_millis(pause)),
            4 => Way::Hang,
            _ => Way::Kill,
        };
        Self { is_supervisor, who, way }
    }
}

impl Killer {
    pub(crate) fn new(seed: u64, pause: Duration, spared: &'static [&'static str]) -> Self {
        let (hanging, victims, log) = (Vec::new(), Victims::default(), Vec::new());
        Self { random: Random::new(seed), pause, spared, hanging, victims, log }
    }

    /// Strikes until it is over, by the number of strikes so far; then ends what hangs.
    pub(crate) async fn rampage(&mut self, stack: &mut Stack, is_over: impl Fn(u32) -> bool) {
        let mut ticks = interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut strikes = 0;
        while !is_over(strikes) {
            ticks.tick().await;
            strikes += 1;
            orphans::bury();
            self.release(Instant::now());
            let choice = Choice::random(&mut self.random);
            if choice.is_supervisor && !self.spared.contains(&"oneshift") {
                self.strike_supervisor(stack, choice.way).await;
            } else {
                self.strike_child(stack, choice);
            }
        }
        self.release(Instant::now() + LONG);
    }

    fn strike_child(&mut self, stack: &Stack, Choice { who, way, .. }: Choice) {
        let mut children = stack.children();
        children.retain(|child| !self.spared.contains(&child.name.as_str()));
        // By kind and age, so that a seed repeats its choices as far as the machine allows.
        children.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        let Some(index) = who.checked_rem(children.len() as u64) else { return };
        let victim = &children[usize::try_from(index).expect("it is an index")];
        // There is nobody who would notice, and no other to take its place.
        let way = if way == Way::Hang && victim.name == "gateway" { Way::Kill } else { way };
        if let Some(hanging) = strike(stack, victim, way) {
            self.hanging.extend(hanging);
            self.victims.count(&victim.name, way);
        }
    }

    async fn strike_supervisor(&mut self, stack: &mut Stack, way: Way) {
        self.victims.count("oneshift up", way);
        match way {
            Way::Kill | Way::Hang => self.restart(stack, Signal::KILL).await,
            Way::Terminate => self.restart(stack, Signal::TERM).await,
            Way::Pause(pause) => {
                stack.supervisor().signal(Signal::STOP);
                sleep(pause).await;
                stack.supervisor().signal(Signal::CONT);
            }
        }
    }

    /// Ends `oneshift up` and starts it again as whatever supervises it would: at once, and once
    /// more if it ends because something of its earlier run is in its way.
    async fn restart(&mut self, stack: &mut Stack, with: Signal) {
        // A process that hangs would keep the port, and nobody would end it.
        self.release(Instant::now() + LONG);
        stack.end_supervisor(with).await;
        self.start_again(stack);
        let give_up = Instant::now() + LONG;
        while !stack.log().iter().any(|line| line.contains("Oneshift is up at")) {
            assert!(Instant::now() < give_up, "oneshift up does not start: {:#?}", stack.log());
            sleep(Duration::from_millis(5)).await;
            if !kernel::is_alive(stack.supervisor().id()) {
                self.start_again(stack);
            }
        }
    }

    fn start_again(&mut self, stack: &mut Stack) {
        self.log.append(&mut stack.log());
        stack.launch_again();
    }

    /// Ends the hanging of those whose time is over.
    fn release(&mut self, now: Instant) {
        for hanging in self.hanging.extract_if(.., |hanging| hanging.until <= now) {
            let _ = pidfd_send_signal(&hanging.process, hanging.then);
        }
    }
}

/// Strikes a child of the stack; says whether it was there, for it may have ended by itself.
fn strike(stack: &Stack, child: &kernel::Seen, way: Way) -> Option<Option<Hanging>> {
    let pid = Pid::from_raw(i32::try_from(child.id).ok()?)?;
    // Ids are used again: from here on it is this process or none.
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let seen = kernel::look_at(child.id)?;
    if seen.parent != stack.supervisor().id() {
        return None;
    }
    let (signal, hanging) = match way {
        Way::Kill => (Signal::KILL, None),
        Way::Terminate => (Signal::TERM, None),
        Way::Pause(pause) => (Signal::STOP, Some((Instant::now() + pause, Signal::CONT))),
        Way::Hang => (Signal::STOP, Some((Instant::now() + LONG, Signal::KILL))),
    };
    pidfd_send_signal(&process, signal).ok()?;
    Some(hanging.map(|(until, then)| Hanging { process, until, then }))
}

impl Victims {
    fn count(&mut self, name: &str, way: Way) {
        *self.0.entry((name.to_owned(), way.name())).or_default() += 1;
    }

    pub(crate) fn total(&self) -> u32 {
        self.0.values().sum()
    }
}

impl fmt::Display for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for ((name, way), count) in &self.0 {
            write!(f, "{separator}{name} {way} {count}")?;
            separator = "; ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chaos::{SECONDS, SEED, strikes};

    #[test]
    fn the_seed_of_plain_runs_strikes_everybody_in_every_way() {
        let mut random = Random::new(SEED);
        let (above, below): (Vec<_>, Vec<_>) = (0..strikes(SECONDS))
            .map(|_| Choice::random(&mut random))
            .partition(|it| it.is_supervisor);
        let ways = |choices: &[Choice]| -> BTreeSet<_> {
            choices.iter().map(|choice| choice.way.name()).collect()
        };
        assert_eq!(ways(&below).len(), 4, "{below:?}");
        assert_eq!(ways(&above).len(), 3, "{above:?}");
    }
}
