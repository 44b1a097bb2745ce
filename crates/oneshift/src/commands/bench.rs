//! `oneshift bench`.

use std::process::ExitCode;

use crate::cli::BenchArgs;
use crate::config::Config;

pub(crate) async fn bench(_args: BenchArgs, _config: &Config) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
