//! `oneshift logs`: what happened in a job.

use std::process::ExitCode;

use client::{Endpoint, EventStream};

use super::find::find;
use crate::cli::LogsArgs;
use crate::view::{Hints, PATIENCE, View, follow};

/// Shows a job's events, up to now or until it ends.
pub(crate) async fn logs(args: &LogsArgs, gateway: Endpoint) -> anyhow::Result<ExitCode> {
    let id = find(&gateway, &args.id).await?;
    let job = gateway.job(id).await?;
    let is_followed = args.follow && !job.state.is_terminal();
    let hints = Some(Hints::for_gateway(gateway.base()));
    let mut view = if is_followed {
        View::fitting(args.json, hints)
    } else {
        View::of_the_past(args.json, hints)
    };
    let until = if is_followed { u64::MAX } else { job.last_event };
    let mut stream = EventStream::new(gateway, id, args.after, PATIENCE);
    follow(&mut stream, &mut view, until).await?;
    view.finish()?;
    Ok(ExitCode::SUCCESS)
}
