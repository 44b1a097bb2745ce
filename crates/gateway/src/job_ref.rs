//! Which job is meant.

use service::protocol::JobId;

/// A job, by the name that people use and by its row in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JobRef {
    pub(crate) id: JobId,
    /// Grows with each job.
    pub(crate) row: i64,
}
