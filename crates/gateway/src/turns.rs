//! Submissions with the same idempotency key, one after another.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// Keys share locks; more would only use memory.
const LOCKS: usize = 64;

/// Who has which key in hand.
#[derive(Debug)]
pub(crate) struct Turns {
    hasher: RandomState,
    locks: [Mutex<()>; LOCKS],
}

impl Default for Turns {
    fn default() -> Self {
        Self { hasher: RandomState::new(), locks: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Turns {
    /// Waits until nobody else has this key in hand.
    pub(crate) async fn take(&self, token: &str, key: &str) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one((token, key)) % LOCKS as u64;
        let index = usize::try_from(hash).unwrap_or_default();
        self.locks[index].lock().await
    }
}
