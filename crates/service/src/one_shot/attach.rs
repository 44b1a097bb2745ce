//! Keeps the worker's line to a gateway open for as long as the process lives.

use std::sync::Arc;
use std::time::Duration;

use client::Endpoint;
use protocol::worker::{Attach, RunningJob};

use super::config::OneShotConfig;
use super::slot::Slot;

/// Pause after a line broke; doubled while the gateway stays away.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Attaches, and attaches again whenever the line breaks. Never returns.
pub(super) async fn stay_attached(
    gateway: Endpoint,
    config: Arc<OneShotConfig>,
    agents: Arc<[String]>,
    port: u16,
    slot: Arc<Slot>,
) {
    let mut pause = PAUSE_MIN;
    loop {
        match gateway.attach(&introduction(&config, &agents, port, &slot)).await {
            Ok(line) => {
                tracing::debug!(gateway = gateway.base(), "attached");
                pause = PAUSE_MIN;
                line.closed().await;
                tracing::warn!(gateway = gateway.base(), "the line to the gateway broke");
            }
            Err(error) if error.is_unreachable() => {
                tracing::debug!(%error, "cannot attach");
            }
            Err(error) => tracing::error!(%error, "the gateway refuses this worker"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn introduction(config: &OneShotConfig, agents: &[String], port: u16, slot: &Slot) -> Attach {
    Attach {
        id: config.id,
        kind: config.kind,
        port,
        workspace: config.workspace,
        node: config.node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        agents: agents.to_vec(),
        job: slot.job().map(|job| RunningJob { id: job.id(), attempt: job.attempt() }),
        is_leaving: slot.is_leaving(),
        succeeds: config.succeeds,
    }
}
