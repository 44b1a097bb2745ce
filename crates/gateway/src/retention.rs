//! Forgets jobs that ended long ago.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::gateway::Gateway;

/// How often to look for such jobs, and how long to leave the store to others between two portions.
const EVERY: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(50);

impl Gateway {
    /// Forgets jobs once they have ended `keep` ago, until the gateway stops.
    pub(crate) async fn forget_old_jobs(self: Arc<Self>, keep: Duration) {
        let start = (Timestamp::now(), Instant::now());
        loop {
            let before = cutoff(keep, start.0, start.1.elapsed(), Timestamp::now());
            let pause = match self.store.sweep(before).await {
                Ok(true) => PAUSE,
                Ok(false) => EVERY,
                Err(error) => {
                    tracing::warn!(%error, "old jobs cannot be deleted for now");
                    EVERY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }
}

/// Jobs that ended before this, in milliseconds since 1970, are old. A clock that leaps forward makes
/// nothing old: no more time counts as passed than did since the gateway's start.
fn cutoff(keep: Duration, started: Timestamp, since: Duration, now: Timestamp) -> i64 {
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let at_most = started.as_millisecond().saturating_add(milliseconds(since));
    now.as_millisecond().min(at_most).saturating_sub(milliseconds(keep))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_leaps_makes_nothing_old() {
        let started = Timestamp::from_millisecond(1_000_000_000_000).unwrap();
        let (keep, since) = (Duration::from_secs(100), Duration::from_secs(10));
        let at = |seconds: i64| Timestamp::from_millisecond(1_000_000_000_000 + seconds * 1000);
        let cutoff = |now: i64| cutoff(keep, started, since, at(now).unwrap());
        assert_eq!(cutoff(10), 1_000_000_000_000 - 90_000);
        assert_eq!(cutoff(1_000_000), cutoff(10));
        assert_eq!(cutoff(-1000), 1_000_000_000_000 - 1_100_000);
    }
}
