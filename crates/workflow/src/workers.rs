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
    /// Where it is, as far as that is known.
    pub(crate) place: Option<Place>,
}

impl Found {
    /// The machine that it is on, as far as that is known.
    pub(crate) fn node(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.node.as_str())
    }
}

/// Where a step is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The workspace, if its workers have one.
    pub(crate) workspace: Option<WorkspaceId>,
    /// The machine.
    pub(crate) node: String,
}

impl Workers {
    pub(crate) fn leased(gateways: Vec<Endpoint>) -> Self {
        Self { source: Source::Leased(gateways) }
    }

    pub(crate) fn fixed(git_pull: Endpoint, claude_exec: Endpoint) -> Self {
        Self { source: Source::Fixed { git_pull, claude_exec } }
    }

    /// Waits until a worker of this kind is to be had at this place; for ever, if none is idle.
    ///
    /// # Errors
    /// When the gateway refuses, which more waiting would not change; with `not_found` when no such
    /// worker has been there for a minute.
    pub(crate) async fn find(
        &self,
        kind: WorkerKind,
        job: JobId,
        place: Option<&Place>,
    ) -> Result<Found, ClientError> {
        match &self.source {
            Source::Leased(gateways) => {
                let workspace = place.and_then(|place| place.workspace);
                lease(gateways, &LeaseRequest { kind, job, workspace }).await
            }
            Source::Fixed { git_pull, claude_exec } => {
                let endpoint = if kind == WorkerKind::GitPull { git_pull } else { claude_exec };
                Ok(Found { endpoint: endpoint.clone(), place: None })
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
                let place = Place { workspace: lease.workspace, node: lease.node };
                return Ok(Found { endpoint, place: Some(place) });
            }
            // None became idle while the gateway held the request: ask again at once. A gateway
            // that stops has held nothing.
            Err(error) if error.code() == Some(ErrorCode::Unavailable) => {
                if !matches!(error, ClientError::Rejected { retry_after_seconds: Some(0), .. }) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Err(error) if error.is_unreachable() => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    unreachable!("there is at least one gateway, and the cycle over it has no end")
}
