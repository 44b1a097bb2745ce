//! `oneshift cancel`: stops a job.

use std::process::ExitCode;

use client::Endpoint;
use client::protocol::job::JobState;

use super::find::find;
use crate::cli::IdArgs;
use crate::view::out;

/// Asks for a job's end.
pub(crate) async fn cancel(args: &IdArgs, gateway: &Endpoint) -> anyhow::Result<ExitCode> {
    let id = find(gateway, &args.id).await?;
    let job = gateway.cancel(id).await?;
    let text = match job.state {
        JobState::Queued | JobState::Running => {
            format!("job {id} is being stopped; see its end with: oneshift logs -f {id}")
        }
        JobState::Cancelled => format!("job {id} is cancelled"),
        JobState::Completed | JobState::Failed => {
            format!("job {id} had ended already: {}", job.state.name())
        }
    };
    out::line(&text)?;
    Ok(ExitCode::SUCCESS)
}
