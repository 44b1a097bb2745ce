//! The words that Oneshift's services exchange: job requests, events, outcomes, errors and ids.
//!
//! Everything here is pure: no I/O, no clock, no runtime. Input from outside is parsed once, into
//! types that cannot hold a wrong value; see [`request::parse`].

pub mod cluster;
pub mod error;
pub mod event;
pub mod headers;
pub mod id;
pub mod job;
pub mod name;
pub mod outcome;
pub mod repo_url;
pub mod request;
pub mod sse;
pub mod worker;

pub use error::{ErrorBody, ErrorCode, RequestError};
pub use event::{Event, Payload, Step};
pub use id::{JobId, OrderId, WorkerId, WorkspaceId};
pub use name::{BranchName, Directory};
pub use outcome::{Outcome, Reason, State};
pub use repo_url::RepoUrl;
pub use worker::WorkerKind;
