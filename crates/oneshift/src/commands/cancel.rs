//! `oneshift cancel`: stops a job.

use std::process::ExitCode;

use client::Endpoint;
use client::protocol::job::JobState;

use super::find::find;
use crate::cli::IdArgs;
use crate::view::{Hints, out};

/// Asks for a job's end.
pub(crate) async fn cancel(args: &IdArgs, gateway: &Endpoint) -> anyhow::Result<ExitCode> {
    let id = find(gateway, &args.id).await?;
    let job = gateway.cancel(id).await?;
    let text = match job.state {
        JobState::Queued | JobState::Running => {
            let see = Hints::for_gateway(gateway.base()).follow(id);
            format!("job {id} is being stopped; see its end with: {see}")
        }
        JobState::Cancelled => format!("job {id} is cancelled"),
        JobState::Completed | JobState::Failed => {
            format!("job {id} had ended already: {}", job.state.name())
        }
    };
    out::line(&text)?;
    Ok(ExitCode::SUCCESS)
}
