//! How the gateway is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use service::ApiError;
use service::protocol::worker::{Busyness, Status};
use service::protocol::{ErrorCode, WorkerKind};

use crate::gateway::Gateway;
use crate::registry::Activity;

/// Ready as long as it takes jobs.
pub(super) async fn ready(State(gateway): State<Arc<Gateway>>) -> Result<Json<Value>, ApiError> {
    if gateway.stop.is_cancelled() {
        return Err(ApiError::new(ErrorCode::Unavailable, "the gateway is stopping"));
    }
    Ok(Json(json!({ "status": "ready" })))
}

pub(super) async fn status(State(gateway): State<Arc<Gateway>>) -> Json<Status> {
    Json(Status { status: busyness(&gateway) })
}

pub(super) async fn describe(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let status = busyness(&gateway);
    let core = gateway.core();
    let (queued, running) = core.scheduler.counts();
    let workers = WorkerKind::ALL.map(|kind| {
        let counts =
            Activity::ALL.map(|it| (it.name().to_owned(), json!(core.registry.count(kind, it))));
        (kind.name().to_owned(), Value::Object(counts.into_iter().collect()))
    });
    Json(json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "jobs": { "queued": queued, "running": running },
        "workers": Value::Object(workers.into_iter().collect()),
    }))
}

fn busyness(gateway: &Gateway) -> Busyness {
    if gateway.is_busy() { Busyness::Busy } else { Busyness::Idle }
}
