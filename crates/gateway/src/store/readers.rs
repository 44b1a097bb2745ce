//! Connections for reading, used off the runtime's threads.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Store;
use super::error::{OpenError, StoreError};
use super::schema;

/// Reads at the same time; with more, they would only wait for the disk together.
pub(super) const CONNECTIONS: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    pub(super) places: Arc<Semaphore>,
}

/// A connection in use, and the place of the read that uses it. A read goes on when its caller has
/// gone away, so it is the read that has them.
struct Borrowed {
    readers: Arc<Readers>,
    connection: Option<Connection>,
    /// Given up after the connection is back.
    _place: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let idle: Result<Vec<_>, _> =
            (0..CONNECTIONS).map(|_| schema::open_for_reading(folder)).collect();
        Ok(Self { idle: Mutex::new(idle?), places: Arc::new(Semaphore::new(CONNECTIONS)) })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.readers.idle().extend(self.connection.take());
    }
}

impl Store {
    /// Reads on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let places = Arc::clone(&readers.places);
        let place = places.acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let reading = tokio::task::spawn_blocking(move || {
            let connection = readers.idle().pop();
            let borrowed = Borrowed { readers, connection, _place: place };
            let connection = borrowed.connection.as_ref().ok_or(StoreError::Closed)?;
            Ok(read(connection)?)
        });
        reading.await.unwrap_or(Err(StoreError::Closed))
    }
}
