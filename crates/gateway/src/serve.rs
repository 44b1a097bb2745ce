//! The gateway's life: open the store, pick up what was left, serve, stop.

use std::sync::Arc;
use std::time::Duration;

use service::browsers::Admission;
use service::client::ClientError;
use service::serve::{self, Limits};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::connections::{self, Callers};
use crate::door;
use crate::gateway::Gateway;
use crate::live::Live;
use crate::routes;
use crate::store::{OpenError, Store, StoreError, Writing};

/// How long a follower may take nothing before it is cut; it comes back with `Last-Event-ID`.
const UNREAD: Duration = Duration::from_secs(60);

/// How long open answers and tasks may take to end after the stop.
const LINGER: Duration = Duration::from_secs(5);

/// The gateway cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store is open, and cannot be read.
    #[error("cannot read the store: {0}")]
    Recovery(String),
    /// No HTTP client can be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The gateway served, until it could store nothing any more.
    #[error(
        "the gateway's store broke down, and nothing can be stored any more; the log says why. \
         Start the gateway again: what was accepted is on disk"
    )]
    StoreLost,
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Recovery(error.to_string())
    }
}

/// Serves on `listener` until `stop` resolves, then lets go of everything in an orderly way. The
/// workers go on with their jobs and come back to the next gateway on the same store.
///
/// # Errors
/// When the store cannot be used, or not any more.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let (doorkeeper, door) = door::closed();
    let closing = CancellationToken::new();
    let connections = connections::most();
    let limits = Limits { connections, unread: UNREAD, linger: LINGER };
    let serving = serve::serve(listener, door, limits, closing.clone().cancelled_owned());
    let serving = AbortOnDropHandle::new(tokio::spawn(serving));
    let mut stop = std::pin::pin!(stop);
    let (gateway, writing) = tokio::select! {
        opened = open(&config) => opened?,
        () = &mut stop => return Ok(()),
    };
    let admission = Admission::of(config.tokens.is_some(), config.listen);
    let callers = Callers::of(connections);
    doorkeeper.open(routes::router(Arc::clone(&gateway), config.accepted, admission, callers));
    let ended = must_stop(stop, &writing).await;
    gateway.stop.cancel();
    closing.cancel();
    // It ends within the linger time; a panic in it is logged by the runtime.
    let _ = serving.await;
    gateway.tasks.close();
    if tokio::time::timeout(LINGER, gateway.tasks.wait()).await.is_err() {
        tracing::warn!(tasks = gateway.tasks.len(), "some tasks did not end in time");
    }
    writing.close().await;
    ended
}

/// Resolves when somebody wishes it, or when nothing can be stored any more.
async fn must_stop(stop: impl Future<Output = ()>, writing: &Writing) -> Result<(), StartError> {
    tokio::select! {
        () = stop => {
            tracing::info!("stopping");
            Ok(())
        }
        () = writing.ended() => {
            tracing::error!("the store's writing thread has ended; stopping");
            Err(StartError::StoreLost)
        }
    }
}

/// Opens the store as soon as no other gateway has it, and picks up what was left.
async fn open(config: &Config) -> Result<(Arc<Gateway>, Writing), StartError> {
    let live = Arc::<Live>::default();
    let opening = tokio::task::spawn_blocking({
        let (live, config) = (Arc::clone(&live), config.clone());
        move || Store::open(&config.data, config.store_wait, config.max_event_bytes, live)
    });
    let (store, writing) =
        opening.await.map_err(|error| StartError::Recovery(error.to_string()))??;
    let gateway = Gateway::new(store, live, config)?;
    gateway.recover(config.reattach).await?;
    gateway.recover_parkings().await?;
    gateway.tasks.spawn(Arc::clone(&gateway).end_pauses());
    gateway.tasks.spawn(Arc::clone(&gateway).tell_the_waiting());
    if let Some(keep) = config.keep_jobs {
        gateway.tasks.spawn(Arc::clone(&gateway).forget_old_jobs(keep));
    }
    Ok((gateway, writing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gateway_whose_store_breaks_down_ends_with_an_error_and_can_be_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Store::open(folder.path(), Duration::ZERO, 1, Arc::default()).unwrap();
        let (store, writing) = open();
        store.break_down().await;
        let never = std::future::pending();
        let ended = tokio::time::timeout(LINGER, must_stop(never, &writing)).await;
        assert!(matches!(ended.expect("it is noticed"), Err(StartError::StoreLost)));
        // Who waits for an answer is not left waiting, and the next gateway finds the lock free.
        assert!(matches!(store.sweep(0).await, Err(StoreError::Closed)));
        tokio::time::timeout(LINGER, writing.close()).await.expect("there is nothing to wait for");
        let (_, writing) = open();
        assert!(must_stop(std::future::ready(()), &writing).await.is_ok());
        writing.close().await;
    }
}
