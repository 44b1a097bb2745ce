//! How many replicas a kind of workers should have: pure decisions, no clock, no I/O.
//!
//! There are as many as are in use or waited for, and some to spare, because a worker that has ended
//! takes about a second to be replaced. More come at once; fewer only after a time, usually of five
//! minutes, in which fewer would have done, and then in steps. Swarm chooses itself which replicas it takes away, also
//! busy ones; such a worker gets a SIGTERM and finishes its job within its drain time.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use service::protocol::cluster::Autoscale;

/// How many steps down there may be in the time that fewer replicas must have been enough.
const STEPS: u32 = 5;

/// How long Swarm takes to replace a worker that has ended: 0.6 s alone, 1.6 s for five at once on
/// an overlay network.
const TURNAROUND: Duration = Duration::from_secs(2);

/// Over how long ended jobs are counted to get their rate.
const RATE: Duration = Duration::from_secs(30);

/// What is known of a kind of workers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// How many replicas are wanted now.
    pub(crate) replicas: u32,
    /// How many workers have a job or are set aside for one, without those that were told to stop.
    pub(crate) in_use: u32,
    /// How many jobs or steps wait for such a worker.
    pub(crate) queued: u32,
    /// How many jobs run, or are about to, that each need such a worker sooner or later.
    pub(crate) ahead: u32,
    /// How many workers have ended after their job since the start.
    pub(crate) ended: u64,
}

/// Decides for one kind of workers.
#[derive(Debug)]
pub(crate) struct Scaler {
    bounds: Autoscale,
    /// How long fewer replicas must have been enough before some are taken away.
    cool: Duration,
    /// What was needed within that time, each entry less than the one before it: what
    /// came before a higher need does not matter any more.
    needs: VecDeque<(Instant, u32)>,
    /// How many workers had ended, as of the last half minute.
    ended: VecDeque<(Instant, u64)>,
    replicas: u32,
    stepped_down: Option<Instant>,
}

impl Scaler {
    pub(crate) fn new(bounds: Autoscale, cool: Duration) -> Self {
        let (needs, ended) = (VecDeque::new(), VecDeque::new());
        Self { bounds, cool, needs, ended, replicas: 0, stepped_down: None }
    }

    /// Takes note of a moment, which is not before an earlier one, and says how many replicas there
    /// should be.
    pub(crate) fn wanted(&mut self, now: Instant, load: Load) -> u32 {
        let Load { replicas, in_use, .. } = load;
        let need = self.need(now, load);
        self.remember(now, need);
        if replicas > self.replicas {
            // Whoever wanted them, they are not taken away at once.
            self.remember(now, replicas);
        }
        self.replicas = replicas;
        let clamped = |number: u32| number.clamp(self.bounds.min, self.bounds.max);
        let wanted = if replicas < clamped(need) {
            clamped(need)
        } else {
            let peak = self.needs.front().map_or(need, |(_, peak)| *peak);
            // Workers that have a job are not taken away, even if there are more than may be.
            let floor = clamped(peak).max(in_use);
            if replicas > floor { self.step_down(now, replicas, floor) } else { replicas }
        };
        self.replicas = wanted;
        wanted
    }

    fn need(&mut self, now: Instant, load: Load) -> u32 {
        self.ended.push_back((now, load.ended));
        while self.ended.front().is_some_and(|(at, _)| now - *at > RATE) {
            self.ended.pop_front();
        }
        let before = self.ended.front().map_or(load.ended, |(_, before)| *before);
        // Those that are being replaced at any moment: the rate times the time that each takes.
        let recent = load.ended.saturating_sub(before) * TURNAROUND.as_secs();
        let replaced = u32::try_from(recent.div_ceil(RATE.as_secs())).unwrap_or(u32::MAX);
        let used = load.in_use.saturating_add(load.queued).max(load.ahead);
        used.saturating_add(replaced.max(1))
    }

    fn remember(&mut self, now: Instant, need: u32) {
        while self.needs.back().is_some_and(|(_, lower)| *lower <= need) {
            self.needs.pop_back();
        }
        self.needs.push_back((now, need));
        while self.needs.front().is_some_and(|(at, _)| now - *at > self.cool) {
            self.needs.pop_front();
        }
    }

    /// Half of the way down, then half of the rest.
    fn step_down(&mut self, now: Instant, replicas: u32, floor: u32) -> u32 {
        if self.stepped_down.is_some_and(|before| now - before < self.cool / STEPS) {
            return replicas;
        }
        self.stepped_down = Some(now);
        floor + (replicas - floor) / 2
    }
}
