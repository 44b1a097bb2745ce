//! How long to wait before a process that ended is started again.

use std::time::Duration;

/// The first pause after a process that did nothing useful, and the longest.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// A process that lived for this long has worked; its end is no sign of a fault that stays.
const SETTLED: Duration = Duration::from_secs(10);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With exit code 0: a worker has done its job.
    Well,
    /// Any other way.
    Badly,
}

/// The pauses of one seat.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pause: Option<Duration>,
}

impl Backoff {
    /// The pause after a process that ended like this and had lived for so long.
    pub(super) fn after(&mut self, ending: Ending, lived: Duration) -> Duration {
        if ending == Ending::Well {
            self.pause = None;
            return Duration::ZERO;
        }
        let next = match self.pause {
            Some(pause) if lived < SETTLED => (pause * 2).min(LONGEST),
            _ => FIRST,
        };
        self.pause = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(3);

    #[test]
    fn a_worker_that_did_its_job_is_replaced_at_once() {
        let mut backoff = Backoff::default();
        for _ in 0..1000 {
            assert_eq!(backoff.after(Ending::Well, SHORT), Duration::ZERO);
        }
    }

    #[test]
    fn one_that_dies_at_its_start_is_given_ever_longer_pauses() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> =
            (0..8).map(|_| backoff.after(Ending::Badly, SHORT).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_job_well_done_or_a_long_life_makes_up_for_earlier_deaths() {
        let mut backoff = Backoff::default();
        backoff.after(Ending::Badly, SHORT);
        backoff.after(Ending::Badly, SHORT);
        assert_eq!(backoff.after(Ending::Well, SHORT), Duration::ZERO);
        assert_eq!(backoff.after(Ending::Badly, SHORT), FIRST);
        backoff.after(Ending::Badly, SHORT);
        assert_eq!(backoff.after(Ending::Badly, SETTLED), FIRST);
    }
}
