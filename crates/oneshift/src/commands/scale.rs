//! `oneshift scale`: other numbers of replicas.

use std::process::ExitCode;

use client::Endpoint;

use crate::cli::ScaleArgs;
use crate::failure::FAILED;
use crate::view::{out, text};

/// Asks for other numbers of replicas, one service after the other.
pub(crate) async fn scale(args: &ScaleArgs, gateway: &Endpoint) -> anyhow::Result<ExitCode> {
    let mut is_done = true;
    for (service, replicas) in &args.services {
        let change = gateway.scale(service, *replicas).await?;
        out::line(&text::one_line(&change.message))?;
        is_done &= change.done;
    }
    Ok(if is_done { ExitCode::SUCCESS } else { FAILED.into() })
}
