//! Places for connections. When all are taken, the client that has kept the service waiting for the
//! longest has to go, so that thousands who say nothing keep nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Nobody is sent away before this: an honest client sends its request at once, and the last bytes
/// of an answer are on their way by then.
const COURTESY: Duration = Duration::from_secs(1);

/// All seats of a service.
#[derive(Debug)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    /// Told when somebody begins to keep the service waiting.
    begins_to_wait: Notify,
}

/// The connections whose clients owe the service something.
#[derive(Debug, Default)]
struct Waiting {
    /// Since when, in the order of their tickets, and how to send them away.
    by_ticket: BTreeMap<u64, (Instant, Arc<Notify>)>,
    next: u64,
}

/// What can be done for somebody who wants a seat.
enum Relief {
    /// Somebody is leaving.
    OneLeaves,
    /// Somebody may be sent away then.
    Then(Instant),
    /// All are being answered.
    None,
}

impl Seats {
    pub(super) fn new(count: usize) -> Self {
        let free = Arc::new(Semaphore::new(count));
        Self { free, waiting: Mutex::default(), begins_to_wait: Notify::new() }
    }

    /// Takes a seat, as soon as there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Arc<Seat> {
        let place = Arc::clone(&self.free).try_acquire_owned();
        let place = match place {
            Ok(place) => place,
            Err(_) => self.make_room().await,
        };
        let seat = Seat {
            seats: Arc::clone(self),
            ticket: Mutex::new(None),
            is_wanted: Arc::default(),
            _place: place,
        };
        seat.wait();
        Arc::new(seat)
    }

    async fn make_room(&self) -> OwnedSemaphorePermit {
        let mut place = std::pin::pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            let then = match self.send_one_away() {
                Relief::OneLeaves => break,
                Relief::Then(then) => Some(then),
                Relief::None => None,
            };
            let relief = async {
                match then {
                    Some(then) => sleep_until(then).await,
                    None => self.begins_to_wait.notified().await,
                }
            };
            tokio::select! {
                place = &mut place => return place.expect("the semaphore is never closed"),
                () = relief => {}
            }
        }
        place.await.expect("the semaphore is never closed")
    }

    fn send_one_away(&self) -> Relief {
        let mut waiting = self.lock();
        let Some(longest) = waiting.by_ticket.first_entry() else { return Relief::None };
        let may_go = longest.get().0 + COURTESY;
        if may_go > Instant::now() {
            return Relief::Then(may_go);
        }
        let (_, is_wanted) = longest.remove();
        is_wanted.notify_one();
        Relief::OneLeaves
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's seat.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    /// While the client keeps the service waiting.
    ticket: Mutex<Option<u64>>,
    is_wanted: Arc<Notify>,
    _place: OwnedSemaphorePermit,
}

impl Seat {
    /// Resolves when somebody else needs it.
    pub(super) async fn is_wanted(&self) {
        self.is_wanted.notified().await;
    }

    /// The client keeps the service waiting until this is dropped.
    pub(super) fn await_body(self: &Arc<Self>) -> impl Send + Unpin + 'static {
        self.wait();
        OnDrop(Arc::clone(self), Self::serve)
    }

    /// The client keeps the service waiting as soon as this is dropped.
    pub(super) fn being_answered(self: &Arc<Self>) -> impl Send + Unpin + 'static {
        OnDrop(Arc::clone(self), Self::wait)
    }

    /// The client owes the service something, as of now.
    fn wait(&self) {
        let mut ticket = self.ticket();
        let mut waiting = self.seats.lock();
        let next = waiting.next;
        waiting.next += 1;
        if let Some(old) = ticket.replace(next) {
            waiting.by_ticket.remove(&old);
        }
        waiting.by_ticket.insert(next, (Instant::now(), Arc::clone(&self.is_wanted)));
        drop(waiting);
        self.seats.begins_to_wait.notify_one();
    }

    /// It is the service's turn.
    fn serve(&self) {
        if let Some(ticket) = self.ticket().take() {
            self.seats.lock().by_ticket.remove(&ticket);
        }
    }

    fn ticket(&self) -> MutexGuard<'_, Option<u64>> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.serve();
    }
}

struct OnDrop(Arc<Seat>, fn(&Seat));

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.1)(&self.0);
    }
}
