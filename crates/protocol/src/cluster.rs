//! How the operator tells the gateway what the cluster is like, and hears what it is to do.
//!
//! The operator calls the gateway, never the other way round. Fields that this version does not know
//! are ignored, so that the two may be updated one after the other.

mod order;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::worker::WorkerKind;
pub use order::{Action, MAX_REPLICAS, Order, OrderResult, ScaleRequest, ServiceChange};

/// Body of `POST /internal/cluster`: the cluster as the operator last saw it, and what came of the
/// orders that it was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
    /// When Docker was last asked with success; absent if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The machines.
    pub nodes: Vec<Node>,
    /// The stack's services.
    pub services: Vec<Service>,
    /// What somebody should know of.
    pub problems: Vec<Problem>,
    /// What came of orders since the last report that arrived.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<OrderResult>,
}

/// The answer to a [`ClusterReport`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAnswer {
    /// What the operator is to do now.
    pub orders: Vec<Order>,
    /// What the workers have to do.
    pub demand: Demand,
}

/// The answer of `GET /api/cluster`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// When the operator last asked Docker with success (RFC 3339, UTC); absent if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub at: Option<Timestamp>,
    /// How long ago the operator's report came in.
    pub age_ms: u64,
    /// The machines.
    pub nodes: Vec<Node>,
    /// The stack's services.
    pub services: Vec<Service>,
    /// What somebody should know of.
    pub problems: Vec<Problem>,
    /// What the workers have to do.
    pub demand: Demand,
}

/// A machine of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Docker's id of it.
    pub id: String,
    /// Its name.
    pub hostname: String,
    /// `leader`, `manager` or `worker`.
    pub role: String,
    /// Whether it takes tasks: `active`, `pause` or `drain`.
    pub availability: String,
    /// `ready`, `down`, `disconnected` or `unknown`.
    pub state: String,
    /// How many CPUs it has.
    pub cpus: f64,
    /// How much memory it has.
    pub memory_bytes: u64,
    /// The version of its Docker engine.
    pub engine_version: String,
    /// Its address in the swarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A service of the stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its name within the stack.
    pub name: String,
    /// The kind of its workers, if they are workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<WorkerKind>,
    /// Its image.
    pub image: String,
    /// How many replicas are wanted; absent for a service that runs once on each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// How many run, without those that are told to stop.
    pub running: u32,
    /// How many are told to stop and still run, because they have a job to finish.
    pub draining: u32,
    /// Its replicas now, and the latest of those before them.
    pub tasks: Vec<Task>,
    /// How many replicas ended by themselves since the operator's start.
    pub restarts: Restarts,
    /// Its latest update or rollback, if it has had one since it was last scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
    /// The bounds within which the operator scales it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<Autoscale>,
}

/// One container of a service, or the wish for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Docker's id of it.
    pub id: String,
    /// Which replica it is, from 1; absent for a service that runs once on each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// The host name of its node, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Docker's word for what it does, such as `running`, `complete` or `failed`.
    pub state: String,
    /// Docker's word for what it is to do: `running`, or `shutdown` for one that is over.
    pub desired_state: String,
    /// Since when it is in its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub since: Option<Timestamp>,
    /// How its process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// What Docker says went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Replicas that ended by themselves; Swarm replaced each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restarts {
    /// With exit code 0: a worker's normal end, after its one job.
    pub after_job: u64,
    /// With another code, by a signal, or before they could start.
    pub after_crash: u64,
}

/// An update or a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// Docker's word for how far it is, such as `updating`, `completed` or `paused`.
    pub state: String,
    /// Docker's sentence about it.
    pub message: String,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "date-time")]
    pub started_at: Option<Timestamp>,
}

/// The bounds of a service's replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscale {
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
}

/// Something that a person should know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The service that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The host name of the node that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When the operator first saw it.
    #[schema(value_type = String, format = "date-time")]
    pub since: Timestamp,
    /// A sentence for people.
    pub message: String,
}

/// What the workers have to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// How many jobs run.
    pub running_jobs: u32,
    /// The attached workers, by kind.
    pub workers: Vec<KindDemand>,
}

impl Demand {
    /// What the workers of one kind have to do; nothing, if nothing is said of them.
    #[must_use]
    pub fn of(&self, kind: WorkerKind) -> KindDemand {
        let found = self.workers.iter().find(|demand| demand.kind == kind);
        found.copied().unwrap_or(KindDemand { kind, queued: 0, idle: 0, leased: 0, busy: 0 })
    }
}

/// What the workers of one kind have to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KindDemand {
    /// The kind.
    pub kind: WorkerKind,
    /// How many jobs or steps wait for nothing but a worker; counted up to 1,000.
    pub queued: u32,
    /// How many workers wait for a job.
    pub idle: u32,
    /// How many are set aside for one.
    pub leased: u32,
    /// How many have theirs.
    pub busy: u32,
}
