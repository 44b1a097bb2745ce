//! What goes wrong, as an exit code and a sentence.

use std::io;
use std::process::ExitCode;

use client::ClientError;

/// The job failed or was cancelled, or the command could not do its work.
pub(crate) const FAILED: u8 = 1;
/// The arguments, or the request made of them, are wrong.
pub(crate) const USAGE: u8 = 2;
/// Nothing answers at the address, or not Oneshift.
pub(crate) const UNREACHABLE: u8 = 3;
/// Ctrl-C left a job to itself: 128 + SIGINT, as shells expect.
pub(crate) const DETACHED: u8 = 130;

/// Arguments that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

impl Usage {
    /// An error of the arguments.
    pub(crate) fn error(message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(message.into()))
    }
}

/// Shows what clap has to say: help and versions, or what is wrong with the arguments.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done about a terminal that is gone.
    let _ = error.print();
    if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS }
}

/// Says on standard error what went wrong, and returns the exit code for it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // The reader of our output has seen enough, as `head` does.
        return ExitCode::SUCCESS;
    }
    let text = crate::view::text::printable(&format!("{error:#}"));
    eprintln!("oneshift: {text}");
    if let Some(hint) = hint(error) {
        eprintln!("{hint}");
    }
    code(error).into()
}

fn code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Usage>().is_some() {
        return USAGE;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::BadAddress(_)) => USAGE,
        Some(ClientError::Rejected { status: 400..=499, .. }) => USAGE,
        Some(ClientError::Rejected { .. }) | None => FAILED,
        Some(_) => UNREACHABLE,
    }
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    match error.downcast_ref::<ClientError>()? {
        ClientError::Refused { .. } => {
            Some("start one on this machine with `oneshift up`, or name another with --url")
        }
        ClientError::Rejected { status: 401, .. } => {
            Some("put your token into ONESHIFT_TOKEN, or its file's name into ONESHIFT_TOKEN_FILE")
        }
        _ => None,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use client::protocol::ErrorCode;
    use client::protocol::error::{ErrorBody, ErrorDetail};

    use super::*;

    fn rejected(status: u16) -> anyhow::Error {
        let error = ErrorDetail { code: ErrorCode::Other, message: "no".to_owned(), field: None };
        let body = ErrorBody { error };
        ClientError::Rejected { status, body, retry_after_seconds: None }.into()
    }

    #[test]
    fn exit_codes_tell_usage_from_failure_from_silence() {
        let refused = ClientError::Refused { url: "http://x".to_owned() };
        assert_eq!(code(&refused.into()), UNREACHABLE);
        assert_eq!(code(&rejected(422)), USAGE);
        assert_eq!(code(&rejected(500)), FAILED);
        assert_eq!(code(&Usage::error("x").context("y")), USAGE);
        assert_eq!(code(&anyhow::anyhow!("x")), FAILED);
    }
}
