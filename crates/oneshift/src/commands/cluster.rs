//! `oneshift cluster`: nodes, services and problems of the cluster.

use std::process::ExitCode;
use std::time::Duration;

use client::protocol::ErrorCode;
use client::protocol::cluster::Cluster;
use client::{ClientError, Endpoint};
use jiff::Timestamp;

use crate::cli::ClusterArgs;
use crate::view::{Line, Tone, cluster, out, text};

/// Pause between two looks of `--watch`; the operator looks as often.
const PAUSE: Duration = Duration::from_secs(2);

/// Shows the cluster, once or for ever.
pub(crate) async fn cluster(args: &ClusterArgs, gateway: &Endpoint) -> anyhow::Result<ExitCode> {
    if !args.watch {
        show(args, &gateway.cluster().await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        let looked = gateway.cluster().await;
        if out::is_stdout_terminal() && !args.json {
            console::Term::stdout().clear_screen()?;
        }
        match looked {
            Ok(cluster) => show(args, &cluster)?,
            Err(error) if is_passing(&error) => {
                let line = text::one_line(&format!("{error}; trying again"));
                eprintln!("{}", Line::new(Tone::Warning, line).paint_for_stderr());
            }
            Err(error) => return Err(error.into()),
        }
        out::flush()?;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether it may be over at the next look.
fn is_passing(error: &ClientError) -> bool {
    error.is_unreachable() || error.code() == Some(ErrorCode::Unavailable)
}

fn show(args: &ClusterArgs, cluster: &Cluster) -> anyhow::Result<()> {
    if args.json {
        out::line(&crate::view::json_line(&serde_json::to_string(cluster)?))?;
        return Ok(());
    }
    for line in cluster::lines(cluster, Timestamp::now(), out::width()) {
        out::line(&line.paint())?;
    }
    Ok(())
}
