//! What goes wrong with a request, in words for people and codes for programs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A stable code of an HTTP error; the message may change, the code may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The body is not JSON, or a header or query cannot be read (400).
    Malformed,
    /// The body is JSON, but a field has a wrong type or value (422).
    InvalidField,
    /// The body has a field that does not exist (422).
    UnknownField,
    /// The body lacks a field that is required (422).
    MissingField,
    /// The request asks for something that this version does not do yet (422).
    NotSupported,
    /// The operator's configuration does not allow this (422).
    NotAllowed,
    /// The same `Idempotency-Key` came with another body (422).
    IdempotencyMismatch,
    /// No token, or one that is not known (401).
    Unauthorized,
    /// The token is known, but lacks the scope (403).
    Forbidden,
    /// No such job, or no such route (404).
    NotFound,
    /// The route exists, but not with this method (405).
    MethodNotAllowed,
    /// The job's state does not allow this (409).
    Conflict,
    /// The body is larger than 1 MiB, or a little more between services (413).
    BodyTooLarge,
    /// A quota is used up; `Retry-After` says when to come back (429).
    QuotaExceeded,
    /// The worker has its one job already (503).
    Busy,
    /// The service is stopping, or cannot do this for now (503).
    Unavailable,
    /// The service failed; its log says why (500).
    Internal,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

/// The JSON body of every HTTP error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// The content of an [`ErrorBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// Stable, for programs.
    pub code: ErrorCode,
    /// A sentence for people.
    pub message: String,
    /// The field of the request that is wrong, as a path such as `limits.maxTurns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A request that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// Stable, for programs.
    pub code: ErrorCode,
    /// A sentence for people; it holds no secret.
    pub message: String,
    /// The field that is wrong.
    pub field: Option<String>,
}

impl RequestError {
    /// An error about one field; `message` names it.
    pub fn field(code: ErrorCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: Some(field.into()) }
    }

    /// An error about the request as a whole.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::Malformed, message: message.into(), field: None }
    }
}
