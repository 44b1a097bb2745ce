//! What callers ask for: the bodies of `POST /api/workflow`, `/api/pull`, `/api/execute` and
//! `/api/deliver`.

mod parse;
mod steps;
mod workflow;

pub use parse::{JobRequest, parse, read};
pub use steps::{DeliverRequest, ExecuteRequest, PullRequest};
pub use workflow::{
    COMMAND_AGENT, Concurrency, Deliver, DeliverMode, Limits, OnConflict, WorkflowRequest,
};

/// Largest request body that any service reads: 1 MiB.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
