//! How many jobs a token may submit per minute.
//!
//! Reckoned with a clock that only ever goes forward: one that is set anew changes nothing.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// What each token with such a quota has used up of it.
#[derive(Debug, Default)]
pub(crate) struct Rates(HashMap<Arc<str>, Rate>);

/// A minute's worth may come at once; after that, one for each that is earned back.
#[derive(Debug)]
struct Rate {
    per_minute: NonZeroU32,
    /// When all that was spent is earned back.
    settled_at: Option<Instant>,
}

impl Rates {
    pub(crate) fn limit(&mut self, token: Arc<str>, per_minute: NonZeroU32) {
        self.0.insert(token, Rate { per_minute, settled_at: None });
    }

    /// Whether the token may submit now.
    ///
    /// # Errors
    /// How long it must wait.
    pub(crate) fn check(&self, token: &str, now: Instant) -> Result<(), Duration> {
        self.0.get(token).map_or(Ok(()), |rate| rate.check(now))
    }

    /// The token has submitted a job.
    pub(crate) fn spend(&mut self, token: &str, now: Instant) {
        if let Some(rate) = self.0.get_mut(token) {
            rate.settled_at = Some(rate.settled_after_one_more(now));
        }
    }
}

impl Rate {
    fn check(&self, now: Instant) -> Result<(), Duration> {
        let early = self.settled_after_one_more(now).saturating_duration_since(now + MINUTE);
        if early.is_zero() { Ok(()) } else { Err(early) }
    }

    fn settled_after_one_more(&self, now: Instant) -> Instant {
        let since = self.settled_at.map_or(now, |settled_at| settled_at.max(now));
        since + MINUTE / self.per_minute.get()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates(per_minute: u32) -> Rates {
        let mut rates = Rates::default();
        rates.limit("ci".into(), NonZeroU32::new(per_minute).unwrap());
        rates
    }

    #[test]
    fn a_minutes_worth_may_come_at_once_and_the_next_when_it_is_earned() {
        let (mut rates, now) = (rates(6), Instant::now());
        for _ in 0..6 {
            assert_eq!(rates.check("ci", now), Ok(()));
            rates.spend("ci", now);
        }
        assert_eq!(rates.check("ci", now), Err(Duration::from_secs(10)));
        assert_eq!(rates.check("ci", now + Duration::from_secs(10)), Ok(()));
        assert_eq!(rates.check("other", now), Ok(()));
    }

    proptest! {
        #[test]
        fn the_wait_is_exact_and_no_more_than_a_minutes_worth_and_what_was_earned_passes(
            per_minute in 1..100_u32,
            pauses in proptest::collection::vec(0..3000_u64, 1..200),
        ) {
            let mut rates = rates(per_minute);
            let start = Instant::now();
            let (mut now, mut passed) = (start, 0_u32);
            for pause in pauses {
                now += Duration::from_millis(pause);
                match rates.check("ci", now) {
                    Ok(()) => {
                        rates.spend("ci", now);
                        passed += 1;
                    }
                    Err(wait) => {
                        prop_assert!(wait <= MINUTE / per_minute);
                        prop_assert!(rates.check("ci", now + wait).is_ok());
                    }
                }
                let minutes = (now - start).as_secs_f64() / 60.0;
                prop_assert!(f64::from(passed) <= f64::from(per_minute) * (1.0 + minutes) + 0.01);
            }
        }
    }
}
