//! Connections for reading, used off the runtime's threads.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::Store;
use super::error::{OpenError, StoreError};
use super::schema;

/// Reads at the same time; with more, they would only wait for the disk together.
const CONNECTIONS: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
}

impl Readers {
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let idle: Result<Vec<_>, _> =
            (0..CONNECTIONS).map(|_| schema::open_for_reading(folder)).collect();
        Ok(Self { idle: Mutex::new(idle?), places: Semaphore::new(CONNECTIONS) })
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

impl Store {
    /// Reads on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let _place = self.readers.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let reading = tokio::task::spawn_blocking(move || {
            let connection = readers.take().ok_or(StoreError::Closed)?;
            let result = read(&connection);
            readers.give_back(connection);
            Ok(result?)
        });
        reading.await.unwrap_or(Err(StoreError::Closed))
    }
}
