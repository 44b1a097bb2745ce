//! `oneshift patch`: what a job changed.

use std::process::ExitCode;

use anyhow::Context;
use client::Endpoint;

use super::find::find;
use crate::cli::PatchArgs;
use crate::view::{diff, out};

/// Writes a job's patch, byte for byte; only on a terminal it is coloured and made harmless.
pub(crate) async fn patch(args: &PatchArgs, gateway: &Endpoint) -> anyhow::Result<ExitCode> {
    let patch = gateway.patch(find(gateway, &args.id).await?).await?;
    match &args.output {
        Some(path) => {
            std::fs::write(path, &patch)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        None if out::is_stdout_terminal() => {
            for line in diff::lines(&patch) {
                out::line(&line.paint())?;
            }
        }
        None => out::bytes(&patch)?,
    }
    Ok(ExitCode::SUCCESS)
}
