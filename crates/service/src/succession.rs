//! A worker that has done its job is followed by another one in its place, if jobs have files there and
//! nobody else would come to deliver them.
//!
//! Whoever supervises workers may start the next one elsewhere, and on a node that is being drained
//! starts none at all. So the process begins anew, as the same program with nothing of its job in its
//! memory: as one that was told to stop, if it was, which leaves as soon as no job needs it, at the end
//! of the drain time at the latest.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::{WorkerId, WorkerKind};

use crate::one_shot::{OneShot, OneShotConfig};

/// The first argument of a program that takes another one's place; that one's id is the second.
const ARGUMENT: &str = "successor";

/// The third one, if it was told to stop.
const LEAVING: &str = "leaving";

/// The worker whose place a program with these arguments takes, and whether that was told to stop.
pub(crate) fn read(arguments: &[String]) -> Option<(WorkerId, bool)> {
    match arguments {
        [word, id, rest @ ..] if word == ARGUMENT => {
            Some((id.parse().ok()?, rest.first().is_some_and(|word| word == LEAVING)))
        }
        _ => None,
    }
}

/// When the worker was told to stop, once for each signal.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopOrders(Arc<Mutex<Vec<Instant>>>);

impl StopOrders {
    /// Notes a signal.
    pub(crate) fn note(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }

    /// How one that takes the place of a worker with this drain time begins.
    fn beginning(&self, drain: Duration) -> Option<Beginning> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_slice() {
            [] => Some(Beginning::Staying),
            [once] => {
                let left = drain.checked_sub(once.elapsed()).filter(|left| !left.is_zero());
                left.map(Beginning::Leaving)
            }
            // The second signal ends the drain time.
            _ => None,
        }
    }
}

/// How a successor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// As any other worker.
    Staying,
    /// As one that was told to stop, with so much drain time.
    Leaving(Duration),
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

    /// Lets this process begin anew if it was told to stop and has drain time left, or if it must stay.
    /// Returns only if there is no reason for it, or the system refuses.
    pub(crate) fn begin_anew(&self, orders: &StopOrders, must_stay: bool) {
        let Some(beginning) = orders.beginning(self.drain) else { return };
        if beginning == Beginning::Staying && !must_stay {
            return;
        }
        tracing::info!(?beginning, "beginning anew, for jobs that have files here");
        let error = self.exec(beginning);
        tracing::error!(%error, "cannot begin anew");
    }

    fn exec(&self, beginning: Beginning) -> io::Error {
        // The program that runs, also if another file has its name by now.
        let mut program = Command::new("/proc/self/exe");
        program.arg0(self.kind.name()).args([ARGUMENT, &self.id.to_string()]);
        if let Beginning::Leaving(drain) = beginning {
            program.arg(LEAVING).env("ONESHIFT_DRAIN_SECONDS", drain.as_secs().to_string());
        }
        program.exec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_signal_leaves_the_rest_of_the_drain_time_and_a_second_one_nothing() {
        let (orders, drain) = (StopOrders::default(), Duration::from_secs(1000));
        assert_eq!(orders.beginning(drain), Some(Beginning::Staying));
        orders.note();
        assert!(matches!(orders.beginning(drain), Some(Beginning::Leaving(left)) if left <= drain));
        assert_eq!(orders.beginning(Duration::ZERO), None);
        orders.note();
        assert_eq!(orders.beginning(drain), None);
    }

    #[test]
    fn a_successor_knows_from_its_arguments_whose_place_it_takes() {
        let id = WorkerId::random();
        let read =
            |words: &[&str]| read(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read(&["successor", &id.to_string()]), Some((id, false)));
        assert_eq!(read(&["successor", &id.to_string(), "leaving"]), Some((id, true)));
        assert_eq!(read(&["successor"]), None);
        assert_eq!(read(&["successor", "somebody"]), None);
        assert_eq!(read(&["predecessor", &id.to_string()]), None);
    }
}
