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

/// Largest request body that any service reads of a caller: 1 MiB.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Largest body of a job that one service reads of another. What a caller asked for becomes longer on
/// its way: by the fields that were left out, and by its URL, once that is percent-encoded.
pub const MAX_WIRE_BYTES: usize = MAX_BODY_BYTES + 64 * 1024;
