//! What the operator is asked to do, and what comes of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::OrderId;

/// Most replicas that a service can be scaled to.
pub const MAX_REPLICAS: u32 = 1000;

/// Something that the operator is to do, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Names it in its result.
    pub id: OrderId,
    /// The service, by its name within the stack.
    pub service: String,
    /// What to do with it.
    pub action: Action,
}

/// What is to be done with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Action {
    /// Change how many replicas are wanted.
    Scale {
        /// How many.
        replicas: u32,
    },
    /// Replace all its replicas, also if nothing changes.
    Update,
    /// Go back to the version before the latest.
    Rollback,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderResult {
    /// Which order.
    pub id: OrderId,
    /// Whether Docker has taken it.
    pub done: bool,
    /// A sentence for people: what was done, or why it was not.
    pub message: String,
}

/// Body of `POST /api/cluster/services/{name}/scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleRequest {
    /// How many replicas are wanted, up to 1,000.
    #[schema(maximum = 1000)]
    pub replicas: u32,
}

/// What came of a request to change a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceChange {
    /// The service.
    pub service: String,
    /// Whether Docker has taken the change; otherwise the operator has it and has not said yet what
    /// came of it.
    pub done: bool,
    /// A sentence for people.
    pub message: String,
}
