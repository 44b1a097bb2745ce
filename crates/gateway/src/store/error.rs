//! What can go wrong with the store.

use std::path::Path;

use service::ApiError;
use service::protocol::ErrorCode;

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "another gateway uses the store in {folder} and has not let go of it for {seconds} s; \
         stop it, or set ONESHIFT_DATA to another folder"
    )]
    InUse {
        /// The store's folder.
        folder: String,
        /// How long this process waited.
        seconds: u64,
    },
    /// The system refused.
    #[error("cannot use the store {path}: {cause}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// SQLite refused.
    #[error("cannot open the store {path}: {cause}")]
    Database {
        /// The database's file.
        path: String,
        /// What SQLite said.
        cause: String,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, cause: std::io::Error) -> Self {
        Self::Io { path: path.display().to_string(), cause }
    }

    pub(super) fn database(path: &Path, cause: &dyn std::fmt::Display) -> Self {
        Self::Database { path: path.display().to_string(), cause: cause.to_string() }
    }
}

/// The store cannot do this now.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The disk is full, the file is locked, or worse.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The gateway is stopping.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a request failed");
        let message = "the gateway cannot use its store for now; its log says why";
        Self::new(ErrorCode::Unavailable, message).retry_after(1)
    }
}
