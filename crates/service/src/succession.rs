//! A worker that was told to stop while it had its job is followed by another one in its place.
//!
//! Whoever supervises it starts no other there: a node that is being drained gets no new containers.
//! But jobs may have their files there, and somebody must deliver them. So the process begins anew, as
//! the same program with nothing of its job in its memory, and as one that was told to stop: it leaves
//! as soon as no job needs it, at the end of the drain time at the latest.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::{WorkerId, WorkerKind};

use crate::one_shot::{OneShot, OneShotConfig};

/// The argument of a program that takes another one's place, before that one's id.
const ARGUMENT: &str = "successor";

/// The worker whose place a program with these two arguments takes.
pub(crate) fn read(word: &str, id: Option<&str>) -> Option<WorkerId> {
    id.filter(|_| word == ARGUMENT)?.parse().ok()
}

/// When the worker was told to stop, once for each signal.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopOrders(Arc<Mutex<Vec<Instant>>>);

impl StopOrders {
    /// Notes a signal.
    pub(crate) fn note(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }

    /// What is left of a drain time; none before the first signal, and after the second, which ends it.
    fn left_of(&self, drain: Duration) -> Option<Duration> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_slice() {
            [once] => drain.checked_sub(once.elapsed()).filter(|left| !left.is_zero()),
            _ => None,
        }
    }
}

/// A worker that can be followed by another one.
#[derive(Debug)]
pub(crate) struct Predecessor {
    id: WorkerId,
    kind: WorkerKind,
    drain: Duration,
}

impl Predecessor {
    /// The worker, if anybody could need a successor of it.
    pub(crate) fn of(worker: &OneShot) -> Option<Self> {
        let &OneShotConfig { id, kind, drain, .. } = worker.config();
        worker.may_be_followed().then_some(Self { id, kind, drain })
    }

    /// Lets this process begin anew if it was told to stop and has drain time left. Returns only if
    /// there is no reason for it, or the system refuses.
    pub(crate) fn begin_anew(&self, orders: &StopOrders) {
        let Some(left) = orders.left_of(self.drain) else { return };
        tracing::info!(seconds = left.as_secs(), "beginning anew, for jobs that have files here");
        let error = self.exec(left);
        tracing::error!(%error, "cannot begin anew");
    }

    fn exec(&self, drain: Duration) -> io::Error {
        // The program that runs, also if another file has its name by now.
        Command::new("/proc/self/exe")
            .arg0(self.kind.name())
            .args([ARGUMENT, &self.id.to_string()])
            .env("ONESHIFT_DRAIN_SECONDS", drain.as_secs().to_string())
            .exec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_signal_leaves_the_rest_of_the_drain_time_and_a_second_one_nothing() {
        let (orders, drain) = (StopOrders::default(), Duration::from_secs(1000));
        assert_eq!(orders.left_of(drain), None);
        orders.note();
        assert!(orders.left_of(drain).is_some_and(|left| left <= drain));
        assert_eq!(orders.left_of(Duration::ZERO), None);
        orders.note();
        assert_eq!(orders.left_of(drain), None);
    }
}
