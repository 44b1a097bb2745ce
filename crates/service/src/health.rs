//! `GET /health/live`, the same for every service.

use axum::Json;
use serde_json::{Value, json};

/// Answers as soon as the process serves at all.
pub async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}
