//! The one place for the one job.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use client::NamedJob;
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;

use super::job::Job;

/// Holds the worker's job, once there is one.
#[derive(Debug)]
pub(super) struct Slot {
    state: Mutex<State>,
    job: watch::Sender<Option<Job>>,
    /// How many readers follow the job now.
    readers: watch::Sender<usize>,
    /// Whether a reader has had the terminal event.
    delivered: watch::Sender<bool>,
    /// Whether the worker was told to stop.
    is_leaving: AtomicBool,
}

#[derive(Debug)]
enum State {
    Idle,
    Taken(Job),
    Closed,
}

/// What became of an attempt to take the slot.
pub(super) enum Taken {
    /// The slot was free: the job is to be started.
    New(Job),
    /// The same attempt of the same job holds it already: the caller asks again after a broken line.
    Same(Job),
    /// Another job holds it.
    Busy,
    /// The worker is about to exit.
    Closed,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::Idle),
            job: watch::Sender::new(None),
            readers: watch::Sender::new(0),
            delivered: watch::Sender::new(false),
            is_leaving: AtomicBool::new(false),
        }
    }
}

impl Slot {
    /// Takes the slot for a job, atomically.
    pub(super) fn take(&self, named: Option<NamedJob>) -> Taken {
        let mut state = self.lock();
        match &*state {
            State::Closed => Taken::Closed,
            State::Taken(job)
                if named.is_some_and(|named| {
                    (named.id, named.attempt) == (job.id(), job.attempt())
                }) =>
            {
                Taken::Same(job.clone())
            }
            State::Taken(_) => Taken::Busy,
            State::Idle => {
                let job = Job::new(named);
                *state = State::Taken(job.clone());
                self.job.send_replace(Some(job.clone()));
                Taken::New(job)
            }
        }
    }

    /// Closes the slot for good unless a job has it; says whether it did.
    pub(super) fn close_if_idle(&self) -> bool {
        let mut state = self.lock();
        let is_idle = matches!(&*state, State::Idle);
        if is_idle {
            *state = State::Closed;
        }
        is_idle
    }

    /// Notes that the worker was told to stop, for good.
    pub(super) fn set_leaving(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Whether the worker was told to stop.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// The job that holds the slot.
    pub(super) fn job(&self) -> Option<Job> {
        self.job.borrow().clone()
    }

    /// Counts a reader in, until the answer is dropped.
    pub(super) fn reader(self: &std::sync::Arc<Self>) -> Reader {
        self.readers.send_modify(|count| *count += 1);
        Reader { slot: std::sync::Arc::clone(self), is_counted: true }
    }

    /// Waits until nobody has read for `wait`.
    pub(super) async fn abandoned(&self, wait: std::time::Duration) {
        let mut readers = self.readers.subscribe();
        loop {
            let none = readers.wait_for(|count| *count == 0).await.map(|_| ());
            none.expect("the slot holds the sender");
            let back = readers.wait_for(|count| *count > 0);
            if tokio::time::timeout(wait, back).await.is_err() {
                return;
            }
        }
    }

    /// Notes that a reader has the terminal event, for good.
    pub(super) fn set_delivered(&self) {
        self.delivered.send_replace(true);
    }

    /// Waits until a reader has had the terminal event.
    pub(super) async fn delivered(&self) {
        let mut delivered = self.delivered.subscribe();
        delivered.wait_for(|delivered| *delivered).await.expect("the slot holds the sender");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader of the job's stream. It counts while it waits for more, not while it leaves lying what
/// it was given: a connection that is open and never read is nobody.
pub(super) struct Reader {
    slot: std::sync::Arc<Slot>,
    is_counted: bool,
}

impl Reader {
    /// The stream, watched for whether anybody takes what it yields. With `is_delivery`, whoever has
    /// taken all of it has the job's outcome.
    pub(super) fn watch<S: Stream + Unpin>(
        mut self,
        mut stream: S,
        is_delivery: bool,
    ) -> impl Stream<Item = S::Item> {
        futures_util::stream::poll_fn(move |context| {
            self.count(true);
            let polled = stream.poll_next_unpin(context);
            match &polled {
                Poll::Ready(Some(_)) => self.count(false),
                // Polled again after the last frame: it is on its way to the reader.
                Poll::Ready(None) if is_delivery => self.slot.set_delivered(),
                Poll::Ready(None) | Poll::Pending => {}
            }
            polled
        })
    }

    fn count(&mut self, counts: bool) {
        if self.is_counted != counts {
            self.is_counted = counts;
            let change = |count: &mut usize| {
                *count = if counts { *count + 1 } else { *count - 1 };
            };
            self.slot.readers.send_modify(change);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.count(false);
    }
}
