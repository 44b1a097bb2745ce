//! The HTTP routes.

mod cluster;
mod health;
mod inside;
mod jobs;
mod metrics;
mod openapi;
mod workflow;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use service::auth::ClusterTokens;
use service::browsers::{self, Admission};
use service::error::{no_such_method, no_such_route};
use service::{auth, health as common};

use crate::connections::{Callers, limit_callers};
use crate::gateway::Gateway;
pub use openapi::document;

/// All routes: those of the outside, which want a caller's token, those of the inside, which want
/// the cluster's, and those that tell how the gateway is, which want none.
pub(crate) fn router(
    gateway: Arc<Gateway>,
    cluster_tokens: ClusterTokens,
    admission: Admission,
    callers: Callers,
) -> Router {
    let inside = Router::new()
        .route("/internal/workers", post(inside::attach))
        .route("/internal/leases", post(inside::lease))
        .route("/internal/departures", post(inside::depart))
        .route("/internal/cluster", post(cluster::report))
        .route_layer(from_fn_with_state(cluster_tokens, auth::require_cluster_token));
    let outside = Router::new()
        .route("/api/workflow", post(workflow::submit))
        .route("/api/jobs", get(jobs::list))
        .route("/api/jobs/{id}", get(jobs::show).delete(jobs::cancel))
        .route("/api/jobs/{id}/events", get(jobs::events))
        .route("/api/jobs/{id}/patch", get(jobs::patch))
        .route("/api/cluster", get(cluster::show))
        .route("/api/cluster/services/{name}/scale", post(cluster::scale))
        .route("/api/cluster/services/{name}/update", post(cluster::update))
        .route("/api/cluster/services/{name}/rollback", post(cluster::rollback))
        .route_layer(from_fn_with_state(admission, browsers::refuse_strangers_pages))
        .route_layer(from_fn_with_state(callers, limit_callers));
    outside
        .merge(inside)
        .route("/health/live", get(common::live))
        .route("/health/ready", get(health::ready))
        .route("/health", get(health::describe))
        .route("/status", get(health::status))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::serve))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(gateway)
}
