//! Speaks Oneshift's HTTP API: posts a job, follows its stream with resume, leases and attaches
//! workers.

mod attach;
mod cluster;
mod endpoint;
mod error;
mod events;
mod jobs;
mod lease;
pub mod tls;

pub use attach::Attachment;
pub use endpoint::Endpoint;
pub use error::ClientError;
pub use events::{EventStream, Patience};
pub use jobs::{JobFilter, NamedJob, Submission};
pub use protocol;
