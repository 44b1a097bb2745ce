//! Finds an idle worker for a step.

use std::time::Duration;

use service::client::{ClientError, Endpoint};
use service::protocol::worker::LeaseRequest;
use service::protocol::{ErrorCode, JobId, WorkerKind, WorkspaceId};

/// Pause before the next try when a gateway or a worker is away; workers that have done their job
/// are back within a second on Swarm.
const PAUSE: Duration = Duration::from_millis(100);

/// Where workers come from.
#[derive(Debug)]
pub(crate) struct Workers {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// From the gateways, asked in turn.
    Leased(Vec<Endpoint>),
    /// Always at the same addresses, behind which one process follows the other.
    Fixed { git_pull: Endpoint, claude_exec: Endpoint },
}

/// A worker that is probably idle; its own answer to the job decides.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) endpoint: Endpoint,
    pub(crate) workspace: Option<WorkspaceId>,
}

impl Workers {
    pub(crate) fn leased(gateways: Vec<Endpoint>) -> Self {
        Self { source: Source::Leased(gateways) }
    }

    pub(crate) fn fixed(git_pull: Endpoint, claude_exec: Endpoint) -> Self {
        Self { source: Source::Fixed { git_pull, claude_exec } }
    }

    /// Waits until a worker of this kind is to be had; for ever, if none comes.
    ///
    /// # Errors
    /// When the gateway refuses, which more waiting would not change.
    pub(crate) async fn find(
        &self,
        kind: WorkerKind,
        job: JobId,
        workspace: Option<WorkspaceId>,
    ) -> Result<Found, ClientError> {
        match &self.source {
            Source::Leased(gateways) => {
                lease(gateways, &LeaseRequest { kind, job, workspace }).await
            }
            Source::Fixed { git_pull, claude_exec } => {
                let endpoint = if kind == WorkerKind::GitPull { git_pull } else { claude_exec };
                Ok(Found { endpoint: endpoint.clone(), workspace: None })
            }
        }
    }

    /// Waits a moment before a worker that was busy or away is asked again.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn lease(gateways: &[Endpoint], request: &LeaseRequest) -> Result<Found, ClientError> {
    for gateway in gateways.iter().cycle() {
        match gateway.lease(request).await {
            Ok(lease) => {
                let endpoint = gateway.at(&lease.url);
                return Ok(Found { endpoint, workspace: lease.workspace });
            }
            // None became idle while the gateway held the request: ask again at once.
            Err(error) if error.code() == Some(ErrorCode::Unavailable) => {}
            Err(error) if error.is_unreachable() => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    unreachable!("there is at least one gateway, and the cycle over it has no end")
}
