//! Many clients at once.

use std::time::{Duration, Instant};

use client::{Endpoint, Submission};
use serde_json::Value;
use tokio::task::JoinSet;

/// Clients that submit at the same time, each on a connection of its own that stays open.
pub(super) const CLIENTS: usize = 64;

/// Submits the same request `count` times over; returns how long it took until all were accepted,
/// which means that they are on disk.
pub(super) async fn submit(
    gateway: &Endpoint,
    body: &Value,
    count: usize,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS.min(count) {
        let share = count / CLIENTS + usize::from(client < count % CLIENTS);
        let (gateway, body) = (gateway.clone(), body.clone());
        clients.spawn(async move {
            for _ in 0..share {
                gateway.submit_async(submission(&body)).await?;
            }
            Ok::<_, client::ClientError>(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(start.elapsed())
}

/// A submission of this request to a gateway.
pub(super) fn submission(body: &Value) -> Submission<'_> {
    Submission { path: "/api/workflow", body, job: None, idempotency_key: None }
}
