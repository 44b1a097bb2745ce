//! Log lines on standard error.

use std::io::stderr;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Environment};

/// Starts logging as `ONESHIFT_LOG` (a filter, default `info`) and `ONESHIFT_LOG_FORMAT` (`text` or
/// `json`) say.
///
/// # Errors
/// When one of the two cannot be read.
pub fn start(environment: &Environment) -> Result<(), ConfigError> {
    let filter = environment.text("ONESHIFT_LOG").unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| ConfigError::new("ONESHIFT_LOG", format!("is not a filter: {error}")))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        // A line that cannot be written (a full disk, a supervisor that is dead) would be complained
        // about on the same standard error, and that complaint panics.
        .log_internal_errors(false);
    match environment.text("ONESHIFT_LOG_FORMAT").as_deref() {
        None | Some("text") => lines.with_ansi(false).init(),
        Some("json") => lines.json().flatten_event(true).init(),
        Some(other) => {
            let fault = format!("is {other:?}; use text or json");
            return Err(ConfigError::new("ONESHIFT_LOG_FORMAT", fault));
        }
    }
    Ok(())
}
